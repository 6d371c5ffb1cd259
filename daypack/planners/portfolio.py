"""The fast planners together: where a search begins, and the smallest budget that is known to do."""

from __future__ import annotations

import math
import time

from daypack.planners import finish
from daypack.planners.anneal_state import Tables
from daypack.planners.chain import ChainPlanner
from daypack.planners.evict import best_eviction
from daypack.planners.greedy import best_greedy
from daypack.planners.keep_all import keep_all_order
from daypack.planners.schedule import Schedule
from daypack.planners.sqrt_n import best_checkpoints

EVICTION_NODES = 400
"""Above this `evict`, whose time grows with the square of the nodes, is left out."""


def best_start(tables: Tables, memory_bytes: int, until: float = math.inf) -> Schedule | None:
    """The cheapest schedule of the fast planners; None if none fits. After ``until`` no other is begun where
    there is one.
    """
    whole = keep_all_order(tables.problem)
    if whole.peak_bytes <= memory_bytes:
        return whole
    best: Schedule | None = None
    for attempt in (_chain, _evict, _checkpoints):
        found = attempt(tables, memory_bytes)
        if found is not None and (best is None or found.cost < best.cost):
            best = found
        if best is not None and time.monotonic() >= until:
            break
    return best


def _chain(tables: Tables, memory_bytes: int) -> Schedule | None:
    """The one-pass planner included."""
    return ChainPlanner(tables).attempt(memory_bytes)


def _evict(tables: Tables, memory_bytes: int) -> Schedule | None:
    if len(tables.problem.nodes) > EVICTION_NODES:
        return None
    return best_eviction(tables.problem, memory_bytes)


def _checkpoints(tables: Tables, memory_bytes: int) -> Schedule | None:
    return best_checkpoints(tables, memory_bytes)


def met_or_refused(tables: Tables, memory_bytes: int) -> Schedule:
    """A schedule of the one-pass planner, or `PlanInfeasible` with the smallest budget that it meets."""
    return finish.met_or_refused(tables.problem, memory_bytes, lambda budget: best_greedy(tables, budget))
