"""Limits besides memory: seconds, joules and written bytes of a window are kept, or the answer is no.

A plan minimizes one weighted sum. Where the objective's own plan breaks a limit, what it has too much of is
given more weight, step by step, until a plan keeps every limit (a Lagrangian search over plans); then the
least weight that still does is sought, so that no more of the objective is given away than needed. A limit
below what the plan that minimizes nothing else needs is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daypack.errors import BudgetInfeasible, SpecError
from daypack.planners.cost import OBJECTIVES, CostModel, Measure, Objective, Weights
from daypack.planners.plan import Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import plan_cost

GROWTH = 4.0
GROWTHS = 10
REFINEMENTS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits of one window; None where there is none."""

    seconds: float | None = None
    joules: float | None = None
    written_bytes: int | None = None

    def broken(self, found: Measure) -> dict[str, float]:
        """The limits that a measure breaks, and by what factor."""
        pairs = {
            "seconds": (self.seconds, found.seconds),
            "joules": (self.joules, found.joules),
            "written_bytes": (self.written_bytes, found.written_bytes),
        }
        return {
            name: value / limit if limit else float("inf")
            for name, (limit, value) in pairs.items()
            if limit is not None and value is not None and value > limit
        }


class LimitInfeasible(BudgetInfeasible):
    """No plan was found that keeps a limit within the memory: the limit, and the least that was found."""

    def __init__(self, limit: str, allowed: float, found: float, memory_bytes: int) -> None:
        self.limit, self.allowed, self.found, self.memory_bytes = limit, allowed, found, memory_bytes
        super().__init__(
            f"limit of {allowed:g} {_UNITS[limit]} a step: the least found is {found:g}, within a memory of "
            f"{memory_bytes} bytes; raise the limit or the memory budget"
        )

    def details(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "error": "limit-infeasible",
            "limit": self.limit,
            "allowed": self.allowed,
            "smallest_feasible": self.found,
            "memory_bytes": self.memory_bytes,
        }


_UNITS = {"seconds": "seconds", "joules": "joules", "written_bytes": "written bytes"}
PlanFor = Callable[[Problem], Plan]


@dataclass(frozen=True, slots=True)
class Priced:
    """A plan with all its figures.

    `cost` is in the unit of the objective, as is `nodes_cost`: every node once, which no plan goes below.
    """

    plan: Plan
    measure: Measure
    cost: float
    nodes_cost: float


def plan_within_limits(
    model: CostModel, objective: Objective, limits: Limits, memory_bytes: int, plan_for: PlanFor
) -> Priced:
    """The plan of least objective that the search finds within every limit.

    `plan_for` plans a weighed problem within the memory.

    Raises:
        BudgetInfeasible: nothing fits the memory, or (`LimitInfeasible`) nothing keeps a limit.
        SpecError: energy is asked for and the device has no power figures.
    """
    if not model.knows_energy and (objective is Objective.ENERGY or limits.joules is not None):
        raise SpecError(
            "budget: joules cannot be planned: the device's profile has no power figures; "
            "choose another device, or add cluster.points and energy figures to its profile"
        )
    return _Search(model, objective, limits, memory_bytes, plan_for).run()


class _Search:
    def __init__(
        self, model: CostModel, objective: Objective, limits: Limits, memory_bytes: int, plan_for: PlanFor
    ) -> None:
        self._model, self._limits, self._plan_for = model, limits, plan_for
        self._own = OBJECTIVES[objective]
        self._priced_by = model.weighed(self._own)
        self._nodes_cost = sum(node.cost for node in self._priced_by.nodes)
        self._memory_bytes = memory_bytes

    def run(self) -> Priced:
        first = self._plan(self._own)
        broken = self._limits.broken(first.measure)
        if not broken:
            return first
        extra = dict.fromkeys(broken, 1.0)
        best, low = None, 0.0
        for _ in range(GROWTHS):
            tried = self._plan(self._weights(first, extra))
            broken = self._limits.broken(tried.measure)
            if not broken:
                best = tried
                break
            low = max(extra.values())
            for name in broken:
                extra[name] = extra.get(name, 1.0 / GROWTH) * GROWTH
        if best is None:
            raise self._refusal(set(extra))
        return self._refined(first, best, extra, low)

    def _refined(self, first: Priced, best: Priced, extra: Mapping[str, float], low: float) -> Priced:
        """Give away less of the objective: the weights between the last that broke a limit and `extra`."""
        high = max(extra.values())
        for _ in range(REFINEMENTS):
            middle = (low + high) / 2
            scaled = {name: weight * middle / max(extra.values()) for name, weight in extra.items()}
            tried = self._plan(self._weights(first, scaled))
            if self._limits.broken(tried.measure):
                low = middle
            else:
                high = middle
                best = min(best, tried, key=lambda priced: priced.cost)
        return best

    def _refusal(self, names: set[str]) -> LimitInfeasible:
        """Each limit alone, at the plan that minimizes nothing else; the first that even this breaks."""
        found: dict[str, float] = {}
        for name in sorted(names):
            least = self._plan(_ALONE[name])
            found[name] = float(getattr(least.measure, name))
            if name in self._limits.broken(least.measure):
                break
        name = max(found, key=lambda n: found[n] / max(1e-300, float(getattr(self._limits, n))))
        return LimitInfeasible(name, float(getattr(self._limits, name)), found[name], self._memory_bytes)

    def _weights(self, first: Priced, extra: Mapping[str, float]) -> Weights:
        """The objective's weights; besides, each broken measure at 1.0 costs as much as the first plan."""

        def each(name: str) -> float:
            value = float(getattr(first.measure, name) or 0.0)
            return extra.get(name, 0.0) * first.cost / value if value else 0.0

        own = self._own
        return Weights(
            own.per_second + each("seconds"),
            own.per_joule + each("joules"),
            own.per_written_byte + each("written_bytes"),
        )

    def _plan(self, weights: Weights) -> Priced:
        plan = self._plan_for(self._model.weighed(weights))
        cost = plan_cost(self._priced_by, plan.sequence)
        return Priced(plan, self._model.measure(plan.sequence), cost, self._nodes_cost)


_ALONE = {
    "seconds": OBJECTIVES[Objective.TIME],
    "joules": OBJECTIVES[Objective.ENERGY],
    "written_bytes": OBJECTIVES[Objective.WEAR],
}
