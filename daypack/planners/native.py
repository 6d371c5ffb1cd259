"""The planners' inner loops in C: built once a machine by the toolchain that builds the engine, called by
ctypes.

The code is freestanding (no libc, no allocation), so a build takes a quarter of a second. It is kept in the
user's cache folder under the hash of the sources, the flags and the compiler's version. Integer arithmetic
and uncontracted doubles: the same input gives the same result on every machine.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import MissingTool

SOURCES = Path(__file__).parent / "native"

_FLAGS = (
    "-std=c11",
    "-O3",
    "-shared",
    "-fPIC",
    "-ffreestanding",
    "-nostdlib",
    "-ffp-contract=off",
    "-fno-sanitize=all",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
)


@cache
def library() -> ctypes.CDLL:
    """The loaded library; `MissingTool` says what the compiler said if it cannot be built."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    flags = (*_FLAGS, f"-mcpu={_processor()}")
    key = hashlib.sha256("\0".join([*flags, importlib.metadata.version("ziglang")]).encode())
    for source in sources:
        key.update(source.read_bytes())
    path = _folder() / f"{key.hexdigest()[:32]}.so"
    if not path.exists():
        _build([source for source in sources if source.suffix == ".c"], flags, path)
    return ctypes.CDLL(str(path))


def _processor() -> str:
    """The widest vectors that this machine has; a cache folder may be shared between machines."""
    if platform.machine() != "x86_64":
        return "baseline"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split("\n\n")[0].split()
    except OSError:
        return "baseline"
    levels = {"x86_64_v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}, "x86_64_v3": {"avx2"}}
    return next((level for level, needs in levels.items() if needs <= set(flags)), "baseline")


def _folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daypack" / "planners"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="daypack-planners-"))
    return root if os.access(root, os.W_OK) else Path(tempfile.mkdtemp(prefix="daypack-planners-"))


def _build(sources: list[Path], flags: tuple[str, ...], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "made.so"
        command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(made), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingTool(
                "the planners' C code cannot be built: `python -m ziglang cc` failed with "
                f"{done.stderr.strip()[-2000:] or 'no message'}; reinstall ziglang"
            )
        made.replace(path)


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """The address of a contiguous array's first element; the caller keeps the array alive."""
    if not array.flags.c_contiguous:
        raise ValueError("only contiguous arrays can be passed to C")
    return ctypes.c_void_p(array.ctypes.data)


def structure(scalars: Mapping[str, int], arrays: Mapping[str, NDArray[Any]]) -> ctypes.Structure:
    """A C struct of 64-bit integers followed by array pointers, in the order given; it keeps its arrays
    alive."""
    fields = [(name, ctypes.c_int64) for name in scalars] + [(name, ctypes.c_void_p) for name in arrays]
    kind = type("Arguments", (ctypes.Structure,), {"_fields_": fields})
    made: ctypes.Structure = kind(*scalars.values(), *map(pointer, arrays.values()))
    made._arrays = dict(arrays)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    return made


def longs(count: int) -> NDArray[np.int64]:
    """Zeros for C to write into."""
    return np.zeros(count, dtype=np.int64)
