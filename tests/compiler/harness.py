"""Run kernels on this machine: many in one object, linked into a shared library and called through ctypes.

Every array lies between guard bands in memory of its own, so that a write outside is seen; tiles can be
handed out in any number of calls, last first, as threads would take them.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.graph import Node, StepGraph, numpy_dtype
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object
from daypack.compiler.kernels.select import schedule
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.pipeline import kernel_target
from daypack.devices.host import LEVELS, best_level, cpu_flags, detect_host

Array = np.ndarray[Any, Any]

HOST = kernel_target(detect_host())
GUARD_BYTES = 256
GUARD = 0xFF  # a NaN to whoever reads it


def narrower_targets() -> list[KernelTarget]:
    """The narrower vector levels of this architecture, all of which this machine runs."""
    flags = cpu_flags(Path("/proc/cpuinfo").read_text())
    best = best_level(HOST.triple.split("-")[0], flags)
    lower = [level for level in LEVELS if level.arch == best.arch][LEVELS.index(best) + 1 :]
    return [
        KernelTarget(
            HOST.triple,
            level.llvm_cpu,
            level.llvm_features,
            level.vector_bits,
            level.vector_registers,
            HOST.l1_bytes,
            HOST.l2_bytes,
        )
        for level in lower
    ]


class Guarded:
    """An array at a 64-byte boundary between two bands that must keep their bytes."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        self._raw = np.full(size + 2 * GUARD_BYTES + 64, GUARD, np.uint8)
        self._start = GUARD_BYTES + -(self._raw.ctypes.data + GUARD_BYTES) % 64
        self._size = size
        self.array = self._raw[self._start : self._start + size].view(dtype).reshape(shape)

    @property
    def address(self) -> int:
        return int(self._raw.ctypes.data) + self._start

    def check(self, what: str) -> None:
        """Fail if a byte outside the array has changed."""
        before, after = self._raw[: self._start], self._raw[self._start + self._size :]
        assert (before == GUARD).all(), f"{what}: bytes before the array were written"
        assert (after == GUARD).all(), f"{what}: bytes after the array were written"


@dataclass(frozen=True)
class Kernel:
    """A fused node's code and body."""

    code: KernelCode
    body: StepGraph


def kernel_of(node: Node, target: KernelTarget = HOST) -> Kernel:
    """The kernel of a fused node."""
    assert node.body is not None
    return Kernel(schedule(node.attrs["kind"], node.body, target), node.body)


class Library:
    """Kernels by name, compiled together. A kernel that does not compile raises its error when it is run."""

    def __init__(self, kernels: Mapping[str, Kernel], target: KernelTarget = HOST) -> None:
        self.kernels = dict(kernels)
        self._target = target
        self._folder = Path(tempfile.mkdtemp())
        self._errors: dict[str, Exception] = {}
        self._symbols = {name: f"k{number}" for number, name in enumerate(self.kernels)}
        self._homes: dict[str, ctypes.CDLL] = {}
        self._load(list(self.kernels))

    def _load(self, names: list[str]) -> None:
        functions = {
            f"{self._symbols[name]}_{n}": phase.function
            for name in names
            for n, phase in enumerate(self.kernels[name].code.phases)
        }
        if not functions:
            return
        try:
            code = compile_object(functions, self._target)
        except Exception as error:
            if len(names) == 1:
                self._errors[names[0]] = error
                return
            half = len(names) // 2
            self._load(names[:half])
            self._load(names[half:])
            return
        library = ctypes.CDLL(str(self._link(code)))
        self._homes.update(dict.fromkeys(names, library))

    def _link(self, code: bytes) -> Path:
        number = len(list(self._folder.iterdir()))
        source, library = self._folder / f"{number}.o", self._folder / f"{number}.so"
        source.write_bytes(code)
        command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        return library

    def run(
        self,
        name: str,
        arrays: Sequence[Array],
        chunks: int = 1,
        onto: Mapping[int, int] | None = None,
    ) -> list[Array]:
        """A kernel's outputs.

        `chunks` > 1 hands out each phase's tiles in that many calls, last first; `onto` puts an output in the
        memory of an input. Inputs that no output lies on must keep their bytes, and so must everything around
        every array.
        """
        if name in self._errors:
            raise self._errors[name]
        kernel = self.kernels[name]
        code, body = kernel.code, kernel.body
        shared = dict(onto or {}) if code.overwrites is None else {0: code.overwrites}
        inputs = [Guarded(i.value.shape, numpy_dtype(i.value.dtype)) for i in body.inputs]
        for held, given in zip(inputs, arrays, strict=True):
            held.array[...] = given
        outputs = [
            inputs[shared[n]] if n in shared else Guarded(o.value.shape, numpy_dtype(o.value.dtype))
            for n, o in enumerate(body.outputs)
        ]
        spaces = [Guarded((size,), np.dtype(np.uint8)) for size in code.workspace_bytes]
        scratch = Guarded((max(code.scratch_bytes, 1),), np.dtype(np.uint8))
        pointers = [ctypes.c_void_p(a.address) for a in (*inputs, *outputs, *spaces)]
        for number, phase in enumerate(code.phases):
            function = self._homes[name][f"{self._symbols[name]}_{number}"]
            step = max(1, -(-phase.tiles // chunks))
            for begin in reversed(range(0, phase.tiles, step)):
                scratch.array[...] = GUARD
                ends = (ctypes.c_int32(begin), ctypes.c_int32(min(begin + step, phase.tiles)))
                function(*pointers, ctypes.c_void_p(scratch.address), ctypes.c_int32(phase.stage), *ends)
        for number, held in enumerate((*inputs, *outputs, *spaces, scratch)):
            held.check(f"{name}, array {number}")
        for number, (held, given) in enumerate(zip(inputs, arrays, strict=True)):
            if number not in shared.values():
                same = held.array.tobytes() == np.asarray(given, held.array.dtype).tobytes()
                assert same, f"{name}: input {number} was written"
        return [
            held.array.reshape(o.value.shape).view(numpy_dtype(o.value.dtype)).copy()
            for held, o in zip(outputs, body.outputs, strict=True)
        ]
