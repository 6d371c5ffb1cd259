"""Kernels on this machine by the engine's own threads, and the machine's own peak."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object
from daypack.compiler.kernels.target import KernelTarget
from daypack.runtime.build import NATIVE

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
CHAINS = 12
SOURCE = Path(__file__).with_name("team.c")
PAGE_BYTES, CACHE_LINE_BYTES = 4096, 64


class Team:
    """Kernels compiled for this machine into one library, and `threads` threads that run them."""

    def __init__(
        self, codes: Sequence[KernelCode], arguments: int, target: KernelTarget, threads: int, folder: Path
    ) -> None:
        functions = {
            f"k{n}_{p}": phase.function for n, code in enumerate(codes) for p, phase in enumerate(code.phases)
        }
        (folder / "kernels.o").write_bytes(compile_object(functions, target))
        counts = {
            f"k{n}_{p}": arguments + len(code.workspace_bytes)
            for n, code in enumerate(codes)
            for p, _ in enumerate(code.phases)
        }
        bridges = "\n".join(trampoline(symbol, count) for symbol, count in counts.items())
        (folder / "bridges.c").write_text(f"#include <stdint.h>\n{bridges}\n")
        sizes = [f"-DLANES={target.lanes}", f"-DCHAINS={CHAINS}"]
        include = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
        sources = [str(SOURCE), str(NATIVE / "src" / "threads.c"), "bridges.c", "kernels.o"]
        words = ["cc", "-shared", "-fPIC", "-O2", "-mcpu=native", "-fno-sanitize=all", *sizes, *include]
        command = [sys.executable, "-m", "ziglang", *words, *sources, "-o", "team.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the team does not build: {done.stderr[-2000:]}")
        self._library = ctypes.CDLL(str(folder / "team.so"))
        self._codes, self._threads, self._lanes = list(codes), threads, target.lanes
        most = max(code.scratch_bytes for code in codes)
        stride = most + -most % PAGE_BYTES + CACHE_LINE_BYTES
        self._scratch = aligned(stride // 4 * threads)
        place = ctypes.c_void_p(self._scratch.ctypes.data)
        if self._library.team(ctypes.c_uint32(threads), place, ctypes.c_uint64(stride)):
            raise RuntimeError(f"{threads} threads do not start")

    def call(self, number: int, arrays: Sequence[Array]) -> Call:
        """A function that runs kernel `number` on its inputs, outputs and workspaces."""
        code = self._codes[number]
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        steps = [
            (getattr(self._library, f"run_k{number}_{p}"), pointers, phase.stage, phase.tiles)
            for p, phase in enumerate(code.phases)
        ]

        def run() -> None:
            for step in steps:
                self._library.all_tiles(*step)

        return run

    def peak(self) -> tuple[Call, float]:
        """A function of multiply-adds in registers on every thread, some 2 ms of them, and its operations."""
        turns, tiles = 8_000, 32 * self._threads
        memory = aligned(self._lanes)
        memory[:] = 0.5
        pointers = (ctypes.c_void_p * 1)(memory.ctypes.data)
        step = (self._library.multiply_add, pointers, turns, tiles)
        work = 2.0 * self._lanes * CHAINS * turns * tiles
        return lambda: (self._library.all_tiles(*step), memory)[0], work


def aligned(elements: int) -> Array:
    """Zeros of float32 at a 64-byte boundary, each page touched."""
    raw = np.full(elements + 16, 0.0, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + elements]


def trampoline(symbol: str, count: int) -> str:
    """C that calls a kernel of `count` pointers with an array of them."""
    passed = "".join(f"a[{n}], " for n in range(count))
    return (
        f"extern void {symbol}({'void *, ' * count}void *, int32_t, int32_t, int32_t);\n"
        f"void run_{symbol}(void *const *a, void *s, int32_t stage, int32_t begin, int32_t end) "
        f"{{ {symbol}({passed}s, stage, begin, end); }}"
    )
