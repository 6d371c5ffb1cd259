"""The answer to a budget that nothing was found to fit: what would do, what is proven not to, and why.

A fast planner's smallest budget comes first; where the exact search applies (`backward`) it closes in from
both sides: a budget that it meets is smaller, one that it refutes raises the bound.
"""

from __future__ import annotations

from daypack.planners.anneal_state import Tables
from daypack.planners.backward import applies, reached
from daypack.planners.bounds import forced_by, memory_bound
from daypack.planners.finish import PRECISION
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.portfolio import met_or_refused
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete

STATES = 100_000
"""For each budget that is tried."""


def met_or_explained(problem: Problem, memory_bytes: int, bound_bytes: int, stuck: int | None) -> Schedule:
    """A schedule within the budget if the fast planners have one after all; else `PlanInfeasible`.

    ``bound_bytes`` and ``stuck`` say what is proven already: what every plan needs, the node that forces it.
    """
    try:
        return met_or_refused(Tables(problem), memory_bytes)
    except PlanInfeasible as error:
        smallest = error.smallest_feasible_bytes
    least = memory_bound(problem)  # `Tables` lets less leave than the problem does: its bound is not ours
    bound, forced = least.bound_bytes, least.forced_by
    if bound_bytes > bound:
        bound = bound_bytes
        forced = forced if stuck is None else forced_by(problem, stuck)
    low = max(bound, memory_bytes + 1)
    while applies(problem) and smallest - low > max(smallest // PRECISION, 1):
        middle = (low + smallest) // 2
        outcome = reached(problem, middle, states=STATES)
        if outcome.loads is not None:
            found = complete(problem, outcome.loads)
            if found.peak_bytes <= memory_bytes:
                return found
            smallest = middle  # not the plan's peak: within that the search may not reach it again
            continue
        low = middle + 1
        if outcome.infeasible:
            bound = low
            forced = forced if outcome.stuck is None else forced_by(problem, outcome.stuck)
    raise PlanInfeasible(memory_bytes, smallest, bound, forced)
