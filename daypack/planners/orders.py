"""Orders to begin a search from: the given one, and three that hold less in memory at no cost.

None of them computes anything again or pages; what a paged source occupies is not counted, since it comes and
goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from daypack.planners.problem import Problem


def candidate_orders(problem: Problem) -> Iterator[list[int]]:
    """Different orders of all computes, the given one first; each respects operands and overwrites."""
    seen: set[tuple[int, ...]] = set()
    for make in (given, eager, lazy, frugal):
        order = make(problem)
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield order


def given(problem: Problem) -> list[int]:
    """The listed order."""
    return [node.id for node in problem.nodes if not problem.is_source(node.id)]


def eager(problem: Problem) -> list[int]:
    """The listed order, but what frees at least as much as it makes runs as soon as it can."""
    walk = _Walk(problem)
    for value in given(problem):
        if not walk.done[value]:
            walk.run(value)
            _run_shrinking(walk)
    return walk.order


def _run_shrinking(walk: _Walk) -> None:
    """Run every ready node that does not add to memory, until there is none."""
    fresh = walk.take_ready()
    while fresh:
        value = heappop(fresh)
        if walk.done[value]:
            continue
        if walk.added_bytes(value) <= 0:
            walk.run(value)
            for ready in walk.take_ready():
                heappush(fresh, ready)
        else:
            walk.waiting.add(value)
    _run_waiting(walk)


def _run_waiting(walk: _Walk) -> None:
    """Run what waited and adds nothing any more, by id: one round. Only what changed since is looked at."""
    latest = -1
    while True:
        walk.touched.update(value for value in walk.take_changed() if value in walk.waiting)
        value = min((value for value in walk.touched if value > latest), default=None)
        if value is None:
            return
        latest = value
        walk.touched.discard(value)
        if not walk.done[value] and walk.added_bytes(value) <= 0:
            walk.run(value)
            walk.waiting.discard(value)


def lazy(problem: Problem) -> list[int]:
    """The listed order, but what adds to memory waits until something that does not add asks for it."""
    walk = _Walk(problem)
    order = given(problem)
    for value in order:
        # Asked before its operands ran, this is the most that it will free: all it reads last.
        if not walk.done[value] and walk.added_bytes(value) <= 0:
            _demand(walk, value)
    for value in order:
        if not walk.done[value]:
            _demand(walk, value)
    return walk.order


def _demand(walk: _Walk, wanted: int) -> None:
    """Run what a node needs, deepest first, then the node."""
    stack = [wanted]
    while stack:
        value = stack[-1]
        if walk.done[value]:
            stack.pop()
            continue
        missing = [need for need in walk.before[value] if not walk.done[need]]
        if missing:
            stack.extend(reversed(missing))
        else:
            walk.run(value)
            stack.pop()


def frugal(problem: Problem) -> list[int]:
    """Of the nodes that are ready always the one that adds least; the listed order among equals."""
    walk = _Walk(problem)
    ready: set[int] = set()
    heap: list[tuple[int, int]] = []
    while True:
        fresh = walk.take_ready()
        ready.update(fresh)
        for value in (*fresh, *(value for value in walk.take_changed() if value in ready)):
            heappush(heap, (walk.added_bytes(value), value))
        if not ready:
            return walk.order
        _, value = heappop(heap)
        if value in ready:  # else it ran at a lower price
            ready.discard(value)
            walk.run(value)


class _Walk:
    """An order under way: what ran, what each value still waits for and is still read by."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        nodes = problem.nodes
        self.order: list[int] = []
        self.done = [problem.is_source(node.id) for node in nodes]
        self.waiting: set[int] = set()
        self.touched: set[int] = set()
        self.before = [_before(problem, node.id) for node in nodes]
        self._after: list[list[int]] = [[] for _ in nodes]
        for node in nodes:
            for need in self.before[node.id]:
                self._after[need].append(node.id)
        self._missing = [sum(not self.done[need] for need in needs) for needs in self.before]
        self._readers = [len(users) for users in problem.users]
        self._ready = [node.id for node in nodes if not self.done[node.id] and not self._missing[node.id]]
        self._changed: list[int] = []

    def take_ready(self) -> list[int]:
        """The nodes that became ready since the last call, by id."""
        found, self._ready = sorted(self._ready), []
        return found

    def take_changed(self) -> list[int]:
        """The nodes that may add less than they did at the last call: they are the last to read something."""
        found, self._changed = self._changed, []
        return found

    def run(self, value: int) -> None:
        """Append a node whose operands are there."""
        self.order.append(value)
        self.done[value] = True
        for operand in self._problem.nodes[value].operands:
            self._readers[operand] -= 1
            if self._readers[operand] == 1:
                self._changed += (user for user in self._problem.users[operand] if not self.done[user])
        for user in self._after[value]:
            self._missing[user] -= 1
            if not self._missing[user] and not self.done[user]:
                self._ready.append(user)

    def added_bytes(self, value: int) -> int:
        """What running a node now would leave in memory more than before."""
        problem = self._problem
        node = problem.nodes[value]
        added = node.new_bytes
        for operand in node.operands:
            held = operand in problem.keep or operand == node.overwrites
            paged = problem.is_source(operand) and problem.pageable(operand)
            if self._readers[operand] == 1 and not held and not paged:
                added -= problem.nodes[operand].size_bytes
        if not problem.users[value] and value not in problem.keep:
            added -= node.new_bytes
        return added


def _before(problem: Problem, value: int) -> tuple[int, ...]:
    """What must have run first: operands, and every other reader of what the node overwrites."""
    node = problem.nodes[value]
    if node.overwrites is None:
        return node.operands
    readers = (user for user in problem.users[node.overwrites] if user != value)
    return tuple(dict.fromkeys((*node.operands, *readers)))
