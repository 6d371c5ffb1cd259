"""Compiled kernels by what they were made from, kept between compilations.

An entry is a file named after the SHA-256 of everything that decides the object code, and holds the SHA-256
of that code before the code itself: what does not match was damaged, is removed and made again. A writer
writes beside the entry and renames, so that a reader finds all of it or nothing, and of two writers at once
either may win: both wrote the same. The entries used longest ago go when all together exceed the limit. A
folder that cannot be read or written is no error: the kernels are then compiled each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

LIMIT_BYTES = 512 * 10**6
"""Of all entries together; an object of GPT-2 has about 1 MB."""
_SOURCES = Path(__file__).parent.parent
_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX = ".kernels"


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/daypack/kernels`, `~/.cache` where that is not set."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "daypack" / "kernels"


def key_of(parts: Iterable[str]) -> str:
    """The name of an entry made from `parts` by this compiler: its sources and TVM's version are added."""
    digest = hashlib.sha256()
    for part in (_compiler_digest(), version("apache-tvm"), *parts):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


@cache
def _compiler_digest() -> str:
    """Of every source file that turns a body into code."""
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_SOURCES)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@dataclass(frozen=True)
class KernelCache:
    """Objects in a folder of at most `limit_bytes`; several processes may use it at once."""

    folder: Path
    limit_bytes: int = LIMIT_BYTES

    def get(self, key: str) -> bytes | None:
        """The object under a key, or None; a damaged entry is removed."""
        path = self._path(key)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        digest, code = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        sound = hashlib.sha256(code).digest() == digest
        with contextlib.suppress(OSError):  # another process may have removed it
            if sound:
                os.utime(path)
            else:
                path.unlink()
        return code if sound else None

    def put(self, key: str, code: bytes) -> None:
        """Keep an object, and let go of those used longest ago."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix="writing-", delete=False) as file:
                partial = Path(file.name)
                try:
                    file.write(hashlib.sha256(code).digest() + code)
                    file.close()
                    partial.replace(self._path(key))
                finally:
                    partial.unlink(missing_ok=True)
            self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / (key + _SUFFIX)

    def _shrink(self) -> None:
        entries: list[tuple[int, int, Path]] = []
        for path in self.folder.glob("*" + _SUFFIX):
            with contextlib.suppress(OSError):
                found = path.stat()
                entries.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size
