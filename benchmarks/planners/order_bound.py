"""How little recomputation any plan can do that keeps to an order: a linear program for the random graphs.

`python benchmarks/planners/order_bound.py --seeds 3` cuts the listed order of graphs of 1,000 nodes into
stages and prints, for 90, 80 and 70 % of its peak, a bound on the extra cost of every plan in which the first
computation of each node is in its own stage. Within a stage the order is free. It does not bound plans whose
nodes change their stage.

Variables, between 0 and 1: R[v, t], value v is computed again in stage t, and S[v, t], it is in memory from
stage t to the next. What is in memory at a stage's end was there before or is computed in it; what is
computed finds each operand in memory from the stage before or computed in the same stage; what is in memory
between two stages fits the budget. The costs of R are the objective. This is Checkmate's program (Jain et
al., MLSys 2020) for stages of many nodes, with memory counted between stages only and without integrality:
both make it weaker.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daypack.planners.instances import layered_problem
from daypack.planners.orders import given
from daypack.planners.problem import Problem
from daypack.planners.schedule import complete, given_order

SHARES = (0.9, 0.8, 0.7)
STAGE_NODES = 66


@dataclass(slots=True)
class Rows:
    """A <= b in triplets."""

    row: list[int] = field(default_factory=list[int])
    column: list[int] = field(default_factory=list[int])
    value: list[float] = field(default_factory=list[float])
    limit: list[float] = field(default_factory=list[float])

    def add(self, terms: Sequence[tuple[int, float]], limit: float) -> None:
        """One more inequality."""
        for column, value in terms:
            self.row.append(len(self.limit))
            self.column.append(column)
            self.value.append(value)
        self.limit.append(limit)


def extra_cost(problem: Problem, order: Sequence[int], memory_bytes: int, stage_nodes: int) -> float:
    """The bound in units of cost; the problem has neither sources nor paging nor overwrites."""
    stage = {value: place // stage_nodes for place, value in enumerate(order)}
    stages = max(stage.values()) + 1
    again: dict[tuple[int, int], int] = {}
    stays: dict[tuple[int, int], int] = {}
    costs: list[float] = []
    for node in problem.nodes:
        for t in range(stage[node.id] + 1, stages):
            again[node.id, t] = len(costs)
            costs.append(node.cost)
        for t in range(stage[node.id], stages - 1):
            stays[node.id, t] = len(costs)
            costs.append(0.0)
    rows = Rows()
    for node in problem.nodes:
        own = stage[node.id]
        for operand in node.operands:
            if stage[operand] < own:
                rows.add([(stays[operand, own - 1], -1.0), (again[operand, own], -1.0)], -1.0)
            for t in range(own + 1, stages):
                there = [(stays[operand, t - 1], -1.0), (again[operand, t], -1.0)]
                rows.add([(again[node.id, t], 1.0), *there], 0.0)
        for t in range(own + 1, stages - 1):
            before = [(stays[node.id, t - 1], -1.0), (again[node.id, t], -1.0)]
            rows.add([(stays[node.id, t], 1.0), *before], 0.0)
    for t in range(stages - 1):
        held = [node for node in problem.nodes if stage[node.id] <= t]
        rows.add([(stays[node.id, t], node.size_bytes / memory_bytes) for node in held], 1.0)
    matrix_of: Any = importlib.import_module("scipy.sparse").csr_array
    linprog: Any = importlib.import_module("scipy.optimize").linprog
    shape = (len(rows.limit), len(costs))
    matrix = matrix_of((np.array(rows.value), (rows.row, rows.column)), shape=shape)
    found = linprog(costs, A_ub=matrix, b_ub=rows.limit, bounds=(0, 1), method="highs-ipm")
    if found.status != 0:
        raise RuntimeError(f"the linear program ended without an optimum: {found.message}")
    return float(found.fun)


def main() -> None:
    """Print a line a seed and share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--stage-nodes", type=int, default=STAGE_NODES)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        problem = layered_problem(arguments.nodes, seed)
        peak = complete(problem, given_order(problem)).peak_bytes
        base = sum(node.cost for node in problem.nodes)
        for share in arguments.shares:
            began = time.process_time()
            extra = extra_cost(problem, given(problem), int(share * peak), arguments.stage_nodes)
            took = time.process_time() - began
            print(
                f"layered {arguments.nodes} seed {seed}, {share:.0%}: at least {100 * extra / base:.3f} % "
                f"extra in stages of {arguments.stage_nodes} nodes ({took:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
