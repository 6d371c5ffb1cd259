"""The fast planners together: where a search begins, and the smallest budget that is known to do."""

from __future__ import annotations

from collections.abc import Iterator

from daypack.planners import finish
from daypack.planners.anneal_state import Tables
from daypack.planners.evict import best_eviction
from daypack.planners.greedy import best_greedy
from daypack.planners.keep_all import keep_all_order
from daypack.planners.schedule import Schedule


def best_start(tables: Tables, memory_bytes: int) -> Schedule | None:
    """The cheapest schedule of the fast planners; None if none fits."""
    whole = keep_all_order(tables.problem)
    if whole.peak_bytes <= memory_bytes:
        return whole
    return min(_schedules(tables, memory_bytes), key=lambda schedule: schedule.cost, default=None)


def _schedules(tables: Tables, memory_bytes: int) -> Iterator[Schedule]:
    for found in (best_greedy(tables, memory_bytes), best_eviction(tables.problem, memory_bytes)):
        if found is not None:
            yield found


def met_or_refused(tables: Tables, memory_bytes: int) -> Schedule:
    """A schedule of the one-pass planner, or `PlanInfeasible` with the smallest budget that it meets."""
    return finish.met_or_refused(tables.problem, memory_bytes, lambda budget: best_greedy(tables, budget))
