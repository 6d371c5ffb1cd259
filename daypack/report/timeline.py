"""A recorded plan → what is in memory at each instruction, and when each instruction runs.

Quantities: times in seconds from the window's start, all modelled, by the rule of `planners.cost.seconds`:
two lanes, one that computes and one that moves, in the order of the plan. Instruction indices are positions
in the plan; a stay is half-open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import instruction_costs, resident_at_start

Array = np.ndarray[Any, Any]


class Action(StrEnum):
    """What an instruction is to a reader: an `Op`, where computing again is told apart."""

    COMPUTE = "compute"
    RECOMPUTE = "recompute"
    PAGE_IN = "page_in"
    PAGE_OUT = "page_out"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Moment:
    """One instruction. `at_s`: when the compute lane reaches it; it runs from `start_s` to `end_s`."""

    action: Action
    node: int
    at_s: float
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(slots=True)
class Stay:
    """A value in memory from instruction `start` until before `end`; `uses`: the computes that read it.

    `opened_by`: the instruction that brought it, None where it is there from the start. `closed_by`: the one
    that sent it away, None where it stays to the end or its memory is taken over.
    """

    node: int
    start: int
    end: int
    opened_by: int | None
    closed_by: int | None = None
    uses: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Timeline:
    """`live_bytes[i]`: everything resident while instruction i runs, workspace and fixed bytes included."""

    moments: tuple[Moment, ...]
    stays: tuple[Stay, ...]
    live_bytes: Array
    seconds: float

    @property
    def peak_at(self) -> int:
        """The first instruction with the most bytes."""
        return int(self.live_bytes.argmax()) if len(self.live_bytes) else 0

    @property
    def peak_bytes(self) -> int:
        return int(self.live_bytes.max()) if len(self.live_bytes) else 0


def timeline(problem: Problem, plan: Plan) -> Timeline:
    """Walk a valid plan. `problem` is priced in seconds."""
    moments = _moments(problem, plan.sequence)
    stays = _Walk(problem, plan.sequence).run()
    seconds = max((m.end_s for m in moments), default=0.0)
    return Timeline(moments, stays, _live_bytes(problem, plan.sequence, stays), seconds)


def _moments(problem: Problem, sequence: tuple[Instruction, ...]) -> tuple[Moment, ...]:
    arrival: dict[int, float] = {}
    computed = moved = 0.0
    known: set[int] = set()
    moments: list[Moment] = []
    for (op, value), cost in zip(sequence, instruction_costs(problem, sequence), strict=True):
        if op is Op.COMPUTE:
            ready = max((arrival.pop(v, 0.0) for v in problem.nodes[value].operands), default=0.0)
            start = max(computed, ready)
            computed = start + cost
            action = Action.RECOMPUTE if value in known else Action.COMPUTE
            known.add(value)
            moments.append(Moment(action, value, start, start, computed))
        elif op is Op.DROP or not cost:
            moments.append(Moment(Action(op.value), value, computed, computed, computed))
        else:
            start = max(moved, computed)
            moved = start + cost
            if op is Op.PAGE_IN:
                arrival[value] = moved
            moments.append(Moment(Action(op.value), value, computed, start, moved))
    return tuple(moments)


class _Walk:
    """Follows every value in and out of memory."""

    def __init__(self, problem: Problem, sequence: tuple[Instruction, ...]) -> None:
        self._problem = problem
        self._sequence = sequence
        self._stays: list[Stay] = []
        self._open: dict[int, Stay] = {}

    def run(self) -> tuple[Stay, ...]:
        for value in resident_at_start(self._problem, self._sequence):
            self._begin(value, 0, None)
        for index, (op, value) in enumerate(self._sequence):
            if op is Op.COMPUTE:
                self._compute(index, value)
            elif op is Op.PAGE_IN:
                self._begin(value, index, index)
            else:  # a page-out reads its value while it runs, a drop does not
                stay = self._open.pop(value)
                stay.end = index + (op is Op.PAGE_OUT)
                stay.closed_by = index
        return tuple(self._stays)

    def _begin(self, value: int, index: int, opened_by: int | None) -> None:
        stay = Stay(value, index, len(self._sequence), opened_by)
        self._stays.append(stay)
        self._open[value] = stay

    def _compute(self, index: int, value: int) -> None:
        node = self._problem.nodes[value]
        for operand in node.operands:
            self._open[operand].uses.append(index)
        if node.overwrites is not None:
            self._open.pop(node.overwrites).end = index
        self._begin(value, index, index)


def _live_bytes(problem: Problem, sequence: tuple[Instruction, ...], stays: tuple[Stay, ...]) -> Array:
    change = np.zeros(len(sequence) + 1, np.int64)
    for stay in stays:
        size = problem.nodes[stay.node].size_bytes
        change[stay.start] += size
        change[stay.end] -= size
    live = np.cumsum(change)[:-1] + problem.fixed_bytes
    for index, (op, value) in enumerate(sequence):
        if op is Op.COMPUTE:
            live[index] += problem.nodes[value].workspace_bytes
    return live
