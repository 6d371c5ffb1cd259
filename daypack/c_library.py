"""C inner loops for Python: a shared library built once a machine by the toolchain that builds the engine.

Kept in the user's cache folder under the hash of the sources, the flags and the compiler's version, so that
a change of any builds it again.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daypack.errors import MissingTool

COMMON_FLAGS = (
    "-std=c11",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-sanitize=all",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
)
"""Doubles are not contracted: the same input gives the same result on every machine."""


@dataclass(frozen=True)
class CLibrary:
    """What to build: `part` names the cache's folder and the part of Daypack in an error."""

    part: str
    sources: Sequence[Path]
    flags: tuple[str, ...]
    include: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()

    def load(self) -> ctypes.CDLL:
        """The loaded library; `MissingTool` says what the compiler said if it cannot be built."""
        path = cache_folder(self.part) / f"{self._key()}.so"
        if not path.exists():
            self._build(path)
        return ctypes.CDLL(str(path))

    def _key(self) -> str:
        flags = (*COMMON_FLAGS, *self.flags, *self.libraries, importlib.metadata.version("ziglang"))
        key = hashlib.sha256("\0".join(flags).encode())
        for source in self.sources:
            key.update(source.read_bytes())
        return key.hexdigest()[:32]

    def _build(self, path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "made.so"
            files = [str(source) for source in self.sources if source.suffix == ".c"]
            include = [f"-I{folder}" for folder in self.include]
            flags = [*COMMON_FLAGS, *self.flags, *include]
            command = [
                sys.executable,
                "-m",
                "ziglang",
                "cc",
                *flags,
                "-o",
                str(made),
                *files,
                *self.libraries,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise MissingTool(
                    f"the C code of the {self.part} cannot be built: `python -m ziglang cc` failed with "
                    f"{done.stderr.strip()[-2000:] or 'no message'}; reinstall ziglang"
                )
            made.replace(path)


def cache_folder(part: str) -> Path:
    """Where a part keeps its libraries; a temporary folder if the user's cache cannot be written."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daypack" / part
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"daypack-{part}-"))
    return root if os.access(root, os.W_OK) else Path(tempfile.mkdtemp(prefix=f"daypack-{part}-"))
