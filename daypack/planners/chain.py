"""Layer chains: the exact front of each block, then dynamic programming over the blocks of the chain.

After Rockmate (Zhao et al., ICML 2023): a block's saved values are kept, or given up and brought back on the
way down, by computing or by paging; every choice gives bytes kept and extra cost, and the best choices are
its front. On the way down the blocks above have left, so block ``j`` has what the blocks below it do not
keep: the cheapest choices for every prefix are a knapsack over the chain. Deviation: the choices steer the
one-pass planner (`greedy.run_pass`) instead of being the plan, so that paging of weights, updates and
whatever lies outside the chain are planned along, and a chain that was judged too tight still gives a plan.
Several targets are tried.

Where a graph has no chain this is the one-pass planner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from daypack.planners.anneal_state import Tables
from daypack.planners.blocks import Block, Chain, chains
from daypack.planners.finish import finished, met_or_refused
from daypack.planners.greedy import Pass, best_pass, run_pass
from daypack.planners.orders import eager
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule

TARGETS = (0.95, 0.85, 0.75, 0.6, 0.45, 0.3, 0.15, 0.0)
"""Shares of the budget that the saved values of a chain may take, tried in turn."""
LEVELS = 256
"""Steps that a target is divided into by the dynamic program."""
MOST_CHOSEN = 8
"""Saved values of a block, the largest first, that the front decides on; the others stay."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A point of a block's front: the values given up, the bytes kept, the cost of bringing the others
    back.
    """

    given_up: tuple[int, ...]
    kept_bytes: int
    cost: float


def chain(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan over the targets; `PlanInfeasible` if none fits."""
    began = time.monotonic()
    tables = Tables(problem)
    planner = ChainPlanner(tables)
    found = met_or_refused(problem, memory_bytes, planner.attempt)
    return finished(problem, memory_bytes, found, "chain", began)


class ChainPlanner:
    """The fronts of a problem's chains, made once; `attempt` plans a budget."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._chains = chains(tables.problem)
        known: dict[tuple[object, ...], list[tuple[tuple[int, ...], float]]] = {}
        self._fronts = [
            [front(tables.problem, block, known) for block in each.blocks] for each in self._chains
        ]

    def attempt(self, memory_bytes: int) -> Schedule | None:
        """The cheapest of the one-pass plan and the plans that the targets steer; None if none fits."""
        problem = self._tables.problem
        plain = best_pass(self._tables, memory_bytes)
        if not self._chains:
            return None if plain is None else plain[0]
        base = Pass(eager(problem)) if plain is None else plain[1]
        best = None if plain is None else plain[0]
        for leaving in self._leavings(memory_bytes):
            for pinned in dict.fromkeys((base.pinned, frozenset[int]())):
                steered = Pass(base.order, pinned, leaving)
                found = run_pass(self._tables, memory_bytes, steered)
                if found is not None and (best is None or found.cost < best.cost):
                    best = found
        return best

    def _leavings(self, memory_bytes: int) -> Iterator[dict[int, list[int]]]:
        """What to give up after which node, for each target; the same choices only once."""
        tried: set[tuple[int, ...]] = set()
        room_bytes = memory_bytes - self._tables.problem.fixed_bytes
        for target in TARGETS:
            leaving: dict[int, list[int]] = {}
            for each, fronts in zip(self._chains, self._fronts, strict=True):
                for block, choice in choose(self._tables.problem, each, fronts, int(target * room_bytes)):
                    leaving.setdefault(block.last, []).extend(choice.given_up)
            key = tuple(value for values in leaving.values() for value in values)
            if key and key not in tried:
                tried.add(key)
                yield leaving


def front(
    problem: Problem, block: Block, known: dict[tuple[object, ...], list[tuple[tuple[int, ...], float]]]
) -> list[Choice]:
    """The choices of a block that no other choice beats in both bytes and cost; the dearest first.

    Every subset of the (largest) saved values is priced. Blocks of the same shape share their prices in
    ``known``.
    """
    saved = sorted(block.saved, key=lambda value: (-problem.nodes[value].size_bytes, value))
    chosen = saved[:MOST_CHOSEN]
    key = _shape(problem, block, chosen)
    if key not in known:
        known[key] = [
            (picked, _price(problem, block, [chosen[index] for index in picked]))
            for picked in _subsets(len(chosen))
        ]
    all_bytes = sum(problem.nodes[value].size_bytes for value in saved)
    choices = [
        Choice(
            tuple(chosen[index] for index in picked),
            all_bytes - sum(problem.nodes[chosen[index]].size_bytes for index in picked),
            cost,
        )
        for picked, cost in known[key]
    ]
    return _undominated(choices)


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    for mask in range(1 << count):
        yield tuple(index for index in range(count) if mask >> index & 1)


def _undominated(choices: list[Choice]) -> list[Choice]:
    choices.sort(key=lambda choice: (choice.kept_bytes, choice.cost, choice.given_up))
    kept: list[Choice] = []
    for choice in choices:
        if not kept or choice.cost < kept[-1].cost:
            kept.append(choice)
    return kept


def _shape(problem: Problem, block: Block, chosen: list[int]) -> tuple[object, ...]:
    """What the prices of a block depend on, with ids counted from the block's first node."""
    base = {value: index for index, value in enumerate(block.nodes)}
    rows = [
        (
            problem.nodes[value].cost,
            problem.nodes[value].size_bytes,
            problem.pageable(value),
            value in problem.once,
            tuple(base.get(operand, -1) for operand in problem.nodes[value].operands),
        )
        for value in block.nodes
    ]
    return (tuple(rows), tuple(base[value] for value in chosen))


