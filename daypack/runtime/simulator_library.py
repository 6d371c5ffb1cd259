"""The simulator's loop and the engine's own scheduler.c as one shared library for this machine."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from daypack.c_library import CLibrary

NATIVE = Path(__file__).parent / "native"
LIBRARY = CLibrary(
    "simulator",
    (
        NATIVE / "src" / "scheduler.h",
        NATIVE / "src" / "scheduler.c",
        *(NATIVE / "simulator" / f"{name}.h" for name in ("simulator", "run", "by_shard")),
        *(NATIVE / "simulator" / f"{name}.c" for name in ("simulator", "run", "by_shard")),
    ),
    ("-O2",),
    include=(NATIVE / "src",),
    libraries=("-lm",),
)


@cache
def library() -> ctypes.CDLL:
    """The loaded library; `MissingTool` says what the compiler said if it cannot be built."""
    return LIBRARY.load()
