"""A plan in one pass over an order: what does not fit is evicted and comes back when it is needed.

The pass itself is ``native/greedy.c``. Pageable sources are either pinned (in memory throughout) or come from
flash on demand; which ones is tried at a few shares of the room, those that save the most cost for their
bytes first, and each share with each of a few orders (`orders`). Fast: it is where `anneal` begins, what
`sqrt_n` and `chain` steer by naming values to give up early, and what `auto` falls back on.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from daypack.planners.anneal_state import Array, Tables, rows
from daypack.planners.finish import finished, met_or_refused
from daypack.planners.native import library, structure
from daypack.planners.orders import candidate_orders
from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete

PINNED = 16
MOST_LOADS_PER_NODE = 12
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the budget that pinned sources may take."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: the order, the sources that stay, and the values to give up after a node although they
    fit.
    """

    order: Sequence[int]
    pinned: frozenset[int] = frozenset()
    leaving: Mapping[int, Sequence[int]] = field(default_factory=dict[int, Sequence[int]])


def greedy(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
    """The cheapest of the passes; `PlanInfeasible` if none fits."""
    began = time.monotonic()
    tables = Tables(problem)
    found = met_or_refused(problem, memory_bytes, lambda budget: best_greedy(tables, budget))
    return finished(problem, memory_bytes, found, "greedy", began)


def best_greedy(tables: Tables, memory_bytes: int) -> Schedule | None:
    """The cheapest schedule over orders and shares of pinned sources; None if no pass fits the budget."""
    best = best_pass(tables, memory_bytes)
    return None if best is None else best[0]


def best_pass(tables: Tables, memory_bytes: int) -> tuple[Schedule, Pass] | None:
    """The cheapest schedule and the pass that made it."""
    best: tuple[Schedule, Pass] | None = None
    for order in candidate_orders(tables.problem):
        whole = complete(tables.problem, [Instruction(Op.COMPUTE, value) for value in order])
        if whole.peak_bytes <= memory_bytes:
            return whole, Pass(order)  # nothing again, nothing paged: no plan costs less
        for pinned in pin_choices(tables.problem, memory_bytes):
            choice = Pass(order, pinned)
            found = run_pass(tables, memory_bytes, choice)
            if found is not None and (best is None or found.cost < best[0].cost):
                best = found, choice
    return best


def run_pass(tables: Tables, memory_bytes: int, choice: Pass) -> Schedule | None:
    """The schedule of one pass; None if it gets stuck."""
    problem = tables.problem
    arrays = _arrays(tables, choice)
    scalars = {
        "values": len(problem.nodes),
        "steps": len(choice.order),
        "budget": memory_bytes - problem.fixed_bytes,
        "most_loads": len(arrays["loads"]),
    }
    function = library().greedy_order
    function.restype = ctypes.c_int64
    if function(ctypes.byref(structure(scalars, arrays))) != 1:
        return None
    held = arrays["loads"][: int(arrays["totals"][1])]
    loads = [Instruction(Op.PAGE_IN if code & 1 else Op.COMPUTE, int(code) >> 1) for code in held]
    schedule = complete(problem, loads)
    return schedule if schedule.peak_bytes <= memory_bytes else None


def pin_choices(problem: Problem, memory_bytes: int) -> Iterator[frozenset[int]]:
    """Different sets of sources to keep in memory, the largest first."""
    tried: set[frozenset[int]] = set()
    for share in SHARES:
        pinned = _pinned(problem, int(share * (memory_bytes - problem.fixed_bytes)))
        if pinned not in tried:
            tried.add(pinned)
            yield pinned


def _pinned(problem: Problem, room_bytes: int) -> frozenset[int]:
    """Sources to keep in memory: those whose paging costs most for their bytes first."""
    paging = problem.paging
    sources = [node for node in problem.nodes if problem.is_source(node.id) and problem.pageable(node.id)]
    if paging is None:
        return frozenset()

    def saved(value: int) -> float:
        node = problem.nodes[value]
        writes = value in paging.dirty or any(
            problem.nodes[user].overwrites == value for user in problem.users[value]
        )
        uses = len(problem.users[value])
        cost = uses * paging.page_in_cost(node.size_bytes) + writes * paging.page_out_cost(node.size_bytes)
        return cost / max(1, node.size_bytes)

    pinned: set[int] = set()
    for node in sorted(sources, key=lambda node: (-saved(node.id), node.id)):
        if node.size_bytes <= room_bytes:
            room_bytes -= node.size_bytes
            pinned.add(node.id)
    return frozenset(pinned)


def _arrays(tables: Tables, choice: Pass) -> dict[str, Array]:
    """The arrays of ``struct greedy``, in its order."""
    problem, shared, order = tables.problem, tables.arrays, choice.order
    values = len(problem.nodes)
    user_start, user_list = rows(problem.users)
    uses: list[list[int]] = [[] for _ in range(values)]
    for step, value in enumerate(order):
        for operand in problem.nodes[value].operands:
            uses[operand].append(step)
    for value in problem.keep:
        uses[value].append(len(order))
    use_start, use_list = rows(uses)
    leave_start, leave_list = rows([choice.leaving.get(value, ()) for value in order])
    traits = shared["traits"].copy()
    resident = np.zeros(values, dtype=np.uint8)
    for node in problem.nodes:
        if problem.is_source(node.id) and (not problem.pageable(node.id) or node.id in choice.pinned):
            resident[node.id] = bool(problem.users[node.id]) or node.id in problem.keep
            traits[node.id] |= PINNED
        elif node.overwrites is not None and traits[node.overwrites] & PINNED:
            traits[node.id] |= PINNED
    names = ("operand_start", "operand_list")
    costs = ("size", "workspace", "compute_cost", "read_cost", "write_cost")

    def ints(count: int) -> Array:
        return np.zeros(count, dtype=np.int32)

    return (
        {name: shared[name] for name in names}
        | {"user_start": user_start, "user_list": user_list}
        | {name: shared[name] for name in costs}
        | {
            "traits": traits,
            "overwrites": shared["overwrites"],
            "order": np.array(order, dtype=np.int32),
            "use_start": use_start,
            "use_list": use_list,
            "leave_start": leave_start,
            "leave_list": leave_list,
            "next_use": use_start[:-1].copy(),
            "resident": resident,
            "stale": np.zeros(values, dtype=np.uint8),
            "gone": np.zeros(values, dtype=np.uint8),
            "need": np.full(values, 2**62, dtype=np.int64),
            "restore": np.zeros(values, dtype=np.float64),
            "pins": ints(values),
            "members": ints(values),
            "place": ints(values),
            "stack": ints(values + 1),
            "stack_state": ints(values + 1),
            "loads": ints(MOST_LOADS_PER_NODE * len(order) + 16),
            "totals": np.zeros(8, dtype=np.int64),
        }
    )
