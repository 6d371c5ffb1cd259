"""What every planner does last: a schedule becomes a plan with its bound, or the budget an answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from daypack.planners.bounds import cost_bound, infeasible, memory_bound
from daypack.planners.plan import Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete, given_order

PRECISION = 100
"""The smallest budget is looked for to one part in this many."""
TRIES = (1.0, 0.98, 0.95, 0.9)
"""Shares of the budget that are tried in turn."""
CLOSE = 1e-9
"""Costs that differ by less than this share are the same: sums of doubles in another order."""


def finished(
    problem: Problem,
    memory_bytes: int,
    schedule: Schedule,
    planner: str,
    began: float,
    bound: float | None = None,
) -> Plan:
    """The plan of a schedule found within the budget; ``began`` is when planning began (`time.monotonic`)."""
    lower = max(cost_bound(problem, memory_bytes), bound or 0.0)
    optimal = schedule.cost <= lower * (1 + CLOSE)
    return Plan(
        schedule.sequence,
        schedule.peak_bytes,
        schedule.cost,
        lower_bound_cost=min(lower, schedule.cost),
        proven_optimal=optimal,
        seconds=time.monotonic() - began,
        planner=planner,
    )


def met_or_refused(
    problem: Problem, memory_bytes: int, attempt: Callable[[int], Schedule | None]
) -> Schedule:
    """A schedule within the budget, or `PlanInfeasible` with the smallest budget that ``attempt`` meets.

    One-pass planners are not monotone: a smaller budget may give a plan where this one does not, so what the
    search for the smallest budget finds may be the answer; and the peak of a plan may be a budget that gives
    none. The budget named is one that ``attempt`` meets, so that asking for it does not end here again.
    """
    found, high, met = _searched(problem, memory_bytes, attempt)
    if found is not None:
        return found
    if high < met and _searched(problem, high, attempt)[0] is None:
        high = met
    raise infeasible(problem, memory_bytes, high)


def _searched(
    problem: Problem, memory_bytes: int, attempt: Callable[[int], Schedule | None]
) -> tuple[Schedule | None, int, int]:
    """(a schedule within the budget or None, the least peak seen, the budget that gave it)."""
    bound = memory_bound(problem).bound_bytes
    high = met = complete(problem, given_order(problem)).peak_bytes
    low = max(memory_bytes, bound)
    budgets = [int(share * memory_bytes) for share in TRIES] if memory_bytes >= bound else []
    for budget in budgets:
        schedule = attempt(budget)
        if schedule is not None and schedule.peak_bytes <= memory_bytes:
            return schedule, high, met
    while high - low > max(high // PRECISION, 1):
        middle = (low + high) // 2
        schedule = attempt(middle)
        if schedule is not None and schedule.peak_bytes <= memory_bytes:
            return schedule, high, met
        if schedule is None:
            low = middle
        else:
            high, met = min(middle, schedule.peak_bytes), middle
    return None, high, met
