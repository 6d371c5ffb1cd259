"""The plan without means: the given order, every node once, values freed after their last use."""

from __future__ import annotations

import time

from daypack.planners.bounds import infeasible
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete, given_order


def keep_all_order(problem: Problem) -> Schedule:
    """The schedule of the given order."""
    return complete(problem, given_order(problem))


def keep_all(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """Plan the given order; its cost is optimal. `PlanInfeasible` if its peak is above the budget."""
    began = time.monotonic()
    schedule = keep_all_order(problem)
    if schedule.peak_bytes > memory_bytes:
        raise infeasible(problem, memory_bytes, schedule.peak_bytes)
    return Plan(
        schedule.sequence,
        schedule.peak_bytes,
        schedule.cost,
        lower_bound_cost=schedule.cost,
        proven_optimal=True,
        seconds=time.monotonic() - began,
        planner="keep-all",
    )
