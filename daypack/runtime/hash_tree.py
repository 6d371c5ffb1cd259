"""`blocks.bin`: the SHA-256 of every block of a bundle's large files: a run checks each at its first read.

MANIFEST has the hash of blocks.bin: so whoever signs MANIFEST signs every block. FORMAT.md has the bytes;
`native/src/tree.c` reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from daypack.errors import BundleError

NAME = "blocks.bin"
#: Files that have blocks in it, in this order.
LARGE = ("data.bin", "weights.bin")
BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 32
#: What the engine has room for.
MOST_BLOCKS = 1 << 15


def has_tree(directory: Path) -> bool:
    """Whether there is a block more than one of a large file, and not more than the engine has room for."""
    sizes = [path.stat().st_size for path in _large(directory)]
    blocks = sum(-(-size // BLOCK_BYTES) for size in sizes)
    return max(sizes, default=0) > BLOCK_BYTES and blocks <= MOST_BLOCKS


def write_tree(directory: Path) -> None:
    """Write blocks.bin where the directory has large files, remove it where it has none."""
    path = directory / NAME
    if has_tree(directory):
        path.write_bytes(b"".join(digests(directory)))
    else:
        path.unlink(missing_ok=True)


def check_tree(directory: Path) -> None:
    """Insist that blocks.bin, if there is one, has the hashes of the files beside it."""
    path = directory / NAME
    if path.exists() and path.read_bytes() != b"".join(digests(directory)):
        raise BundleError(
            f"{path}: expected the SHA-256 of every block of {' and '.join(LARGE)}, found others; "
            "get the bundle from who compiled it again"
        )


def digests(directory: Path) -> Iterator[bytes]:
    """32 bytes for each block of each large file."""
    for path in _large(directory):
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield hashlib.sha256(block).digest()


def _large(directory: Path) -> list[Path]:
    return [path for name in LARGE if (path := directory / name).is_file()]
