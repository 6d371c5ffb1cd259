"""Small problems exactly, larger ones made better: an optimal plan, or one with a bound on every plan.

In the order in which the stages pay off, each with the best plan so far and ended by a proof:

1. a short exact search (`backward`), where nothing is paged: it solves most problems of 100 nodes at once;
2. the annealing search, then the exact search in haste (the end first, the cost second), annealed again;
3. a long exact search with all the time that is left, for the optimum or a bound;
4. CP-SAT (`cpsat_model`) for small problems with paging, which the exact search does not know.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from daypack.planners import backward
from daypack.planners.anneal import ENOUGH_S_A_NODE, annealed, loads_of, search
from daypack.planners.anneal_state import Tables
from daypack.planners.bounds import cost_bound, memory_bound
from daypack.planners.crossing import crossing
from daypack.planners.finish import CLOSE, finished
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem, ProblemError
from daypack.planners.refusal import met_or_explained
from daypack.planners.schedule import Schedule, complete

MOST_NODES = 150
"""Of the CP-SAT model."""
LEAST_S = 2.0
"""With less time than this left the solver is not even imported."""


def cpsat(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest plan that the stages find; `PlanInfeasible` if they find none."""
    return polished(problem, memory_bytes, options, "cpsat")


def polished(problem: Problem, memory_bytes: int, options: PlanOptions, planner: str) -> Plan:
    """As `cpsat`, under the name of the planner that asks."""
    began = time.monotonic()
    if memory_bound(problem).bound_bytes > memory_bytes:
        found = met_or_explained(problem, memory_bytes, 0, None)
        return finished(problem, memory_bytes, found, planner, began)
    stages = _Stages(problem, memory_bytes, options, began + options.time_limit_s)
    found = stages.run()
    return finished(problem, memory_bytes, found, planner, began, stages.bound)


@dataclass(slots=True)
class _Stages:
    """The best plan so far and what is proven: of the cost, of the bytes (and the node that forces them)."""

    problem: Problem
    memory_bytes: int
    options: PlanOptions
    until: float
    found: Schedule | None = None
    bound: float = 0.0
    bound_bytes: int = 0
    stuck: int | None = None

    def run(self) -> Schedule:
        """Each stage in turn until the plan is proven optimal or the time is over."""
        self.bound = cost_bound(self.problem, self.memory_bytes)
        self._cross()
        exact = backward.applies(self.problem)
        if exact and not self._settled():
            self._exact(backward.ROUNDS[:1])
        if exact and self.found is None and not self._settled():
            self._take(backward.refuted(self.problem, self.memory_bytes, self.until))
        if not self._settled():
            self._anneal()
        if exact and not self._settled():
            self._hurry()
        if exact and not self._settled():
            self._exact(backward.ROUNDS[1:])
        if not exact and not self._settled() and len(self.problem.nodes) <= MOST_NODES:
            self._solve()
        if self.found is not None:
            return self.found
        return met_or_explained(self.problem, self.memory_bytes, self.bound_bytes, self.stuck)

    def _settled(self) -> bool:
        proven = self.found is not None and self.found.cost <= self.bound * (1 + CLOSE)
        return proven or self.bound_bytes > self.memory_bytes

    def _offer(self, schedule: Schedule | None) -> None:
        if schedule is None or schedule.peak_bytes > self.memory_bytes:
            return
        if self.found is None or schedule.cost < self.found.cost:
            self.found = schedule

    def _forced(self, bound_bytes: int, node: int | None) -> None:
        if bound_bytes > self.bound_bytes:
            self.bound_bytes, self.stuck = bound_bytes, node

    def _take(self, outcome: backward.Outcome) -> None:
        self.bound = max(self.bound, outcome.bound_cost)
        if outcome.infeasible:
            self._forced(self.memory_bytes + 1, outcome.stuck)
        if outcome.loads is not None:
            self._offer(complete(self.problem, outcome.loads))

    def _cross(self) -> None:
        """The bounds of what crosses a node: the only ones of large problems and of those with paging."""
        found = crossing(self.problem, self.memory_bytes)
        self.bound += found.extra_cost
        self._forced(found.bound_bytes, found.node)

    def _exact(self, rounds: tuple[tuple[int, int], ...]) -> None:
        self._take(backward.optimized(self.problem, self.memory_bytes, self.found, self.until, rounds))

    def _anneal(self) -> None:
        """As `anneal` by itself."""
        self._offer(annealed(self.problem, self.memory_bytes, self.options))

    def _hurry(self) -> None:
        """The exact search in haste: any plan where there is none, then cheaper ones, each annealed again."""
        if self.found is None:
            self._take(backward.reached(self.problem, self.memory_bytes, self.until))
            self._anneal_again()
        if self.found is None:
            return
        before = self.found
        self._offer(backward.improved(self.problem, self.memory_bytes, before, self.until))
        if self.found is not before:
            self._anneal_again()

    def _anneal_again(self) -> None:
        left = self.until - time.monotonic()
        if self.found is None or left <= 0:
            return
        tables, seconds = Tables(self.problem), min(left, ENOUGH_S_A_NODE * len(self.problem.nodes))
        loads, seed = loads_of(self.found), self.options.seed
        self._offer(search(tables, self.memory_bytes, loads, seconds, self.until, seed))

    def _solve(self) -> None:
        """The CP-SAT model with the time that is left."""
        left = self.until - time.monotonic()
        if left < LEAST_S:
            return
        from daypack.planners.cpsat_model import solve  # brings the solver along: most of a second

        options = self.options
        outcome = solve(self.problem, self.memory_bytes, self.found, left, options.threads, options.seed)
        try:
            self._take(outcome)
        except ProblemError:
            return  # the model relaxes what flash holds: not every solution is a plan
