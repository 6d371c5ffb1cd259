"""Eviction with a known future: walk the given order and, when memory runs out, give up what is cheapest to
miss.

A value's price is what it costs to have it again (a page-in, or its node and whatever of its operands is
missing) divided by its bytes and by how long it would not be needed. That is the heuristic of dynamic tensor
rematerialization (Kirisame et al., ICLR 2021) with next uses instead of last uses, as Belady's rule wants
when the
future is known. Weights that may be paged either stay for the whole window or come and go; several shares of
staying weights are tried and the cheapest plan wins.

Deviation from the paper: the price of a value counts its missing operands recursively and exactly, and
page-ins compete with recomputation.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field

from daypack.planners.finish import finished, met_or_refused
from daypack.planners.keep_all import keep_all
from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete, given_order

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the pageable bytes that stay in memory, tried in turn."""
MOST_LOADS_PER_NODE = 4
"""A walk that loads more than this comes to no good plan, and may not end in reasonable time."""
DEPTH_LIMIT = 200
"""Nodes that one missing value may bring back with it."""


class _DoesNotFit(Exception):
    """The walk ran out of values that it may give up."""


def evict(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan over the shares; keep-all where that fits. `PlanInfeasible` if no share fits."""
    began = time.monotonic()
    whole = complete(problem, given_order(problem))
    if whole.peak_bytes <= memory_bytes:
        return keep_all(problem, memory_bytes, options)
    best = met_or_refused(problem, memory_bytes, lambda budget: best_eviction(problem, budget))
    return finished(problem, memory_bytes, best, "evict", began)


def best_eviction(problem: Problem, memory_bytes: int) -> Schedule | None:
    """The cheapest schedule over the shares; None if no share fits."""
    best: Schedule | None = None
    for share in SHARES:
        found = _attempt(problem, memory_bytes, share)
        if found is not None and (best is None or found.cost < best.cost):
            best = found
    return best


def _attempt(problem: Problem, memory_bytes: int, share: float) -> Schedule | None:
    """A plan with this share of pageable bytes staying, or None."""
    try:
        loads = _Walk(problem, memory_bytes, _staying(problem, share)).run()
    except _DoesNotFit:
        return None
    schedule = complete(problem, loads)
    return schedule if schedule.peak_bytes <= memory_bytes else None


def _staying(problem: Problem, share: float) -> frozenset[int]:
    """Pageable sources that stay, the most used for their size first."""
    paging = problem.paging
    if paging is None:
        return frozenset()
    sources = [v for v in paging.pageable if problem.is_source(v)]
    sources.sort(key=lambda v: (-len(problem.users[v]), problem.nodes[v].size_bytes, v))
    limit = share * sum(problem.nodes[v].size_bytes for v in sources)
    taken, used = set[int](), 0
    for value in sources:
        if used + problem.nodes[value].size_bytes <= limit:
            taken.add(value)
            used += problem.nodes[value].size_bytes
    return frozenset(taken)


@dataclass(slots=True)
class _Walk:
    """The walk's memory: what is resident, what may not leave now, what is no more, the loads so far."""

    problem: Problem
    memory_bytes: int
    staying: frozenset[int]
    resident: set[int] = field(default_factory=set[int])
    locks: dict[int, int] = field(default_factory=dict[int, int])
    pinned: set[int] = field(default_factory=set[int])
    overwritten: set[int] = field(default_factory=set[int])
    loads: list[Instruction] = field(default_factory=list[Instruction])
    live_bytes: int = 0
    position: int = -1

    def run(self) -> list[Instruction]:
        """Loads of the whole window. Raises `_DoesNotFit`."""
        problem = self.problem
        self.live_bytes = problem.fixed_bytes
        self.pinned.update(problem.once)
        for node in problem.nodes:
            if node.overwrites is not None:
                self.pinned.update((node.id, node.overwrites))
        for node in problem.nodes:
            used = bool(problem.users[node.id]) or node.id in problem.keep
            if problem.is_source(node.id) and used and not self._comes_and_goes(node.id):
                self._enter(node.id)
                self.pinned.add(node.id)
        if self.live_bytes > self.memory_bytes:
            raise _DoesNotFit
        for node in problem.nodes:
            if not problem.is_source(node.id):
                self.position = node.id
                self._compute(node.id, 0)
                self._drop_if_dead(node.id)
        return self.loads

    def _comes_and_goes(self, value: int) -> bool:
        return self.problem.pageable(value) and value not in self.staying

    def _enter(self, value: int) -> None:
        self.resident.add(value)
        self.live_bytes += self.problem.nodes[value].size_bytes

    def _leave(self, value: int) -> None:
        self.resident.discard(value)
        self.live_bytes -= self.problem.nodes[value].size_bytes

    def _compute(self, value: int, depth: int) -> None:
        """Have the operands, make room, compute."""
        if depth > DEPTH_LIMIT or len(self.loads) > MOST_LOADS_PER_NODE * len(self.problem.nodes):
            raise _DoesNotFit
        node = self.problem.nodes[value]
        for operand in node.operands:
            self._have(operand, depth)
            self.locks[operand] = self.locks.get(operand, 0) + 1
        self._make_room(node.new_bytes + node.workspace_bytes)
        self.loads.append(Instruction(Op.COMPUTE, value))
        if node.overwrites is not None:
            self._leave(node.overwrites)
            self.overwritten.add(node.overwrites)
        self._enter(value)
        for operand in node.operands:
            self.locks[operand] -= 1
        for operand in node.operands:
            self._drop_if_dead(operand)

    def _have(self, value: int, depth: int) -> None:
        if value in self.resident:
            return
        if value in self.overwritten:
            raise _DoesNotFit  # what reads the old content cannot be computed again
        if self.problem.is_source(value):
            self._make_room(self.problem.nodes[value].size_bytes)
            self.loads.append(Instruction(Op.PAGE_IN, value))
            self._enter(value)
        else:
            self._compute(value, depth + 1)

    def _next_use(self, value: int) -> int | None:
        """The next node of the given order that reads the value; keeping counts as a use at the end."""
        users = self.problem.users[value]
        index = bisect_right(users, self.position)
        if index < len(users):
            return users[index]
        return len(self.problem.nodes) if value in self.problem.keep else None

    def _drop_if_dead(self, value: int) -> None:
        busy = self.locks.get(value, 0) > 0 or value in self.pinned
        if value in self.resident and not busy and self._next_use(value) is None:
            self._leave(value)

    def _make_room(self, size_bytes: int) -> None:
        while self.live_bytes + size_bytes > self.memory_bytes:
            victim = self._cheapest()
            if victim is None:
                raise _DoesNotFit
            self._leave(victim)

    def _cheapest(self) -> int | None:
        best, best_price = None, float("inf")
        for value in self.resident:
            node = self.problem.nodes[value]
            if node.size_bytes == 0 or value in self.pinned or self.locks.get(value, 0) > 0:
                continue
            if value in self.problem.keep and not self.problem.is_source(value):
                continue
            following = self._next_use(value)
            if following is None:
                return value
            distance = following - self.position + 1
            price = self._price(value) / (node.size_bytes * distance)
            if price < best_price or (price == best_price and best is not None and value < best):
                best, best_price = value, price
        return best

    def _price(self, value: int) -> float:
        """What having the value again costs, missing operands included."""
        if self.problem.is_source(value):
            paging = self.problem.paging
            return paging.page_in_cost(self.problem.nodes[value].size_bytes) if paging else float("inf")
        total, pending, seen = 0.0, [value], {value}
        while pending and len(seen) < DEPTH_LIMIT:
            node = self.problem.nodes[pending.pop()]
            if self.problem.is_source(node.id):
                total += self._price(node.id)
                continue
            total += node.cost
            for operand in node.operands:
                if operand not in self.resident and operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
        return total
