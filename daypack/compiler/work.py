"""What a planned step asks of any device, shard by shard, for the part of bundle.json that the scheduler
reads.

Rows are [operations, bytes across memory, bytes read from flash, bytes written to it]. Operations of kinds
that reach less of the peak than matrix products count for more, so that one efficiency prices them all.
Modelled.
"""

from __future__ import annotations

from typing import Any

from daypack.compiler.cost import PRODUCT, flops_per_s, kernel_cost
from daypack.compiler.planning import Planned
from daypack.compiler.window import CallKind
from daypack.devices import PRODUCTS_SHARE, Profile
from daypack.planners.plan import Op


def work_of(
    planned: Planned, profile: Profile, *, tokens: int, peak_bytes: int, saved_bytes: int
) -> dict[str, Any]:
    """The shards of a plan; what is saved after the step is written by the last one."""
    rows: list[list[float]] = []
    row = [0.0, 0.0, 0.0, 0.0]
    ends = set(planned.applied.shard_ends)
    products = flops_per_s(PRODUCT, profile)
    costs = [kernel_cost(kernel.body) for kernel in planned.table.kernels]
    for place, (op, value) in enumerate(planned.applied.plan.sequence, start=1):
        size_bytes = float(planned.projection.problem.nodes[value].size_bytes)
        call = (
            planned.window.calls[planned.projection.call_of[value]]
            if op is Op.COMPUTE and (value in planned.projection.call_of)
            else None
        )
        if call is not None and call.kind is CallKind.KERNEL:
            kind = planned.table.kernels[call.kernel].kind
            row[0] += costs[call.kernel].full_flops(profile) * products / flops_per_s(kind, profile)
            row[1] += costs[call.kernel].bytes_moved
        row[2] += size_bytes if op is Op.PAGE_IN else 0.0
        row[3] += size_bytes if op is Op.PAGE_OUT else 0.0
        if place in ends:
            rows.append(row)
            row = [0.0, 0.0, 0.0, 0.0]
    if any(row) or not rows:
        rows.append(row)
    rows[-1][3] += saved_bytes
    return {"tokens": tokens, "peak_bytes": peak_bytes, "efficiency": PRODUCTS_SHARE, "shards": rows}
