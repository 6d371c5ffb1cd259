"""The least cost of a tiny problem within a budget, by Dijkstra over every state that a plan can be in.

Written from the rules of `Problem` and `Paging` alone; it shares no code with planners or the validator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from daypack.planners.problem import Problem


class State(NamedTuple):
    """What is in memory, what flash holds a current copy of, what was computed."""

    memory: frozenset[int]
    flash: frozenset[int]
    done: frozenset[int]


def least_cost(problem: Problem, memory_bytes: int) -> float:
    """The cost of the cheapest plan; infinity if none fits."""
    return min((_from(problem, memory_bytes, begun) for begun in _begins(problem)), default=math.inf)


def _begins(problem: Problem) -> Iterator[frozenset[int]]:
    """Every choice of the sources that begin on flash."""
    pageable = [n.id for n in problem.nodes if problem.is_source(n.id) and problem.pageable(n.id)]
    for count in range(len(pageable) + 1):
        yield from map(frozenset, itertools.combinations(pageable, count))


def _from(problem: Problem, memory_bytes: int, begun: frozenset[int]) -> float:
    needed = {o for node in problem.nodes for o in node.operands} | problem.keep
    sources = frozenset(node.id for node in problem.nodes if problem.is_source(node.id))
    flash = frozenset(value for value in sources if problem.pageable(value))
    first = State((sources & needed) - begun, flash, frozenset())
    if _bytes(problem, first.memory) > memory_bytes:
        return math.inf
    best = {first: 0.0}
    heap = [(0.0, 0, first)]
    number = itertools.count(1)
    while heap:
        cost, _, state = heappop(heap)
        if cost > best[state]:
            continue
        if _ended(problem, state, begun):
            return cost
        for price, after in _moves(problem, memory_bytes, state):
            if cost + price < best.get(after, math.inf):
                best[after] = cost + price
                heappush(heap, (cost + price, next(number), after))
    return math.inf


def _bytes(problem: Problem, memory: frozenset[int]) -> int:
    return problem.fixed_bytes + sum(problem.nodes[value].size_bytes for value in memory)


def _moves(problem: Problem, memory_bytes: int, state: State) -> Iterator[tuple[float, State]]:
    paging = problem.paging
    for value in state.memory:
        yield 0.0, state._replace(memory=state.memory - {value})
        if paging is not None and problem.pageable(value):
            price = 0.0 if value in state.flash else paging.page_out_cost(problem.nodes[value].size_bytes)
            yield price, state._replace(memory=state.memory - {value}, flash=state.flash | {value})
    for value in state.flash - state.memory if paging is not None else ():
        memory = state.memory | {value}
        if _bytes(problem, memory) <= memory_bytes and paging is not None:
            yield paging.page_in_cost(problem.nodes[value].size_bytes), state._replace(memory=memory)
    for node in problem.nodes:
        again = node.id in state.done and node.id in problem.once
        ready = state.memory.issuperset(node.operands)
        if problem.is_source(node.id) or node.id in state.memory or again or not ready:
            continue
        gone = frozenset() if node.overwrites is None else frozenset({node.overwrites})
        memory = (state.memory - gone) | {node.id}
        if _bytes(problem, memory) + node.workspace_bytes > memory_bytes:
            continue
        dirty = frozenset() if paging is None else paging.dirty
        changed = {o for o in node.operands if o in dirty and problem.is_source(o)}
        flash = state.flash - gone - changed - {node.id}
        yield node.cost, State(memory, flash, state.done | {node.id})


def _ended(problem: Problem, state: State, begun: frozenset[int]) -> bool:
    if any(not problem.is_source(node.id) and node.id not in state.done for node in problem.nodes):
        return False
    for value in problem.keep:
        root = value
        while (below := problem.nodes[root].overwrites) is not None:
            root = below
        places = [state.memory, state.flash]
        if problem.is_source(root):
            places = [state.flash] if root in begun else [state.memory]
        if not any(value in place for place in places):
            return False
    return True
