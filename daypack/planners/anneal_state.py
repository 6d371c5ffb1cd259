"""The arrays that ``native/anneal.c`` works on: a problem and a sequence of loads in, the best loads out."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.planners.native import library, structure
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem
from daypack.planners.schedule import origin

SLOTS_PER_LOAD = 2
"""How many slots there are for each load: room to move without shifting the others."""

MOST_EDITS = 128
MOST_SPANS = 1 << 16

SOURCE, KEPT, PAGEABLE, DIRTY, ONCE = 1, 2, 4, 8, 32

Array = NDArray[Any]


class Tables:
    """A problem as arrays, made once and shared by every state.

    ``problem`` is the one given but for sources that could leave and never end where they began.
    """

    def __init__(self, problem: Problem) -> None:
        problem = _with_ways_back(problem)
        nodes, paging = problem.nodes, problem.paging
        self.problem = problem
        start, operands = rows([node.operands for node in nodes])
        overwritten_by = np.full(len(nodes), -1, dtype=np.int32)
        for node in nodes:
            if node.overwrites is not None:
                overwritten_by[node.overwrites] = node.id
        sizes = [node.size_bytes for node in nodes]
        self.arrays: dict[str, Array] = {
            "operand_start": start,
            "operand_list": operands,
            "size": np.array(sizes, dtype=np.int64),
            "workspace": np.array([node.workspace_bytes for node in nodes], dtype=np.int64),
            "compute_cost": np.array([node.cost for node in nodes], dtype=np.float64),
            "read_cost": _doubles([0.0 if paging is None else paging.page_in_cost(size) for size in sizes]),
            "write_cost": _doubles([0.0 if paging is None else paging.page_out_cost(size) for size in sizes]),
            "traits": np.array([_traits(problem, node.id) for node in nodes], dtype=np.uint8),
            "overwrites": _ints([-1 if node.overwrites is None else node.overwrites for node in nodes]),
            "overwritten_by": overwritten_by,
            "origin": _ints([origin(problem, node.id) for node in nodes]),
        }


def _with_ways_back(problem: Problem) -> Problem:
    """A source stays in memory if what overwrites it is kept and may not be written out."""
    if problem.paging is None:
        return problem
    stuck = {origin(problem, value) for value in problem.keep if not problem.pageable(value)}
    pageable = problem.paging.pageable - {value for value in stuck if problem.is_source(value)}
    paging = replace(problem.paging, pageable=pageable, dirty=problem.paging.dirty & pageable)
    return replace(problem, paging=paging)


def _traits(problem: Problem, value: int) -> int:
    paging = problem.paging
    source = problem.is_source(value)
    return (
        SOURCE * source
        + KEPT * (value in problem.keep)
        + PAGEABLE * problem.pageable(value)
        + DIRTY * (paging is not None and source and value in paging.dirty)
        + ONCE * (value in problem.once)
    )


def rows(lists: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Lists of ids as compressed rows: where each begins, and all of them one after the other."""
    start = np.zeros(len(lists) + 1, dtype=np.int32)
    start[1:] = np.cumsum([len(row) for row in lists])
    return start, _ints([value for row in lists for value in row])


def _ints(values: Sequence[int]) -> Array:
    return np.array(values, dtype=np.int32)


def _doubles(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)


