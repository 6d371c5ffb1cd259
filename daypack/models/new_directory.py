"""A directory that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from daypack.errors import SpecError


@contextmanager
def new_directory(directory: Path) -> Generator[Path]:
    """Give an empty directory to fill; at the end it becomes `directory`, whose parents are made too.

    When the body fails, nothing of it remains. Raises SpecError if `directory` is a file or holds files.
    """
    if directory.exists() and not directory.is_dir():
        raise SpecError(f"{directory}: is a file; name a new directory")
    if directory.exists() and any(directory.iterdir()):
        raise SpecError(f"{directory}: already holds files; name a new directory")
    partial = directory.absolute().with_name(directory.absolute().name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
