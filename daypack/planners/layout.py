"""Lifetimes to offsets in one arena: several first-fit orders, the best of them kept.

A buffer lives during ``[lower, upper)``; two buffers whose lives meet must not share a byte. The largest
sum of sizes alive at once (``max_load_bytes``) bounds every layout from below. Where no order comes near it,
`near_load` goes on with `layout_eject`, which is for thousands of buffers, and `fit` with `layout_search`,
which is for hundreds that fill an arena to the brim.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.planners.native import library, longs, pointer
from daypack.planners.problem import MAX_BYTES

Longs = NDArray[np.int64]

NEAR = 1.01
"""A layout this near to the load is good enough: the rest would cost more time than it saves memory."""
TRIES, VISITS = 4, 100_000_000
"""Capacities that `near_load` tries at most, and the work for each: a second."""
FEW_VISITS, VISITS_A_PAIR = 20_000_000, 1000
"""Less work for few buffers: so much, and for each pair alive together."""
STRIP, SMALL, MOST_STRIPS = 0.003, 0.01, 32
"""Of the load: what may be lost by laying out the smallest buffers apart from the others, and how large these
may be; and how many sizes are tried for the largest of them.
"""
CLOSE = 1.002
"""Capacities nearer to each other than this are not told apart."""


class LayoutError(SpecError):
    """Buffers that cannot be laid out; the message names the buffer."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """``size_bytes`` of memory that must stay put during ``[lower, upper)``."""

    id: int
    lower: int
    upper: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in the order of the buffers given, the arena they need, and the bound no layout goes below."""

    offsets: tuple[int, ...]
    total_bytes: int
    max_load_bytes: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Buffers as arrays, sizes rounded up to the alignment so that every sum of them is aligned."""

    lower: Longs
    upper: Longs
    size: Longs

    def part(self, chosen: NDArray[np.bool_]) -> Columns:
        """Some of the buffers."""
        return Columns(self.lower[chosen], self.upper[chosen], self.size[chosen])


def lay_out(buffers: Sequence[Buffer], *, alignment_bytes: int = 64) -> Layout:
    """Lay out by the best first-fit order; fast enough for tens of thousands of buffers."""
    check_buffers(buffers, alignment_bytes)
    columns = columns_of(buffers, alignment_bytes)
    bound = max_load(columns)
    offsets = best_first_fit(columns, bound)
    return make_layout(buffers, offsets)


def fit(
    buffers: Sequence[Buffer],
    *,
    capacity_bytes: int | None = None,
    alignment_bytes: int = 64,
    time_limit_s: float = 10.0,
    seed: int = 0,
) -> Layout:
    """First fit, then the search of `layout_search` until the capacity, the load or the time limit is met.

    With a capacity, any layout within it will do; without one the smallest arena found is the answer. The
    result may be above the capacity: the caller decides what that means.
    """
    check_buffers(buffers, alignment_bytes)
    until = time.monotonic() + time_limit_s
    columns = columns_of(buffers, alignment_bytes)
    bound = max_load(columns)
    offsets = best_first_fit(columns, bound if capacity_bytes is None else max(bound, capacity_bytes))
    if time_limit_s > 0:
        offsets = _tighten(columns, offsets, capacity_bytes, until, seed)
    return make_layout(buffers, offsets)


def near_load(
    buffers: Sequence[Buffer],
    *,
    capacity_bytes: int | None = None,
    alignment_bytes: int = 64,
    visits: int = VISITS,
    seed: int = 0,
) -> Layout:
    """A layout of a traced step: first fit where it is `NEAR` the load and within the capacity, or a search.

    The smallest arena found is the answer, be it above the capacity or not. No clock is read: the same
    buffers and seed have the same layout everywhere.
    """
    check_buffers(buffers, alignment_bytes)
    columns = columns_of(buffers, alignment_bytes)
    load = max_load(columns)
    goal = int(NEAR * load)
    if capacity_bytes is not None:
        goal = max(load, min(goal, capacity_bytes))
    offsets = best_first_fit(columns, load)
    if _total(columns, offsets) > goal:
        offsets = _eject(columns, offsets, goal, visits, seed)
    return make_layout(buffers, offsets)


def _eject(columns: Columns, offsets: Longs, goal: int, visits: int, seed: int) -> Longs:
    """Aim at the goal, then between it and what is known to do.

    The smallest buffers lie in a strip of their own above the others, which alone are searched for: there may
    be as many of them as of the others, and they hardly matter.
    """
    from daypack.planners.layout_eject import ejected, neighbours

    small = _smallest(columns)
    few = columns.part(~small)
    near = neighbours(few)
    if near is None:
        return offsets
    visits = min(visits, FEW_VISITS + VISITS_A_PAIR * len(near.list))
    strip = best_first_fit(columns.part(small), 0)
    height = _total(columns.part(small), strip)
    known = best_first_fit(few, goal - height)
    low, high = goal, _total(columns, offsets)
    target = goal
    for attempt in range(TRIES):
        found = known if _total(few, known) <= target - height else None
        if found is None and target - height >= int(few.size.max(initial=0)):
            found = ejected(few, near, known, target - height, visits, seed + attempt)
        if found is None:
            low = target
        else:
            known = found
            offsets = longs(len(columns.size))
            offsets[~small] = known
            offsets[small] = strip + _total(few, known)
            high = _total(columns, offsets)
        if high <= CLOSE * low:
            break
        target = (low + high) // 2
    return offsets


def _smallest(columns: Columns) -> NDArray[np.bool_]:
    """The buffers up to the largest size for which a strip of their own and the load of the others are
    together at most `STRIP` above the load.
    """
    load = max_load(columns)
    sizes = np.unique(columns.size[columns.size <= SMALL * load])
    chosen = columns.size < 0
    for size in sizes[:: 1 + len(sizes) // MOST_STRIPS]:
        small = columns.size <= size
        strip = columns.part(small)
        height = _total(strip, best_first_fit(strip, max_load(strip)))
        if height + max_load(columns.part(~small)) <= (1 + STRIP) * load:
            chosen = small
    return chosen


def _tighten(columns: Columns, offsets: Longs, capacity: int | None, until: float, seed: int) -> Longs:
    """Aim at the capacity, or at the load and then between the load and what is known to do."""
    from daypack.planners.layout_search import Verdict, within

    low, high = max_load(columns), _total(columns, offsets)
    target, patience = (low, 0.5) if capacity is None else (capacity, 1.0)
    while high > (low if capacity is None else capacity) and low < high and time.monotonic() < until:
        now = time.monotonic()
        outcome = within(columns, target, now + (until - now) * patience, seed)
        if outcome.verdict is Verdict.FOUND:
            offsets, high = outcome.offsets, _total(columns, outcome.offsets)
        else:
            low = target + 1
        if capacity is not None:
            break
        target, patience = (low + high) // 2, 0.25
    return offsets


def _total(columns: Columns, offsets: Longs) -> int:
    return int((offsets + columns.size).max(initial=0))


def make_layout(buffers: Sequence[Buffer], offsets: Longs | Sequence[int]) -> Layout:
    """Offsets with the figures that belong to them."""
    ends = [int(offset) + buffer.size_bytes for buffer, offset in zip(buffers, offsets, strict=True)]
    bound = max_load(columns_of(buffers, 1))
    return Layout(tuple(int(offset) for offset in offsets), max(ends, default=0), bound)


def check_buffers(buffers: Sequence[Buffer], alignment_bytes: int) -> None:
    """`LayoutError` for what cannot be a buffer."""
    if alignment_bytes < 1:
        raise LayoutError(f"alignment_bytes must be at least 1, found {alignment_bytes}")
    seen: set[int] = set()
    total = 0
    for buffer in buffers:
        if buffer.id in seen:
            raise LayoutError(f"buffer {buffer.id}: the id is used twice; ids must differ")
        seen.add(buffer.id)
        if not 0 <= buffer.lower < buffer.upper:
            raise LayoutError(
                f"buffer {buffer.id}: its life must be 0 <= lower < upper, found lower {buffer.lower}, "
                f"upper {buffer.upper}"
            )
        if buffer.size_bytes < 0:
            raise LayoutError(f"buffer {buffer.id}: size must be at least 0, found {buffer.size_bytes}")
        total += buffer.size_bytes + alignment_bytes
        if max(total, buffer.upper) >= MAX_BYTES:
            raise LayoutError(f"buffer {buffer.id}: sizes together and lifetimes must stay below 2^62")


def columns_of(buffers: Sequence[Buffer], alignment_bytes: int) -> Columns:
    """The buffers as arrays."""
    rows = np.array([(b.lower, b.upper, b.size_bytes) for b in buffers], dtype=np.int64).reshape(-1, 3)
    size = rows[:, 2] + (-rows[:, 2] % alignment_bytes)
    lower, upper = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    return Columns(lower, upper, np.ascontiguousarray(size))


def max_load(columns: Columns) -> int:
    """The largest sum of sizes alive at one moment."""
    if len(columns.size) == 0:
        return 0
    times = np.concatenate([columns.upper, columns.lower])
    change = np.concatenate([-columns.size, columns.size])
    return max(0, int(np.cumsum(change[np.argsort(times, kind="stable")]).max()))


def best_first_fit(columns: Columns, bound: int) -> Longs:
    """The offsets of the first order that meets the bound, or else of the best order."""
    best = np.zeros(0, dtype=np.int64)
    best_total = -1
    for order in first_fit_orders(columns):
        offsets = _first_fit(columns, order)
        total = _total(columns, offsets)
        if best_total < 0 or total < best_total:
            best, best_total = offsets, total
        if best_total <= bound:
            break
    return best


def _first_fit(columns: Columns, order: Longs) -> Longs:
    placed, offsets = longs(len(order)), longs(len(order))
    arrays = (order, columns.lower, columns.upper, columns.size, placed, offsets)
    library().first_fit(ctypes.c_int64(len(order)), *map(pointer, arrays))
    return offsets


def first_fit_orders(columns: Columns) -> Iterator[Longs]:
    """Orders of placement, the ones that do best on training graphs first; ties by position."""
    length = columns.upper - columns.lower
    size, lower, upper = columns.size, columns.lower, columns.upper
    area = length.astype(np.float64) * size
    keys: list[tuple[NDArray[np.int64] | NDArray[np.float64], ...]] = [
        (-length, -size),
        (-area, -size),
        (-size, -length),
        (lower, -length),
        (lower, -size),
        (-upper, -length),
        (-upper, -size),
        (-length, lower),
        (-size, lower),
    ]
    for first, second in keys:
        yield np.lexsort((second, first)).astype(np.int64)
