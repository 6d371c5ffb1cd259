"""What one kernel call costs on a device: operations, bytes moved, seconds. All figures are modelled.

Matrix products compute on panels that they first pack from memory: the two add up. Other kernels do both at
once, and take the longer. Rates are those that `daypack calibrate` measured, else shares of the peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph
from daypack.devices import PRODUCTS_SHARE, Profile

_OPERATIONS = {
    **dict.fromkeys(["exp", "log", "tanh", "erf", "logistic", "sin", "cos", "exp2", "log1p", "expm1"], 20),
    **dict.fromkeys(["div", "sqrt", "rsqrt"], 8),
    "threefry2x32": 110,
    "pow": 60,
}
PRODUCT, ROWS = "gemm", "rows"
"""The kinds of matrix products, and of norms and softmax."""
ELEMENTS_SHARE = 0.25
"""Of the peak, what other kinds reach: assumed where a profile has no measured rate."""
HALF_SPEED = 2.0 * 0.83
"""Products in float16 by those in float32, where no rate was measured: twice the lanes, less the additions in
float32 after every block and the rounding of both operands (by LLVM's models of three cores: ADR 0034)."""
MEMORY_BYTES_PER_S = 10e9
CALL_S = 2e-6
"""Where a profile has no such figure."""


@dataclass(frozen=True, slots=True)
class KernelCost:
    """Floating-point operations and bytes read and written from memory by one call; `half_flops`: those of
    the operations that are in float16.
    """

    flops: float
    bytes_moved: int
    half_flops: float = 0.0

    def full_flops(self, profile: Profile) -> float:
        """The operations in float32 that take as long."""
        known = profile.kernels.half_products_flops_per_s
        speed = HALF_SPEED if known is None else known.value / flops_per_s(PRODUCT, profile)
        return self.flops - self.half_flops * (1 - 1 / speed)


def kernel_cost(body: StepGraph) -> KernelCost:
    """Count a body's operations; what it touches crosses memory once."""
    flops = float(sum(_node_flops(node) for node in body.nodes))
    half = float(sum(_node_flops(node) for node in body.nodes if "arithmetic" in node.attrs))
    return KernelCost(flops, bytes_touched(body), half)


def bytes_touched(body: StepGraph) -> int:
    """Inputs and outputs; of a table whose rows are looked up or added to only what these rows have."""
    inputs = {item.value for item in body.inputs}
    added = {n.output: n for n in body.nodes if n.op in ops.SCATTERS and n.inputs[0] in inputs}
    total = 0
    for value in (out.value for out in body.outputs):
        total += added[value].inputs[2].size_bytes if value in added else value.size_bytes
    for value in inputs:
        readers = [node for node in body.nodes if value in node.inputs]
        rows = [_rows_bytes(node) for node in readers if node.inputs[0] == value]
        by_rows = bool(readers) and len(rows) == len(readers) and None not in rows
        total += min(value.size_bytes, sum(n or 0 for n in rows)) if by_rows else value.size_bytes
    return total


def _rows_bytes(node: Node) -> int | None:
    """What a node reads of its first operand if it reads rows of it; None if it may read all."""
    if node.op == "gather":
        return node.output.size_bytes
    return node.inputs[2].size_bytes if node.op in ops.SCATTERS else None


def _node_flops(node: Node) -> float:
    out = node.outputs[0]
    if node.op == "dot_general":
        contracted: tuple[int, ...] = node.attrs["lhs_contract"]
        return 2.0 * out.elements * math.prod(node.inputs[0].shape[d] for d in contracted)
    if node.op == "conv_general_dilated":
        rhs = node.inputs[1]
        spec: tuple[int, ...] = node.attrs["rhs_spec"]
        features = rhs.shape[spec[0]]
        return 2.0 * out.elements * rhs.elements / max(1, features)
    if node.op in ops.WINDOWS:
        return float(out.elements * math.prod(node.attrs["window"]))
    if node.op in ops.REDUCTIONS | ops.ARG_REDUCTIONS:
        return float(node.inputs[0].elements)
    if node.op in ops.ELEMENTWISE:
        return float(out.elements * _OPERATIONS.get(node.op, 1))
    return 0.0


def flops_per_s(kind: str, profile: Profile) -> float:
    """What kernels of a kind compute on all cores of the profile."""
    known = profile.kernels
    measured = {PRODUCT: known.products_flops_per_s, ROWS: known.rows_flops_per_s}.get(
        kind, known.elements_flops_per_s
    )
    if measured is not None:
        return measured.value
    return profile.total_flops_per_s * (PRODUCTS_SHARE if kind == PRODUCT else ELEMENTS_SHARE)


def kernel_seconds(kind: str, cost: KernelCost, profile: Profile) -> float:
    """Of one call on all cores of the profile."""
    compute = cost.full_flops(profile) / flops_per_s(kind, profile)
    move = cost.bytes_moved / (profile.memory_bytes_per_s or MEMORY_BYTES_PER_S)
    call = profile.kernels.call_s.value if profile.kernels.call_s else CALL_S
    return call + (compute + move if kind == PRODUCT else max(compute, move))


def kernel_joules(seconds: float, cost: KernelCost, profile: Profile) -> float | None:
    """All cores busy at their highest clocks for `seconds`, and the bytes that cross memory.

    None where the profile lacks the power of a cluster or the energy of memory.
    """
    memory = profile.memory.energy_j_per_byte
    if memory is None or not all(cluster.points for cluster in profile.clusters):
        return None
    highest = [max(c.points, key=lambda point: point.clock_hz).power_w.value for c in profile.clusters]
    watts = sum(c.cores * power for c, power in zip(profile.clusters, highest, strict=True))
    return seconds * watts + cost.bytes_moved * memory.value
