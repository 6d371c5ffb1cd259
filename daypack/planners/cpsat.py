"""CP-SAT on small problems: the search's plan made better, and a bound that holds for every plan.

It begins where `anneal` ends, and has the time that `anneal` leaves. Problems above `MOST_NODES`, or too
little time left, keep the plan of `anneal` and the bound of `bounds`.
"""

from __future__ import annotations

import time

from daypack.planners.anneal import annealed
from daypack.planners.anneal_state import Tables
from daypack.planners.bounds import cost_bound, memory_bound
from daypack.planners.finish import CLOSE, finished
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.portfolio import met_or_refused
from daypack.planners.problem import Problem, ProblemError
from daypack.planners.schedule import Schedule, complete

MOST_NODES = 150
LEAST_S = 2.0
"""With less time than this left the solver is not even imported."""


def cpsat(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan that the search and the solver find; `PlanInfeasible` if they find none."""
    return polished(problem, memory_bytes, options, "cpsat")


def polished(problem: Problem, memory_bytes: int, options: PlanOptions, planner: str) -> Plan:
    """As `cpsat`, under the name of the planner that asks."""
    began = time.monotonic()
    if memory_bound(problem).bound_bytes > memory_bytes:
        met_or_refused(Tables(problem), memory_bytes)
    found = annealed(problem, memory_bytes, options)
    bound = cost_bound(problem, memory_bytes)
    left = options.time_limit_s - (time.monotonic() - began)
    proven = found is not None and found.cost <= bound * (1 + CLOSE)
    refuted = False
    if not proven and len(problem.nodes) <= MOST_NODES and left >= LEAST_S:
        found, bound, refuted = _solved(problem, memory_bytes, found, left, options)
    if found is None:
        found = _met_or_refused(problem, memory_bytes, refuted)
    return finished(problem, memory_bytes, found, planner, began, bound)


def _solved(
    problem: Problem, memory_bytes: int, found: Schedule | None, seconds: float, options: PlanOptions
) -> tuple[Schedule | None, float, bool]:
    """The better of the start and the solver's plan, the bound, whether no plan can fit."""
    from daypack.planners.cpsat_model import solve  # brings the solver along: most of a second

    outcome = solve(problem, memory_bytes, found, seconds, options.threads, options.seed)
    better = None
    if outcome.loads is not None:
        try:
            better = complete(problem, outcome.loads)
        except ProblemError:
            better = None  # the model relaxes what flash holds: not every solution is a plan
    if (
        better is not None
        and better.peak_bytes <= memory_bytes
        and (found is None or better.cost < found.cost)
    ):
        found = better
    return found, outcome.bound_cost, outcome.infeasible


def _met_or_refused(problem: Problem, memory_bytes: int, refuted: bool) -> Schedule:
    try:
        return met_or_refused(Tables(problem), memory_bytes)
    except PlanInfeasible as error:
        bound = memory_bytes + 1 if refuted else error.bound_bytes
        raise PlanInfeasible(
            memory_bytes, error.smallest_feasible_bytes, max(bound, error.bound_bytes), error.forced_by
        ) from None
