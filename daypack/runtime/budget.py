"""What an engine process uses besides the arena: the figures the planner subtracts from a memory budget.

`native/src/arena.c` uses the same figures to refuse a run that would not keep its budget; a test compares the
two and measures that they suffice.
"""

from __future__ import annotations

from daypack.runtime.plan_file import ALIGNMENT_BYTES

#: The 1 MB read buffer, libc, the C stack, the kernel's own bookkeeping.
BASE_BYTES = 1_600_000
#: What a thread touches of its stack, and its bookkeeping.
THREAD_BYTES = 64 * 1024


def engine_overhead_bytes(
    *, threads: int, scratch_bytes: int, plan_bytes: int, engine_bytes: int, policy_bytes: int = 0
) -> int:
    """Bytes beside the arena for a run: `plan_bytes`, `engine_bytes` and `policy_bytes` are sizes of
    plan.bin, the executable and policy.bin.

    The engine insists that arena + overhead is at most the plan's budget, taking fewer threads when it must.
    """
    scratch = scratch_bytes + -scratch_bytes % ALIGNMENT_BYTES
    pager = THREAD_BYTES
    return BASE_BYTES + plan_bytes + engine_bytes + policy_bytes + threads * (scratch + THREAD_BYTES) + pager
