"""A directory that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from daypack.errors import SpecError


@contextmanager
def new_directory(directory: Path) -> Generator[Path]:
    """Give an empty directory to fill; at the end it becomes `directory`, whose parents are made too.

    When the body fails, nothing of it remains but those parents. Raises SpecError if `directory` is a file or
    holds files, or where it cannot be made.
    """
    if directory.exists() and not directory.is_dir():
        raise SpecError(f"{directory}: is a file; name a new directory")
    if directory.exists() and any(directory.iterdir()):
        raise SpecError(f"{directory}: already holds files; name a new directory")
    parent = directory.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=parent))
    except OSError as error:
        raise SpecError(f"{directory}: cannot be made here ({error.strerror}); name another place") from error
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        _sync(partial)
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    """The process's; it can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(directory: Path) -> None:
    """What was written survives a loss of power before the directory has its name."""
    for path in [*(path for path in directory.rglob("*") if path.is_file()), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
