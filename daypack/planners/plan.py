"""A plan: the instructions of one window, what they need and cost; and the protocol of planners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from daypack.planners.problem import Problem


class Op(StrEnum):
    """What one instruction does to one value."""

    COMPUTE = "compute"
    DROP = "drop"
    PAGE_OUT = "page_out"
    PAGE_IN = "page_in"


class Instruction(NamedTuple):
    """One instruction; computing a value again is recomputation."""

    op: Op
    id: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence that computes a problem within a budget.

    A source is resident from the start unless its first instruction is a page-in, in which case it starts
    on flash. ``peak_bytes`` counts everything, ``fixed_bytes`` included; ``cost`` adds the cost of every
    compute and transfer. ``lower_bound_cost`` is proven for every plan within the budget; ``seconds`` is
    the planning time (measured).
    """

    sequence: tuple[Instruction, ...]
    peak_bytes: int
    cost: float
    lower_bound_cost: float
    proven_optimal: bool
    seconds: float
    planner: str = ""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a planner may spend. Same seed, same plan, unless the time limit is what ends the search."""

    time_limit_s: float = 3.0
    threads: int = 1
    seed: int = 0


Planner = Callable[[Problem, int, PlanOptions], Plan]
"""``planner(problem, memory_bytes, options)``; raises `infeasible.PlanInfeasible` when nothing fits."""
