"""What crosses a node in every plan: a lower bound on memory and on cost, in any order, with paging.

Let t be the first run of a node w. Some values exist before t in every plan and are wanted after t:

- a computed value x that w is made from (however far back), if something made from w reads it, or it is kept;
- a source that is read at all, if something made from w reads it, or it is kept (or what took its place is).

At t each of them is in memory, or is brought back (or was brought in) at a price: a second computation, a
page-in, for a kept one a page-out. The prices of different values are for different instructions, so they
add up. What is in memory at t fits beside w's operands, output and workspace. So the cheapest choice of
what is not in memory, taken fractionally (a knapsack), bounds the cost above "every node once"; what
cannot leave bounds the memory. A value that overwrites another is not counted beside it.

The window's begin is such a moment too: a source that is not in memory then is read from flash at least
once, and is written at the end if it is kept and was changed, for it must end where it began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.planners.bounds import may_leave
from daypack.planners.problem import Problem
from daypack.planners.schedule import heirs, origin

MOST_NODES = 4000
"""Above this the tables of who is made from whom become too large."""
TIGHTEST = 48
"""Nodes whose knapsack is solved: those that the most bytes cross for the room that there is."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Crossing:
    """No plan needs less memory, or costs less above every node once; ``node`` is the tightest one."""

    bound_bytes: int
    extra_cost: float
    node: int


def crossing(problem: Problem, memory_bytes: int) -> Crossing:
    """The bounds of the tightest nodes; zeros for problems that are too large."""
    computes = [node.id for node in problem.nodes if not problem.is_source(node.id)]
    if not computes or len(problem.nodes) > MOST_NODES:
        return Crossing(0, 0.0, -1)
    crosses = _crosses(problem)
    sizes = np.array([node.size_bytes for node in problem.nodes], dtype=np.float64)
    prices = np.array([_price(problem, node.id) for node in problem.nodes])
    needs = np.array([_need(problem, value) for value in computes], dtype=np.float64)
    stuck = np.isinf(prices)
    worst = int(np.argmax(needs + (sizes * stuck) @ crosses[:, computes]))
    held = np.flatnonzero(crosses[:, computes[worst]] & stuck)
    least_bytes = _need(problem, computes[worst]) + sum(
        problem.nodes[int(value)].size_bytes for value in held
    )
    wanted = needs + sizes @ crosses[:, computes] - memory_bytes
    extra = _at_begin(problem, memory_bytes)
    for index in np.argsort(-wanted)[:TIGHTEST]:
        if wanted[index] > 0:
            members = crosses[:, computes[index]] & ~stuck & (sizes > 0)
            extra = max(extra, _knapsack(sizes[members], prices[members], float(wanted[index])))
    return Crossing(least_bytes, extra, computes[worst])


def _at_begin(problem: Problem, memory_bytes: int) -> float:
    """The knapsack of the sources at the window's begin."""
    sources = [
        n.id for n in problem.nodes if problem.is_source(n.id) and n.size_bytes and problem.users[n.id]
    ]
    prices = np.array([_begin_price(problem, value) for value in sources])
    sizes = np.array([problem.nodes[value].size_bytes for value in sources], dtype=np.float64)
    wanted = problem.fixed_bytes + float(np.sum(sizes)) - memory_bytes
    free = np.isfinite(prices)
    return _knapsack(sizes[free], prices[free], wanted) if wanted > 0 else 0.0


def _begin_price(problem: Problem, value: int) -> float:
    """The least that a source costs which begins on flash; infinity if it cannot."""
    node, paging = problem.nodes[value], problem.paging
    *_, last = heirs(problem, value)
    if paging is None or not problem.pageable(value) or (last in problem.keep and not problem.pageable(last)):
        return math.inf
    changed = last != value or value in paging.dirty
    written = paging.page_out_cost(node.size_bytes) if last in problem.keep and changed else 0.0
    return paging.page_in_cost(node.size_bytes) + written


def _knapsack(sizes: Array, prices: Array, wanted_bytes: float) -> float:
    """The least price of letting so many bytes go, parts of values allowed."""
    order = np.argsort(prices / sizes)
    taken = np.minimum(sizes[order], np.maximum(0.0, wanted_bytes - (np.cumsum(sizes[order]) - sizes[order])))
    return float(np.sum(taken / sizes[order] * prices[order]))


def _need(problem: Problem, value: int) -> int:
    """Bytes while a node runs: its operands, output and workspace, and what is always there."""
    node = problem.nodes[value]
    operands = sum(problem.nodes[operand].size_bytes for operand in node.operands)
    return problem.fixed_bytes + operands + node.new_bytes + node.workspace_bytes


def _crosses(problem: Problem) -> Array:
    """``[x, w]``: x exists before w's first run and is wanted after it, and is not one of w's own."""
    nodes = problem.nodes
    below = np.zeros((len(nodes), len(nodes)), dtype=bool)  # [w, x]: w is made from x
    for node in nodes:
        for operand in node.operands:
            below[node.id] |= below[operand]
            below[node.id, operand] = True
    crosses = np.zeros_like(below)
    for node in nodes:
        if node.overwrites is None:
            crosses[node.id] = _wanted_after(problem, node.id, below)
            if not problem.is_source(node.id):
                crosses[node.id] &= below[:, node.id]
    for node in nodes:
        for value in (node.id, *node.operands):
            crosses[origin(problem, value), node.id] = False
    return crosses


def _wanted_after(problem: Problem, value: int, below: Array) -> Array:
    """By node: whether it, or for a source what took its place, is wanted after the node's first run."""
    source = problem.is_source(value)
    wanted = np.zeros(len(problem.nodes), dtype=bool)
    read = bool(problem.users[value])
    for holder in heirs(problem, value) if source else (value,):
        for user in problem.users[holder]:
            wanted |= below[user]
        if holder in problem.keep and (read or not source):
            wanted[:] = True
    return wanted


def _price(problem: Problem, value: int) -> float:
    """The least that it costs if the value is not in memory at a moment that it crosses; infinity if it
    must be.
    """
    node, paging = problem.nodes[value], problem.paging
    prices = [math.inf]
    if not problem.is_source(value):
        if value not in problem.once:
            prices.append(node.cost)
        if paging is not None and problem.pageable(value):
            written = paging.page_out_cost(node.size_bytes)
            kept = value in problem.keep
            prices.append(written if kept else written + paging.page_in_cost(node.size_bytes))
    elif paging is not None and may_leave(problem, value):
        prices.append(paging.page_in_cost(node.size_bytes))
    return min(prices)
