"""Exact search for small problems without paging: optimal plans, bounds on the cost, budgets refuted.

A plan is read from its end (``native/backward.c``). The state between two instructions is the set of values
still to be used. Undoing the computation of ``y`` replaces ``y`` in the set by its operands, and needs room
for the set, ``y``, its operands and its workspace at once. Laws, with ``cost(below S)`` the cost of every
node once that S is made from, S included:

1. *The state is the set.* A plan's cost before a moment is at least ``cost(below S)``, so what is counted is
   the extra cost over that. Undoing ``y`` adds ``cost(y)`` to it if something in the set is made from ``y``
   (then ``y`` must be computed once more, earlier), nothing otherwise.
2. *Settling.* If nothing in S is made from ``y`` and its operands that are not in S are together not larger
   than ``y``, undoing ``y`` now is as good as at any time: let a plan do it later. Move it here, and leave
   out later on what undoes a value that is no longer in the set. At every moment between, the set has lost
   ``y`` and gained at most those operands; nothing made from ``y`` is undone any more. (Not applied where
   it adds a value that another node overwrites: the order would then matter.)
3. *Parts bound the whole.* For T within S, whatever completes S completes T when what T does not need is
   left out; each node then runs at most as often, and those below T at least once. So the least extra cost
   of T is a lower bound of S's: that of single values and of pairs steers the search (A*). A value that
   cannot be had by itself proves that no plan fits.

Best-first in extra cost: the first end is optimal, and the cheapest state still open bounds every plan.
Deviation from the house rule that exact models go to OR-tools: docs/adr/0009.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from daypack.planners.backward_state import Backward, Verdict
from daypack.planners.bounds import cost_bound
from daypack.planners.finish import CLOSE
from daypack.planners.plan import Instruction
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete

MOST_NODES = 300
"""Above this the search does not get far."""
ROUNDS = ((0, 100_000), (2_000, 400_000), (20_000, 4_000_000), (100_000, 20_000_000))
"""States for each pair of values and for the whole, round by round: 0.1, 3, 30, 200 s; 70 bytes a state."""
PAIR_SHARE = 0.5
"""Of the time left that a round's pairs may take."""
STUCK_STATES, REACH_STATES = 10_000, 1_000_000
HASTES = (1000.0, 30.0, 10.0, 3.0, 1.0, 0.5, 0.25, 0.12)
HASTE_PAIR_STATES, HASTE_STATES = 1_000, 400_000
CHUNK = 20_000
"""States between two looks at the clock."""
PAIR_NODES = 160
"""Above this the pairs are too many."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The loads of a plan if one was found; no plan costs less than ``bound_cost``; whether none fits.

    ``stuck`` is a node that nothing can compute within the budget, where that is the proof.
    """

    loads: tuple[Instruction, ...] | None
    bound_cost: float
    infeasible: bool
    stuck: int | None = None


def applies(problem: Problem) -> bool:
    """Whether the search knows all that the problem has: nothing pageable, not too many nodes."""
    paged = problem.paging is not None and problem.paging.pageable
    computes = any(not problem.is_source(node.id) for node in problem.nodes)
    return computes and not paged and len(problem.nodes) <= MOST_NODES


def whole(problem: Problem) -> list[int]:
    """Where a plan ends: what is kept, and every node that nothing reads."""
    return [
        node.id
        for node in problem.nodes
        if node.id in problem.keep or (not problem.users[node.id] and not problem.is_source(node.id))
    ]


def refuted(
    problem: Problem, memory_bytes: int, until: float = math.inf, states: int = STUCK_STATES
) -> Outcome:
    """The proof that no plan fits, if one node alone is the reason and so many states show it."""
    stuck = _stuck(Backward(problem, memory_bytes, states), states, until)
    return Outcome(None, cost_bound(problem, memory_bytes), stuck is not None, stuck)


