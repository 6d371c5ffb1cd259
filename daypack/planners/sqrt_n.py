"""Checkpoints every √n blocks: the classical rule (Chen et al. 2016), for graphs with a layer chain.

Of each chain of ``n`` blocks every ⌈√n⌉-th keeps the one value that it hands on; everything else that the way
down needs is given up and brought back, segment by segment. Where a graph has no chain, the listed order is
cut into ⌈√n⌉ segments of nodes, and what a segment makes and the next does not read is given up at its end.
The one-pass planner (`greedy.run_pass`) carries it out, so that weights are paged and updates kept as ever.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from daypack.planners.anneal_state import Tables
from daypack.planners.blocks import Chain, chains
from daypack.planners.finish import finished, met_or_refused
from daypack.planners.greedy import Pass, pin_choices, run_pass
from daypack.planners.orders import eager, given
from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete


def sqrt_n(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The plan with checkpoints, or without where everything fits; `PlanInfeasible` if neither does."""
    began = time.monotonic()
    tables = Tables(problem)
    found = met_or_refused(problem, memory_bytes, lambda budget: best_checkpoints(tables, budget))
    return finished(problem, memory_bytes, found, "sqrt-n", began)


def best_checkpoints(tables: Tables, memory_bytes: int) -> Schedule | None:
    """The cheapest schedule over two orders and the shares of pinned sources; None if none fits."""
    problem = tables.problem
    whole = complete(problem, [Instruction(Op.COMPUTE, value) for value in given(problem)])
    if whole.peak_bytes <= memory_bytes:
        return whole
    leaving = checkpoints(problem)
    best: Schedule | None = None
    for order in (given(problem), eager(problem)):
        for pinned in pin_choices(problem, memory_bytes):
            found = run_pass(tables, memory_bytes, Pass(order, pinned, leaving))
            if found is not None and (best is None or found.cost < best.cost):
                best = found
    return best


def checkpoints(problem: Problem) -> dict[int, Sequence[int]]:
    """What to give up after which node."""
    found = chains(problem)
    leaving: dict[int, Sequence[int]] = {}
    for chain in found:
        leaving.update(_of_chain(chain))
    return leaving or _of_segments(problem)


def _of_chain(chain: Chain) -> dict[int, Sequence[int]]:
    step = math.ceil(math.sqrt(len(chain.blocks)))
    leaving: dict[int, Sequence[int]] = {}
    for index, block in enumerate(chain.blocks[:-1]):
        checkpoint = {block.handed_on} if (index + 1) % step == 0 else set[int]()
        leaving[block.last] = [value for value in block.saved if value not in checkpoint]
    return leaving


def _of_segments(problem: Problem) -> dict[int, Sequence[int]]:
    order = given(problem)
    length = max(1, math.ceil(math.sqrt(len(order))))
    segments = [order[begin : begin + length] for begin in range(0, len(order), length)]
    leaving: dict[int, Sequence[int]] = {}
    for segment, following in zip(segments, segments[1:], strict=False):
        read = {operand for value in following for operand in problem.nodes[value].operands}
        leaving[segment[-1]] = [value for value in segment if value not in read]
    return leaving
