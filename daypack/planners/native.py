"""The planners' inner loops in C, called by ctypes.

The code is freestanding (no libc, no allocation), so a build takes a quarter of a second. Integer arithmetic
and uncontracted doubles: the same input gives the same result on every machine.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.c_library import CLibrary

SOURCES = Path(__file__).parent / "native"


@cache
def library() -> ctypes.CDLL:
    """The loaded library; `MissingTool` says what the compiler said if it cannot be built."""
    flags = ("-O3", "-ffreestanding", "-nostdlib", f"-mcpu={_processor()}")
    return CLibrary("planners", sorted(SOURCES.glob("*.[ch]")), flags).load()


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
