"""What the compiler uses: the best plan that the planners find within the time limit.

A plan that keeps everything is the answer where it fits. Otherwise the stages of `cpsat` follow one another;
in them the fast planners (`portfolio`) and the search that begins at the best of them (`anneal`) take the
time that they take by themselves. Each stage begins with the best so far, so `auto` is not worse than any
single planner with the same limit; and each ends early where the plan is proven optimal.
"""

from __future__ import annotations

from daypack.planners.cpsat import polished
from daypack.planners.keep_all import keep_all, keep_all_order
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem


def auto(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan found; `PlanInfeasible` if none fits."""
    if keep_all_order(problem).peak_bytes <= memory_bytes:
        return keep_all(problem, memory_bytes, options)
    return polished(problem, memory_bytes, options, "auto")
