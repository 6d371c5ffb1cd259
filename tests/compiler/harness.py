"""Run a kernel on this machine: its object linked into a shared library and called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.graph import StepGraph
from daypack.compiler.interpret import numpy_dtype
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object
from daypack.compiler.kernels.target import KernelTarget

Array = np.ndarray[Any, Any]


def aligned(shape: Sequence[int], dtype: Any) -> Array:
    """An array at a 64-byte boundary, as the arena gives."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count].view(dtype).reshape(shape)


def load(functions: Mapping[str, Any], target: KernelTarget) -> ctypes.CDLL:
    """A shared library of compiled phase functions."""
    folder = Path(tempfile.mkdtemp())
    code = compile_object(functions, target)
    name = hashlib.sha256(code).hexdigest()[:16]
    (folder / f"{name}.o").write_bytes(code)
    library = folder / f"{name}.so"
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-o", str(library), str(folder / f"{name}.o")]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(library))


def run_kernel(
    code: KernelCode,
    body: StepGraph,
    arrays: Sequence[Array],
    target: KernelTarget,
    chunks: int = 1,
) -> list[Array]:
    """Outputs of a kernel; `chunks` > 1 hands out each phase's tiles in that many calls, last first."""
    functions = {f"k_{n}": phase.function for n, phase in enumerate(code.phases)}
    library = load(functions, target)
    inputs = []
    for item, array in zip(body.inputs, arrays, strict=True):
        held = aligned(item.value.shape, numpy_dtype(item.value.dtype))
        held[...] = array
        inputs.append(held)
    outputs = [aligned(o.value.shape, numpy_dtype(o.value.dtype)) for o in body.outputs]
    for out in outputs:
        if out.dtype == np.float32:
            out.fill(np.nan)
    spaces = [aligned((n,), np.uint8) for n in code.workspace_bytes]
    for space in spaces:
        space.fill(255)
    scratch = aligned((max(code.scratch_bytes, 64),), np.uint8)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*inputs, *outputs, *spaces)]
    for number, phase in enumerate(code.phases):
        step = -(-phase.tiles // chunks)
        for begin in reversed(range(0, phase.tiles, step)):
            scratch.fill(255)
            ends = (ctypes.c_int32(begin), ctypes.c_int32(min(begin + step, phase.tiles)))
            function = library[f"k_{number}"]
            function(*pointers, ctypes.c_void_p(scratch.ctypes.data), ctypes.c_int32(phase.stage), *ends)
    return outputs