class State:
    """Loads in slots, ready for moves within a budget.

    ``cost``, ``overflow`` (bytes above the budget, summed over loads) are exact after every call. The random
    numbers go on from one call to the next.
    """

    def __init__(
        self, tables: Tables, loads: Sequence[Instruction], budget_bytes: int, random: NDArray[np.uint64]
    ) -> None:
        problem = tables.problem
        slots = SLOTS_PER_LOAD * len(loads) + 8
        self.arrays = tables.arrays | _state_arrays(problem, loads, slots) | {"random": random}
        # The best state comes last in the C struct.
        for name in ("best_item", "best_begins"):
            self.arrays[name] = self.arrays.pop(name)
        scalars = {
            "values": len(problem.nodes),
            "slots": slots,
            "budget": budget_bytes - problem.fixed_bytes,
            "most_spans": MOST_SPANS,
        }
        self._paging = problem.paging is not None and bool(problem.paging.pageable)
        self._struct = structure(scalars, self.arrays)
        settle = library().anneal_settle
        settle.restype = ctypes.c_int64
        if settle(ctypes.byref(self._struct)) != 0:
            raise ValueError("the loads do not make a plan of this problem")

    @property
    def cost(self) -> float:
        """Cost of the current state."""
        return float(self.arrays["costs"][0])

    @property
    def overflow(self) -> int:
        """Bytes above the budget, summed over the loads; 0 if the state is a plan within the budget."""
        return int(self.arrays["totals"][0])

    def move(self, moves: int, temperature: float, ratio: float, price: float, best: float) -> float:
        """Try moves; the least cost of a state within the budget, or ``best`` if none was cheaper."""
        function = library().anneal_moves
        function.restype = ctypes.c_double
        result: float = function(
            ctypes.byref(self._struct),
            ctypes.c_int64(moves),
            ctypes.c_double(temperature),
            ctypes.c_double(ratio),
            ctypes.c_double(price),
            ctypes.c_int64(self._paging),
            ctypes.c_double(best),
        )
        return result

    def loads(self) -> list[Instruction]:
        """The loads of the current state."""
        return _loads(self.arrays["item"])

    def best_loads(self) -> list[Instruction]:
        """The loads of the best state that `move` met."""
        return _loads(self.arrays["best_item"])


def _loads(item: Array) -> list[Instruction]:
    return [Instruction(Op.PAGE_IN if code & 1 else Op.COMPUTE, int(code) >> 1) for code in item[item >= 0]]


def _state_arrays(problem: Problem, loads: Sequence[Instruction], slots: int) -> dict[str, Array]:
    values = len(problem.nodes)
    row_start = np.zeros(values + 1, dtype=np.int32)
    row_start[1:] = np.cumsum(_capacities(problem, loads))
    pool = int(row_start[-1])

    def ints(count: int) -> Array:
        return np.zeros(count, dtype=np.int32)

    item = np.full(slots, -1, dtype=np.int32)
    for index, (op, value) in enumerate(loads):
        item[SLOTS_PER_LOAD * index + 4] = 2 * value + (op is Op.PAGE_IN)
    return {
        "item": item,
        "live": np.zeros(slots, dtype=np.int64),
        "limit": np.zeros(slots, dtype=np.int64),
        "row_start": row_start,
        "event_count": ints(values),
        "events": ints(pool),
        "load_count": ints(values),
        "begins": _begins(problem, loads),
        "stay_count": ints(values),
        "stay_low": ints(pool),
        "stay_high": ints(pool),
        "value_cost": np.zeros(values, dtype=np.float64),
        "next_count": ints(values),
        "next_low": ints(pool),
        "next_high": ints(pool),
        "next_cost": np.zeros(values, dtype=np.float64),
        "is_touched": np.zeros(values, dtype=np.uint8),
        "touched": ints(values + 1),
        "edits": ints(4 * MOST_EDITS),
        "spans": np.zeros(3 * MOST_SPANS, dtype=np.int64),
        "marks": ints(512),
        "tight": ints(slots + 1),
        "totals": np.zeros(4, dtype=np.int64),
        "costs": np.zeros(2, dtype=np.float64),
        "best_item": item.copy(),
        "best_begins": np.zeros(values, dtype=np.uint8),
    }


def _capacities(problem: Problem, loads: Sequence[Instruction]) -> Array:
    """Room for the events of each value: those it has, and as many again."""
    events = np.zeros(len(problem.nodes), dtype=np.int64)
    for op, value in loads:
        events[value] += 1
        if op is Op.COMPUTE:
            for operand in problem.nodes[value].operands:
                events[operand] += 1
    return 2 * events + 12


def _begins(problem: Problem, loads: Sequence[Instruction]) -> Array:
    """A source begins in memory if it is needed and its first event is not a page-in."""
    paged: set[int] = set()
    used: set[int] = set()
    for op, value in loads:
        if op is Op.PAGE_IN and value not in used:
            paged.add(value)
        elif op is Op.COMPUTE:
            used.update(problem.nodes[value].operands)
    begins = [
        problem.is_source(node.id)
        and (bool(problem.users[node.id]) or node.id in problem.keep)
        and node.id not in paged
        for node in problem.nodes
    ]
    return np.array(begins, dtype=np.uint8)
