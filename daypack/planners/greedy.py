"""A plan in one pass: the given order within the budget, what does not fit evicted and brought back when needed.

Not a planner by itself: its sequences are where `anneal` begins and what `auto` falls back on for large problems.
Pageable sources are either pinned (in memory throughout) or come from flash on demand; which ones is tried at a few
shares of the room, those that save the most cost for their bytes first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from daypack.planners.anneal_state import Array, Tables, rows
from daypack.planners.native import library, structure
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, complete, given_order

PINNED = 16
MOST_LOADS_PER_NODE = 12
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the budget that pinned sources may take."""


def greedy_loads(
    tables: Tables, order: Sequence[int], memory_bytes: int, pinned: frozenset[int]
) -> list[Instruction] | None:
    """Loads that compute ``order`` within the budget, with these sources pinned; None if the pass gets stuck."""
    problem = tables.problem
    arrays = _arrays(tables, order, pinned)
    scalars = {
        "values": len(problem.nodes),
        "steps": len(order),
        "budget": memory_bytes - problem.fixed_bytes,
        "most_loads": len(arrays["loads"]),
    }
    function = library().greedy_order
    function.restype = ctypes.c_int64
    if function(ctypes.byref(structure(scalars, arrays))) != 1:
        return None
    held = arrays["loads"][: int(arrays["totals"][1])]
    return [Instruction(Op.PAGE_IN if code & 1 else Op.COMPUTE, int(code) >> 1) for code in held]


def best_greedy(tables: Tables, memory_bytes: int, order: Sequence[int] | None = None) -> Schedule | None:
    """The cheapest schedule over the shares of pinned sources; None if no pass fits the budget."""
    problem = tables.problem
    order = [value for _, value in given_order(problem)] if order is None else order
    best: Schedule | None = None
    tried: set[frozenset[int]] = set()
    for share in SHARES:
        pinned = _pinned(problem, int(share * (memory_bytes - problem.fixed_bytes)))
        if pinned in tried:
            continue
        tried.add(pinned)
        loads = greedy_loads(tables, order, memory_bytes, pinned)
        if loads is None:
            continue
        schedule = complete(problem, loads)
        if schedule.peak_bytes <= memory_bytes and (best is None or schedule.cost < best.cost):
            best = schedule
    return best


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


def _arrays(tables: Tables, order: Sequence[int], pinned: frozenset[int]) -> dict[str, Array]:
    """The arrays of ``struct greedy``, in its order."""
    problem, shared = tables.problem, tables.arrays
    values = len(problem.nodes)
    user_start, user_list = rows(problem.users)
    uses: list[list[int]] = [[] for _ in range(values)]
    for step, value in enumerate(order):
        for operand in problem.nodes[value].operands:
            uses[operand].append(step)
    for value in problem.keep:
        uses[value].append(len(order))
    use_start, use_list = rows(uses)
    traits = shared["traits"].copy()
    resident = np.zeros(values, dtype=np.uint8)
    for node in problem.nodes:
        if problem.is_source(node.id) and (not problem.pageable(node.id) or node.id in pinned):
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
