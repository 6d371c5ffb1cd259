"""Simulated annealing over sequences of loads with free order: what to recompute, what to page, and when.

The idea is FastSA's (NeurIPS 2023): search whole node sequences rather than decisions in a fixed order. Here
a state is kept with its memory profile (``native/anneal.c``), moves are local (shift a load, push it past its
neighbours, load a value, a chain or a family of values again, take a chain out, exchange two, change how a
value is paged), and memory above the budget is priced: cheap at first, so that the search may pass through
states that do not fit, then more and more. It begins at the best plan of the fast planners.

The number of moves follows from the time limit by a fixed rate: the same seed gives the same plan as long as
the machine keeps up; the clock only cuts the search short.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from daypack.planners.anneal_state import State, Tables
from daypack.planners.bounds import cost_bound, memory_bound
from daypack.planners.finish import CLOSE, finished
from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.portfolio import best_start, met_or_refused
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete, given_order

MOVES_PER_S = 4_000_000
"""Moves planned for a second of the time limit, divided by what a move touches and by how long spans are."""

EPOCH_MOVES = 50_000

ROUND_MOVES_A_LOAD, MOST_ROUNDS = 6_000, 12
"""Moves a load after which a slower descent gains less than another one; most rounds of the schedule."""

ENOUGH_S_A_NODE = 0.04
"""Seconds a node after which more search finds little."""


class Begin(Enum):
    """Where a cooling begins: the loads first given, the best so far, or where the last cooling ended."""

    START = "start"
    BEST = "best"
    HERE = "here"


@dataclass(frozen=True, slots=True)
class Cooling:
    """One cooling: temperature in mean node costs, price in mean node costs for a mean size over one load."""

    begin: Begin
    share: float
    hot: float
    cold: float
    cheap: float
    dear: float


SCHEDULE = (
    Cooling(Begin.START, 0.07, 0.1, 0.001, 1.0, 100.0),
    Cooling(Begin.BEST, 0.45, 0.1, 0.003, 0.003, 1.0),
    Cooling(Begin.HERE, 0.06, 0.003, 0.0005, 1.0, 1000.0),
    Cooling(Begin.BEST, 0.14, 0.05, 0.001, 0.1, 100.0),
    Cooling(Begin.BEST, 0.18, 0.03, 0.001, 0.03, 10.0),
    Cooling(Begin.BEST, 0.10, 0.02, 0.0005, 0.5, 3000.0),
)


def anneal(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan within the budget that the search meets; `PlanInfeasible` if it meets none."""
    began = time.monotonic()
    possible = memory_bound(problem).bound_bytes <= memory_bytes
    found = annealed(problem, memory_bytes, options) if possible else None
    if found is None:
        found = met_or_refused(Tables(problem), memory_bytes)
    return finished(problem, memory_bytes, found, "anneal", began)


def annealed(problem: Problem, memory_bytes: int, options: PlanOptions) -> Schedule | None:
    """The cheapest schedule that the search meets, its start included; None if none fits."""
    began = time.monotonic()
    bound = cost_bound(problem, memory_bytes)
    tables = Tables(problem)
    start = best_start(tables, memory_bytes, began + options.time_limit_s / 2)
    if start is not None and start.cost <= bound * (1 + CLOSE):
        return start
    if all(problem.is_source(node.id) for node in problem.nodes):
        return start  # without a compute there is nothing to move
    loads = list(given_order(problem)) if start is None else loads_of(start)
    seconds = min(options.time_limit_s, ENOUGH_S_A_NODE * len(problem.nodes))
    found = search(tables, memory_bytes, loads, seconds, began + options.time_limit_s, options.seed)
    return start if found is None else found


def loads_of(schedule: Schedule) -> list[Instruction]:
    """The computes and page-ins of a schedule."""
    return [step for step in schedule.sequence if step.op in (Op.COMPUTE, Op.PAGE_IN)]


def search(
    tables: Tables,
    memory_bytes: int,
    loads: Sequence[Instruction],
    seconds: float,
    until: float,
    seed: int,
) -> Schedule | None:
    """The cheapest schedule within the budget found from these loads.

    The moves are those of ``seconds`` at a fixed rate; the clock ends the search early at ``until``.
    """
    problem = tables.problem
    bound = cost_bound(problem, memory_bytes)
    start = loads
    best = complete(problem, loads)
    if best.peak_bytes > memory_bytes:
        best = None
    random = np.array([2 * seed + 0x9E3779B97F4A7C15], dtype=np.uint64)
    unit = _units(problem)
    total = _moves(problem, len(loads), seconds)
    lowest = math.inf if best is None else best.cost
    rounds = max(1, min(MOST_ROUNDS, total // (ROUND_MOVES_A_LOAD * len(loads))))
    for epoch in _epochs(total // rounds, rounds):
        if time.monotonic() >= until or lowest <= bound * (1 + CLOSE):
            break
        if epoch.begin is Begin.START:
            loads = start
        elif epoch.begin is Begin.BEST and best is not None:
            loads = loads_of(best)
        state = State(tables, loads, memory_bytes, random)
        cost = state.move(
            epoch.moves,
            epoch.temperature * unit.cost,
            epoch.ratio,
            epoch.price * unit.cost / unit.bytes,
            lowest,
        )
        loads = state.loads()
        if cost < lowest:
            lowest = cost
            best = complete(problem, state.best_loads())
    return best


@dataclass(frozen=True, slots=True)
class _Units:
    cost: float
    bytes: float


def _units(problem: Problem) -> _Units:
    computed = [node for node in problem.nodes if not problem.is_source(node.id)]
    count = max(1, len(computed))
    cost = sum(node.cost for node in computed) / count
    size = sum(node.size_bytes for node in computed) / count
    return _Units(cost or 1.0, size or 1.0)


@dataclass(frozen=True, slots=True)
class _Epoch:
    begin: Begin
    moves: int
    temperature: float
    ratio: float
    price: float


def _moves(problem: Problem, loads: int, seconds: float) -> int:
    edges = sum(len(node.operands) for node in problem.nodes)
    touched = 1 + edges / max(1, len(problem.nodes))
    return int(max(0.0, seconds) * MOVES_PER_S / (touched * (0.5 + loads / 1500)))


def _epochs(total: int, rounds: int) -> Iterator[_Epoch]:
    """The coolings of each round in epochs; state and slots are made anew between them."""
    for cooling in SCHEDULE * rounds:
        moves = int(total * cooling.share)
        count = max(8, min(60, moves // EPOCH_MOVES))
        each = max(1, moves // count)
        for index in range(count):
            done = index / count
            yield _Epoch(
                cooling.begin if index == 0 else Begin.HERE,
                each,
                cooling.hot * (cooling.cold / cooling.hot) ** done,
                (cooling.cold / cooling.hot) ** (1 / count / each),
                cooling.cheap * (cooling.dear / cooling.cheap) ** done,
            )