def reached(
    problem: Problem, memory_bytes: int, until: float = math.inf, states: int = REACH_STATES
) -> Outcome:
    """Any plan within the budget, whatever it costs, or the proof that there is none."""
    outcome = refuted(problem, memory_bytes, until, max(1, states // 20))
    if outcome.infeasible:
        return outcome
    search = Backward(problem, memory_bytes, states)
    search.begin(whole(problem), haste=math.inf)
    verdict = _run(search, until)
    loads = tuple(search.loads()) if verdict is Verdict.FOUND else None
    return Outcome(loads, outcome.bound_cost, verdict is Verdict.EXHAUSTED)


def _stuck(search: Backward, states: int, until: float) -> int | None:
    """The first node that cannot be computed by itself."""
    for node in search.problem.nodes:
        if search.problem.is_source(node.id):
            continue
        search.begin({node.id, *_resident(search.problem)}, most_states=states, haste=math.inf)
        if _run(search, until) is Verdict.EXHAUSTED:
            return node.id
        if time.monotonic() >= until:
            break
    return None


def _resident(problem: Problem) -> list[int]:
    """Kept sources: in every set of every search."""
    return [value for value in problem.keep if problem.is_source(value)]


def optimized(
    problem: Problem,
    memory_bytes: int,
    best: Schedule | None,
    until: float = math.inf,
    rounds: tuple[tuple[int, int], ...] = ROUNDS,
) -> Outcome:
    """The optimal plan if it is cheaper than ``best`` and found in time; a bound in any case."""
    base = cost_bound(problem, memory_bytes)
    limit = math.inf if best is None else max(0.0, best.cost * (1 - CLOSE) - base)
    bound, pairs = 0.0, None
    for pair_states, states in rounds:
        search = Backward(problem, memory_bytes, states)
        if pair_states:
            pairs = pairs or Pairs(problem)
            now = time.monotonic()
            pairs.improve(search, pair_states, limit, now + PAIR_SHARE * (until - now))
        search.begin(whole(problem), limit)
        verdict = _run(search, until)
        if verdict is Verdict.EXHAUSTED:
            return Outcome(None, base if math.isinf(limit) else base + limit, math.isinf(limit))
        if verdict is Verdict.FOUND:
            return Outcome(tuple(search.loads()), base + search.extra, False)
        bound = max(bound, search.bound)
        if time.monotonic() >= until:
            break
    return Outcome(None, base + bound, False)


def improved(
    problem: Problem, memory_bytes: int, best: Schedule, until: float = math.inf, states: int = HASTE_STATES
) -> Schedule:
    """A cheaper plan by searches that expect ever less extra cost; `best` if there is none."""
    base = cost_bound(problem, memory_bytes)
    search = Backward(problem, memory_bytes, states)
    now = time.monotonic()
    Pairs(problem).improve(search, HASTE_PAIR_STATES, best.cost - base, now + PAIR_SHARE * (until - now))
    for haste in HASTES:
        if time.monotonic() >= until:
            break
        limit = best.cost * (1 - CLOSE) - base
        search.begin(whole(problem), limit, haste=haste)
        if _run(search, until) is Verdict.FOUND:
            best = complete(problem, search.loads())
    return best


def _run(search: Backward, until: float) -> Verdict:
    verdict = search.run(CHUNK)
    while verdict is Verdict.AGAIN and time.monotonic() < until:
        verdict = search.run(CHUNK)
    return verdict


class Pairs:
    """What two values in memory at one moment cost extra at least, improved from round to round."""

    def __init__(self, problem: Problem) -> None:
        count = len(problem.nodes)
        self._extra = [[0.0] * count for _ in range(count)]
        self._open = [
            (low, high)
            for high in range(count)
            for low in (high, *range(high))
            if count <= PAIR_NODES or low == high
            if not problem.is_source(low) and not problem.is_source(high)
        ]
        self._resident = _resident(problem)

    def improve(self, search: Backward, states: int, limit: float, until: float) -> None:
        """Search for each pair that is not exact yet, with what is known of the others; into ``search``."""
        for low, row in enumerate(self._extra):
            search.pair[low] = row
        still_open: list[tuple[int, int]] = []
        for low, high in self._open:
            known = max(search.pair[low, low], search.pair[high, high], search.pair[low, high])
            if known >= limit or time.monotonic() >= until:
                still_open.append((low, high))
                continue
            search.begin({low, high, *self._resident}, limit, states)
            verdict = search.run(states)
            if verdict is Verdict.EXHAUSTED:
                extra = limit
            else:
                extra = search.extra if verdict is Verdict.FOUND else search.bound
            if verdict not in (Verdict.EXHAUSTED, Verdict.FOUND):
                still_open.append((low, high))
            search.pair[low, high] = search.pair[high, low] = max(known, extra)
        self._open = still_open
        self._extra = search.pair.tolist()
