"""What the compiler uses: the best plan that the planners find within the time limit.

The fast planners (`portfolio`) and the search that begins at the best of them (`anneal`) come first; on small
problems `cpsat` has what time they leave. Each of the slow ones does what it does by itself, so `auto` is
never worse than a single planner with the same limit; and each stops early where the plan is proven optimal.
"""

from __future__ import annotations

from daypack.planners.anneal import anneal
from daypack.planners.keep_all import keep_all, keep_all_order
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem


def auto(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan found; `PlanInfeasible` if none fits."""
    if keep_all_order(problem).peak_bytes <= memory_bytes:
        return keep_all(problem, memory_bytes, options)
    return anneal(problem, memory_bytes, options)
