"""The schedule of each kind of fused node."""

from __future__ import annotations

from collections.abc import Callable

from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import StepGraph
from daypack.compiler.kernels.concatenate import concatenate
from daypack.compiler.kernels.elementwise import elementwise
from daypack.compiler.kernels.gemm import gemm
from daypack.compiler.kernels.half_gemm import half_gemm, is_half
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.reduce import columns, general, total
from daypack.compiler.kernels.rows import rows
from daypack.compiler.kernels.scatter import scatter
from daypack.compiler.kernels.strips import cumulative, window
from daypack.compiler.kernels.target import KernelTarget

SCHEDULES: dict[Kind, Callable[[StepGraph, KernelTarget], KernelCode]] = {
    Kind.ELEMENTWISE: elementwise,
    Kind.ROWS: rows,
    Kind.COLUMNS: columns,
    Kind.TOTAL: total,
    Kind.GENERAL: general,
    Kind.GEMM: gemm,
    Kind.WINDOW: window,
    Kind.SCAN: cumulative,
    Kind.SCATTER: scatter,
    Kind.CONCATENATE: concatenate,
}


def schedule(kind: str, body: StepGraph, target: KernelTarget) -> KernelCode:
    """The code of a fused body."""
    if kind == Kind.GEMM and is_half(body):
        return half_gemm(body, target)
    return SCHEDULES[Kind(kind)](body, target)
