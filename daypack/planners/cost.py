"""What a plan costs, in every unit at once: seconds, joules, bytes read and written.

A planner minimizes one number. `CostModel.weighed` makes it of seconds, joules and written bytes by
`Weights`; the objectives of a spec are three such weightings. `measure` gives every figure of a finished
plan, whatever it was planned for, so that limits on the others can be judged. All figures are modelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Paging, Problem
from daypack.planners.schedule import instruction_costs, origin, plan_cost

FREE = 1e300
"""Bytes a unit of cost where a transfer costs nothing: `Paging` wants finite rates."""
TIE_BREAK = 1e-3
"""What a second weighs beside a joule when energy is the objective: no time is wasted for nothing."""

TRANSFERS = (Op.PAGE_IN, Op.PAGE_OUT)


class Objective(StrEnum):
    """What a spec may minimize."""

    TIME = "time"
    ENERGY = "energy"
    WEAR = "wear"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a second, a joule and a byte written to flash weigh against each other."""

    per_second: float = 0.0
    per_joule: float = 0.0
    per_written_byte: float = 0.0


OBJECTIVES = {
    Objective.TIME: Weights(per_second=1.0),
    Objective.ENERGY: Weights(per_second=TIE_BREAK, per_joule=1.0),
    Objective.WEAR: Weights(per_second=1.0, per_written_byte=1.0),
}


@dataclass(frozen=True, slots=True)
class Transfers:
    """Flash and the memory behind it: speeds, and energy where it is known."""

    read_bytes_per_s: float
    write_bytes_per_s: float
    read_j_per_byte: float | None = None
    write_j_per_byte: float | None = None


@dataclass(frozen=True, slots=True)
class Saving:
    """Sources that are written to flash from memory after the window: the bytes of each, every `steps`
    windows.

    A plan that pages any of them writes those it pages in every window, and the others have to follow.
    """

    bytes_of: Mapping[int, int] = field(default_factory=dict[int, int])
    steps: int = 1

    def written_bytes(self, paged: frozenset[int]) -> int:
        """Bytes a window beside those that are paged out."""
        kept = sum(size for source, size in self.bytes_of.items() if source not in paged)
        return kept if paged & self.bytes_of.keys() else math.ceil(kept / self.steps)


@dataclass(frozen=True, slots=True)
class Measure:
    """One window of a plan; `written_bytes` with what is saved after it. `joules` is None where the device's
    profile has no power figures.
    """

    seconds: float
    joules: float | None
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds and joules of every node of a problem, the price of transfers, what is saved.

    `base` is priced in seconds; `joules[node]` belongs to its nodes.
    """

    base: Problem
    transfers: Transfers
    joules: tuple[float, ...] | None
    saving: Saving = field(default_factory=Saving)

    @property
    def knows_energy(self) -> bool:
        """Whether joules can be computed at all."""
        known = (self.transfers.read_j_per_byte, self.transfers.write_j_per_byte)
        return self.joules is not None and None not in known

    def weighed(self, weights: Weights) -> Problem:
        """The problem with costs in the unit that the weights define; unknown joules weigh nothing."""
        joules = self.joules or (0.0,) * len(self.base.nodes)
        nodes = tuple(
            replace(node, cost=node.cost * weights.per_second + energy * weights.per_joule)
            for node, energy in zip(self.base.nodes, joules, strict=True)
        )
        return replace(self.base, nodes=nodes, paging=self._paging(weights))

    def _paging(self, weights: Weights) -> Paging | None:
        paging, at = self.base.paging, self.transfers
        if paging is None:
            return None
        read = weights.per_second / at.read_bytes_per_s + weights.per_joule * (at.read_j_per_byte or 0.0)
        write = weights.per_second / at.write_bytes_per_s + weights.per_joule * (at.write_j_per_byte or 0.0)
        write += weights.per_written_byte
        return replace(paging, read_bytes_per_s=_rate(read), write_bytes_per_s=_rate(write))

    def measure(self, sequence: Sequence[Instruction]) -> Measure:
        """Every figure of a plan for this problem (under any weighting)."""
        joules = plan_cost(self.weighed(Weights(per_joule=1.0)), sequence) if self.knows_energy else None
        written = plan_cost(self.weighed(Weights(per_written_byte=1.0)), sequence)
        read = sum(self.base.nodes[value].size_bytes for op, value in sequence if op is Op.PAGE_IN)
        paged = frozenset(origin(self.base, value) for op, value in sequence if op in TRANSFERS)
        saved = self.saving.written_bytes(paged)
        return Measure(seconds(self.base, sequence), joules, read, round(written) + saved)


def _rate(cost_per_byte: float) -> float:
    return 1.0 / cost_per_byte if cost_per_byte > 0 else FREE


def seconds(problem: Problem, sequence: Sequence[Instruction]) -> float:
    """How long a window takes when transfers overlap with computing (`clock`)."""
    return max((max(lanes) for lanes in clock(problem, sequence)), default=0.0)


def clock(problem: Problem, sequence: Sequence[Instruction]) -> Iterator[tuple[float, float]]:
    """For each instruction, when the computes and when the transfers up to it are done, in seconds.

    Two lanes: computes run one after the other; transfers too, in the order of the plan, and none begins
    before the computes listed before it are done. A compute waits for the page-ins of its operands. Costs of
    `problem` are seconds.
    """
    arrival: dict[int, float] = {}
    computed = moved = 0.0
    costs = instruction_costs(problem, sequence)
    for (op, value), cost in zip(sequence, costs, strict=True):
        if op is Op.COMPUTE:
            ready = max((arrival.pop(v, 0.0) for v in problem.nodes[value].operands), default=0.0)
            computed = max(computed, ready) + cost
        elif op is not Op.DROP and cost:
            moved = max(moved, computed) + cost
            if op is Op.PAGE_IN:
                arrival[value] = moved
        yield computed, moved
