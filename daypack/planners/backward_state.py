"""The arrays that ``native/backward.c`` works on, and one search at a time in them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.planners.anneal_state import rows
from daypack.planners.native import library, structure
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem

ONCE, TOKEN, SOURCE = 1, 2, 4

Array = NDArray[Any]


class Verdict(IntEnum):
    """How a run of the search ended."""

    FOUND = 1
    EXHAUSTED = 0
    AGAIN = -1
    FULL = -2


class Backward:
    """A problem without paging within a budget, and room for so many states.

    ``pair[u, v]`` is a lower bound on the extra cost of having both values in memory at one moment
    (``pair[v, v]``: of having one); `math.inf` where no plan can. The search uses what is in it.
    """

    def __init__(self, problem: Problem, memory_bytes: int, most_states: int) -> None:
        self.problem, self.most_states = problem, most_states
        values = len(problem.nodes)
        self.words = max(2, -(-values // 64))
        self.pair: NDArray[np.float64] = np.zeros((values, values))
        self._all = _problem_arrays(problem, self.words) | {
            "start": np.zeros(self.words, dtype=np.uint64),
            "goal": packed([n.id for n in problem.nodes if problem.is_source(n.id)], self.words),
            "pair": self.pair,
            "limit": np.full(1, math.inf),
            "haste": np.zeros(1),
        }
        self._all |= _state_arrays(self.words, most_states)
        scalars = {
            "values": values,
            "words": self.words,
            "budget": memory_bytes - problem.fixed_bytes,
            "most_states": most_states,
            "table_mask": len(self._all["table"]) - 1,
        }
        self._struct: Any = structure(scalars, self._all)

    def begin(
        self,
        start: Iterable[int],
        limit: float = math.inf,
        most_states: int | None = None,
        *,
        haste: float = 0.0,
    ) -> None:
        """Forget the last search and begin at these values, for an extra cost below ``limit``.

        ``haste`` is the extra cost expected for a unit of cost still to come: with it the search goes for
        the end, and its first end need not be the cheapest.
        """
        states = min(self.most_states, most_states or self.most_states)
        self._all["table"][: self._struct.table_mask + 1] = 0
        self._all["counts"][:] = 0
        self._struct.most_states = states
        self._struct.table_mask = _table_size(states) - 1
        self._all["haste"][0] = haste
        self._all["start"][:] = packed(start, self.words)
        self._all["limit"][0] = limit
        library().backward_begin(ctypes.byref(self._struct))

    def run(self, expansions: int) -> Verdict:
        """Go on for so many states."""
        function = library().backward_run
        function.restype = ctypes.c_int64
        return Verdict(function(ctypes.byref(self._struct), ctypes.c_int64(expansions)))

    @property
    def bound(self) -> float:
        """No end costs less extra than this (of a search without haste that is not exhausted)."""
        return float(self._all["total"][self._all["heap"][0]])

    @property
    def extra(self) -> float:
        """Extra cost of the end that was found."""
        return float(self._all["extra"][self._all["counts"][2]])

    def loads(self) -> list[Instruction]:
        """The computes from the begin to where the search began, by the end that was found."""
        state, parent = int(self._all["counts"][2]), self._all["parent"]
        depth = 0
        while (before := int(parent[state])) >= 0:
            state, depth = before, depth + 1
        chain = np.zeros(depth + 1, dtype=np.int32)
        trail = np.zeros((depth + 1) * len(self.problem.nodes), dtype=np.int32)
        function = library().backward_trail
        function.restype = ctypes.c_int64
        length = function(
            ctypes.byref(self._struct),
            ctypes.c_int32(int(self._all["counts"][2])),
            ctypes.c_void_p(chain.ctypes.data),
            ctypes.c_void_p(trail.ctypes.data),
        )
        return [Instruction(Op.COMPUTE, int(value)) for value in reversed(trail[:length])]


def packed(members: Iterable[int], words: int) -> Array:
    """A set of values as bits."""
    bits = np.zeros(words, dtype=np.uint64)
    for value in members:
        bits[value >> 6] |= np.uint64(1 << (value & 63))
    return bits


def _problem_arrays(problem: Problem, words: int) -> dict[str, Array]:
    """The problem's arrays, in the order of ``struct backward``."""
    nodes = problem.nodes
    start, operands = rows([node.operands for node in nodes])
    return {
        "size": np.array([node.size_bytes for node in nodes], dtype=np.int64),
        "workspace": np.array([node.workspace_bytes for node in nodes], dtype=np.int64),
        "cost": np.array([0.0 if problem.is_source(n.id) else n.cost for n in nodes], dtype=np.float64),
        "operand_start": start,
        "operand_list": operands,
        "overwrites": np.array([-1 if n.overwrites is None else n.overwrites for n in nodes], dtype=np.int32),
        "traits": np.array([_traits(problem, node.id) for node in nodes], dtype=np.uint8),
        "is_overwritten": _overwritten(problem),
        "operands": np.array([packed(node.operands, words) for node in nodes]),
        "above": _closure(
            words, [problem.users[node.id] for node in nodes], range(len(nodes))[::-1], own=False
        ),
        "below": _closure(words, [node.operands for node in nodes], range(len(nodes)), own=True),
    }


def _overwritten(problem: Problem) -> Array:
    old = {node.overwrites for node in problem.nodes}
    return np.array([node.id in old for node in problem.nodes], dtype=np.uint8)


def _closure(words: int, steps: list[tuple[int, ...]], order: Iterable[int], *, own: bool) -> Array:
    """All that each value reaches by ``steps``; ``order`` has what is reached before what reaches it."""
    reached = np.zeros((len(steps), words), dtype=np.uint64)
    for value in order:
        for other in steps[value]:
            reached[value] |= reached[other] | packed([other], words)
        if own:
            reached[value] |= packed([value], words)
    return reached


def _traits(problem: Problem, value: int) -> int:
    unused = not problem.users[value] and value not in problem.keep
    return ONCE * (value in problem.once) + TOKEN * unused + SOURCE * problem.is_source(value)


def _table_size(states: int) -> int:
    return 1 << (2 * states).bit_length()


def _state_arrays(words: int, states: int) -> dict[str, Array]:
    """Zeros, which take no memory before they are written."""
    return {
        "set": np.zeros((states, words), dtype=np.uint64),
        "extra": np.zeros(states),
        "total": np.zeros(states),
        "rest": np.zeros(states, dtype=np.float32),
        "parent": np.zeros(states, dtype=np.int32),
        "move": np.zeros(states, dtype=np.int32),
        "place": np.zeros(states, dtype=np.int32),
        "heap": np.zeros(states, dtype=np.int32),
        "table": np.zeros(_table_size(states), dtype=np.int32),
        "counts": np.zeros(4, dtype=np.int64),
    }
