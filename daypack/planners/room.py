"""How far a transfer can spread in time without another place: as long as its own is free.

A stay's place is free before the stay from the end of the last buffer that lies on any of its bytes, and
after the stay to the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daypack.planners.lifetimes import Lifetimes
from daypack.planners.plan import Op, Plan

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Room:
    """A plan's layout: rows (lower, upper, bytes), their offsets, and the rows of each stay's buffer."""

    rows: Sequence[tuple[int, int, int]]
    offsets: Sequence[int]
    rows_of: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Arena:
    lower: Longs
    upper: Longs
    begin: Longs
    end: Longs

    @classmethod
    def of(cls, room: Room) -> _Arena:
        rows = np.array(room.rows, dtype=np.int64).reshape(-1, 3)
        begin = np.array(room.offsets, dtype=np.int64)
        return cls(rows[:, 0], rows[:, 1], begin, begin + rows[:, 2])

    def sharing(self, row: int) -> NDArray[np.bool_]:
        """The rows that lie on bytes of this one, itself included."""
        return (self.begin < self.end[row]) & (self.begin[row] < self.end)


def earliest_fetches(plan: Plan, lives: Lifetimes, room: Room) -> dict[int, int]:
    """Position of a page-in → how many of the plan's instructions must stay before it."""
    arena = _Arena.of(room)
    found: dict[int, int] = {}
    for position, (op, value) in enumerate(plan.sequence):
        if op is not Op.PAGE_IN:
            continue
        earliest = 0
        for row in room.rows_of.get(lives.operands[position][value], ()):
            before = arena.sharing(row) & (arena.upper <= position)
            earliest = max(earliest, int(arena.upper[before].max(initial=0)))
        # A place that a drop frees is free after the drop, which is no part of the life that it ends.
        dropped = earliest < position and plan.sequence[earliest].op is Op.DROP
        found[position] = earliest + dropped
    return found


def latest_stores(plan: Plan, lives: Lifetimes, room: Room) -> dict[int, int]:
    """Position of a page-out → the instruction that it must stay before."""
    arena = _Arena.of(room)
    found: dict[int, int] = {}
    for position, (op, value) in enumerate(plan.sequence):
        if op is not Op.PAGE_OUT:
            continue
        latest = len(plan.sequence)
        for row in room.rows_of.get(lives.operands[position][value], ()):
            after = arena.sharing(row) & (arena.lower > position)
            latest = min(latest, int(arena.lower[after].min(initial=latest)))
        found[position] = latest
    return found
