"""A local search for layouts of thousands of buffers: runs of one compiled ejection search.

The search is described in ``native/eject.c``. It places the buffers one by one, the one that is thought
hardest first; what is in the way is taken out and waits again, and weights learn what is hard. The idea is
that of guided ejection search (Nagata and Bräysy, Operations Research Letters 37, 2009: routes for vehicles);
here one place is computed exactly for each step, the one whose occupants weigh least.

A run is limited in work, never in time, so a seed always finds the same layout.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daypack.planners.layout import Columns
from daypack.planners.native import library, longs, structure

Longs = NDArray[np.int64]

MAX_BUFFERS, MAX_UNITS = 1 << 24, 1 << 38
"""Buffers, and units of size within a capacity, above which the search is not tried: the bits of an event."""
MAX_PAIRS = 30_000_000
"""Pairs of buffers alive together above which the search is not tried: their list takes 4 bytes a pair."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What a run takes for hard.

    Exponents of size in the first weights, and of size and of length in what says who comes first; the 64ths
    by which the weight of a buffer grows when it takes others out; whether the run begins with what lies
    within the capacity in a layout that is known, or with nothing; the exponent of the largest load in a
    buffer's life in what says who comes first.
    """

    heavy: float
    large: float
    long: float
    growth: int
    warm: bool = False
    full: float = 0.0


TASTES = (
    Taste(0.0, 0.0, 1.0, 16),
    Taste(1.0, 1.0, 0.0, 16, warm=True, full=20.0),
    Taste(1.0, 1.0, 0.0, 16),
    Taste(1.0, 1.0, 0.0, 2, warm=True),
    Taste(1.0, 1.0, 0.0, 16, warm=True),
    Taste(1.0, 1.0, 0.0, 2, full=20.0),
    Taste(1.0, 0.0, 1.0, 16),
    Taste(1.0, 0.0, 1.0, 16, warm=True),
)
"""In the order of their success on traced steps."""

JITTER = 0.3
"""Share by which weights and priorities differ from run to run."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each buffer those with a size that live while it does: ``list[start[b]:start[b + 1]]``."""

    start: Longs
    list: NDArray[np.int32]


def neighbours(columns: Columns) -> Neighbours | None:
    """The buffers alive together; None where there are too many pairs."""
    found: list[NDArray[np.int32]] = []
    start = longs(len(columns.size) + 1)
    sized = columns.size > 0
    for buffer, (lower, upper) in enumerate(zip(columns.lower, columns.upper, strict=True)):
        together = sized & (columns.lower < upper) & (lower < columns.upper)
        together[buffer] = False
        found.append(np.flatnonzero(together).astype(np.int32) if sized[buffer] else np.zeros(0, np.int32))
        start[buffer + 1] = start[buffer] + len(found[-1])
        if start[buffer + 1] > MAX_PAIRS:
            return None
    return Neighbours(start, np.concatenate([np.zeros(0, np.int32), *found]))


def ejected(
    columns: Columns, near: Neighbours, begin: Longs, capacity: int, max_visits: int, seed: int
) -> Longs | None:
    """Offsets within the capacity, which is at least every size; None if the work did not do.

    `begin` is a layout that is known. `max_visits` counts looks at a neighbour, of which some hundred million
    take a second.
    """
    unit = math.gcd(*map(int, columns.size)) or 1
    if len(columns.size) > MAX_BUFFERS or capacity // unit > MAX_UNITS:
        return None
    rng = np.random.default_rng(seed)
    for taste in TASTES:
        offsets = begin.copy() if taste.warm else longs(len(columns.size))
        placed = (columns.size == 0) | taste.warm & (begin + columns.size <= capacity)
        search = _search(columns, near, capacity, taste, offsets, placed, rng)
        if not _run(search, max_visits // len(TASTES)):
            return offsets
    return None


def _run(search: ctypes.Structure, max_visits: int) -> int:
    function = library().eject
    function.restype = ctypes.c_int64
    waiting: int = function(ctypes.byref(search), ctypes.c_int64(max_visits))
    return waiting


def _search(
    columns: Columns,
    near: Neighbours,
    capacity: int,
    taste: Taste,
    offsets: Longs,
    placed: NDArray[np.bool_],
    rng: np.random.Generator,
) -> ctypes.Structure:
    """``struct eject``."""
    count = len(columns.size)
    lives = columns.upper - columns.lower
    size = columns.size / max(1, columns.size.max(initial=1))
    length = lives / max(1, lives.max(initial=1))
    jitter = 1 + JITTER * rng.random(count)
    first = size**taste.large * length**taste.long * jitter
    if taste.full:
        first *= fullest(columns) ** taste.full
    by_rank = np.argsort(-first, kind="stable").astype(np.int64)
    rank = longs(count)
    rank[by_rank] = np.arange(count)
    return structure(
        {
            "buffers": count,
            "capacity": capacity,
            "seed": int(rng.integers(1, 2**31)),
            "growth": taste.growth,
            "unit": math.gcd(*map(int, columns.size)) or 1,
        },
        {
            "size": columns.size,
            "near_start": near.start,
            "near_list": near.list,
            "rank": rank,
            "by_rank": by_rank,
            "weight": 1 + np.floor(20 * size**taste.heavy * jitter).astype(np.int64),
            "placed": placed.astype(np.uint8),
            "offsets": offsets,
            "waiting": np.zeros(count // 64 + 1, dtype=np.uint64),
            "events": longs(2 * count),
            "sorted": longs(2 * count),
        },
    )


def fullest(columns: Columns) -> NDArray[np.float64]:
    """The largest load in the life of each buffer, by the largest of all."""
    times = np.unique(np.concatenate([columns.lower, columns.upper]))
    first, end = np.searchsorted(times, columns.lower), np.searchsorted(times, columns.upper)
    change = np.zeros(len(times), dtype=np.int64)
    np.add.at(change, first, columns.size)
    np.add.at(change, end, -columns.size)
    load = np.cumsum(change) / max(1, int(np.cumsum(change).max(initial=1)))
    return np.array([load[a:b].max() for a, b in zip(first, end, strict=True)])