def _price(problem: Problem, block: Block, given_up: list[int]) -> float:
    """What bringing these values back costs, from the values that stay and what is outside the block.

    From the last to the first each is paged if that is cheaper than its own node and what that still lacks.
    """
    missing = set(given_up)
    inside = set(block.nodes)
    held = set(block.saved) - missing
    total = 0.0
    for value in reversed(block.nodes):
        if value not in missing:
            continue
        node = problem.nodes[value]
        lacking = [
            operand
            for operand in node.operands
            if operand in inside and operand not in held and operand not in missing
        ]
        computed = node.cost + sum(problem.nodes[operand].cost for operand in lacking)
        paged = _paged(problem, value)
        if value in problem.once or node.overwrites is not None or paged < computed:
            total += paged
        else:
            total += node.cost
            missing.update(lacking)
    return total


def _paged(problem: Problem, value: int) -> float:
    if problem.paging is None or not problem.pageable(value):
        return float("inf")
    size_bytes = problem.nodes[value].size_bytes
    return problem.paging.page_in_cost(size_bytes) + problem.paging.page_out_cost(size_bytes)


def choose(
    problem: Problem, each: Chain, fronts: list[list[Choice]], target_bytes: int
) -> list[tuple[Block, Choice]]:
    """The cheapest choice of every block such that no block lacks the room for all that it saved.

    ``least[m]``: the least cost of the blocks so far with at most ``m`` levels kept; a block may be reached
    on the way down only if what the blocks below keep, and all that it saves itself, stay within the target.
    Where that cannot be, blocks give up what they can.
    """
    level_bytes = max(1, target_bytes // LEVELS)
    least = np.zeros(LEVELS + 1)
    picks: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for block, choices in zip(each.blocks, fronts, strict=True):
        whole = sum(problem.nodes[value].size_bytes for value in block.saved)
        usable = (target_bytes - whole) // level_bytes
        before = least.copy()
        before[max(0, usable + 1) :] = np.inf
        if not np.isfinite(before).any():
            before = least
        best = np.full(LEVELS + 1, np.inf)
        pick = np.zeros(LEVELS + 1, dtype=np.int64)
        for index, choice in enumerate(choices):
            shift = -(-choice.kept_bytes // level_bytes)
            if shift > LEVELS:
                continue
            cost = np.full(LEVELS + 1, np.inf)
            cost[shift:] = before[: LEVELS + 1 - shift] + choice.cost
            better = cost < best
            best[better], pick[better] = cost[better], index
        if not np.isfinite(best).any():
            best, pick = before, np.zeros(LEVELS + 1, dtype=np.int64)
        picks.append(pick)
        least = best
    return _traced(each, fronts, picks, least, level_bytes)


def _traced(
    each: Chain,
    fronts: list[list[Choice]],
    picks: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
    least: np.ndarray[tuple[int], np.dtype[np.float64]],
    level_bytes: int,
) -> list[tuple[Block, Choice]]:
    level = int(np.argmin(least))
    found: list[tuple[Block, Choice]] = []
    for block, choices, pick in zip(reversed(each.blocks), reversed(fronts), reversed(picks), strict=True):
        choice = choices[int(pick[level])]
        found.append((block, choice))
        level = max(0, level - -(-choice.kept_bytes // level_bytes))
    return found
