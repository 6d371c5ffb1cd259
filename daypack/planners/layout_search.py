"""The search for tight layouts: restarts of one compiled depth-first search, each with another taste.

The plateau search itself is described in ``native/layout_search.c``. What one restart learns about the
sections that make it fail is kept for the next. Ideas from MiniMalloc (sections, a canonical bottom-up
form; Moffitt, ASPLOS 2023) and TelaMalloc (learn where it fails); unlike both, the search branches on the
most constrained place, not buffer.

A restart is limited in nodes, never in time: the same seed tries the same restarts, and only the number of
them depends on the clock.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.planners.layout import Columns
from daypack.planners.native import library, longs, structure

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

MAX_CELLS = 4_000_000
"""Buffers times sections above which the search is not tried: its stack would not fit in memory."""

_TASTES = ((1.0, 0.0), (0.0, 1.0), (1.0, 0.5), (0.5, 1.0), (1.0, 1.0))
"""Exponents of length and size in the score that orders a place's buffers."""

_MANNERS = ((False, True), (True, True), (False, False))
"""Whether a restart is thorough, and whether it learns from the restarts before it."""

_FOUND, _IMPOSSIBLE = 1, 0
"""What ``layout_search`` in C returns; -1 is undecided."""

_NODES = 500
"""Nodes of a restart, times the Luby sequence."""

_WORK_PER_RESTART = 3e8
"""Bound on nodes times sections visited in a node: keeps a restart well under a second."""


class Verdict(Enum):
    """What a search for one capacity ended with."""

    FOUND = "found"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, with the offsets if there is a layout."""

    verdict: Verdict
    offsets: Longs


@dataclass(frozen=True, slots=True)
class _Sections:
    """The buffers that have a size, their lives as section indices, and each section's load and members."""

    members: Longs
    lower: Longs
    upper: Longs
    size: Longs
    load: Longs
    alive_start: Longs
    alive: Longs


def within(columns: Columns, capacity: int, until: float, seed: int) -> Outcome:
    """Search for a layout of at most ``capacity`` until the clock (`time.monotonic`) passes ``until``."""
    nothing = np.zeros(0, dtype=np.int64)
    cut = _cut(columns)
    slack = capacity - cut.load
    if slack.min(initial=0) < 0:
        return Outcome(Verdict.IMPOSSIBLE, nothing)
    if len(cut.members) * len(cut.load) > MAX_CELLS:
        return Outcome(Verdict.UNDECIDED, nothing)
    arrays = _arrays(cut, slack)
    search = structure({"buffers": len(cut.members), "sections": len(cut.load), "capacity": capacity}, arrays)
    learned = {thorough: np.ones(len(cut.load), dtype=np.float64) for thorough in (False, True)}
    for score, thorough, learns, max_nodes in _restarts(cut, seed):
        if time.monotonic() >= until:
            break
        arrays["placed"][:] = 0
        arrays["score"][:] = score
        arrays["blame"][:] = learned[thorough] if learns else 1.0
        arrays["height"][: len(slack)] = 0
        arrays["slack"][: len(slack)] = slack
        arrays["closed"][: len(slack)] = 0
        result = _run(search, max_nodes, thorough)
        if result == _FOUND:
            return Outcome(Verdict.FOUND, _whole(columns, cut, arrays["offsets"]))
        if result == _IMPOSSIBLE:
            return Outcome(Verdict.IMPOSSIBLE, nothing)
        if learns:
            learned[thorough] = arrays["blame"] / arrays["blame"].max() + 0.1
    return Outcome(Verdict.UNDECIDED, nothing)


def _run(search: ctypes.Structure, max_nodes: int, thorough: bool) -> int:
    function = library().layout_search
    function.restype = ctypes.c_int64
    result: int = function(ctypes.byref(search), ctypes.c_int64(max_nodes), ctypes.c_int64(thorough))
    return result


def _arrays(cut: _Sections, slack: Longs) -> dict[str, NDArray[Any]]:
    """The arrays of ``struct search``, in its order."""
    buffers, sections = len(cut.members), len(slack)
    depths = buffers + sections + 2
    return {
        "lower": cut.lower,
        "upper": cut.upper,
        "size": cut.size,
        "score": np.zeros(buffers, dtype=np.float64),
        "alive_start": cut.alive_start,
        "alive_list": cut.alive,
        "blame": np.ones(sections, dtype=np.float64),
        "height": longs(depths * sections),
        "slack": longs(depths * sections),
        "closed": np.zeros(depths * sections, dtype=np.uint8),
        "choices": longs(depths * (buffers + 1)),
        "choice_count": longs(depths),
        "next_choice": longs(depths),
        "chosen_section": longs(depths),
        "placed": np.zeros(buffers, dtype=np.uint8),
        "fitting": np.zeros(buffers, dtype=np.uint8),
        "usable": np.zeros(sections, dtype=np.uint8),
        "end": longs(sections),
        "count": longs(sections),
        "rest": longs(buffers),
        "sorted_rest": longs(buffers),
        "sorted_size": longs(buffers),
        "offsets": longs(buffers),
    }


def _cut(columns: Columns) -> _Sections:
    members = np.flatnonzero(columns.size > 0)
    lower, upper, size = columns.lower[members], columns.upper[members], columns.size[members]
    times = np.unique(np.concatenate([lower, upper]))
    first, last = np.searchsorted(times, lower), np.searchsorted(times, upper)
    change = np.zeros(len(times), dtype=np.int64)
    np.add.at(change, first, size)
    np.add.at(change, last, -size)
    load = np.cumsum(change)[:-1] if len(times) else change
    order = [np.flatnonzero((first <= section) & (section < last)) for section in range(len(load))]
    start = np.concatenate([[0], np.cumsum([len(alive) for alive in order])]).astype(np.int64)
    alive = np.concatenate([np.zeros(0, dtype=np.int64), *order]).astype(np.int64)
    return _Sections(members, first, last, size, load, start, alive)


def _restarts(cut: _Sections, seed: int) -> Iterator[tuple[Doubles, bool, bool, int]]:
    rng = np.random.default_rng(seed)
    length = (cut.upper - cut.lower).astype(np.float64)
    size = cut.size / max(1, cut.size.max(initial=1))
    per_node = len(cut.load) + float(length.sum())
    ceiling = max(1000, int(_WORK_PER_RESTART / max(1.0, per_node)))
    for round_number in count(1):
        max_nodes = min(_NODES * luby(round_number), ceiling)
        for (long, large), (thorough, learns) in product(_TASTES, _MANNERS):
            score = length**long * size**large * (1.0 + rng.random(len(size)))
            yield score, thorough, learns, max_nodes


def luby(index: int) -> int:
    """The Luby sequence 1 1 2 1 1 2 4 …, from index 1: restarts whose lengths suit any distribution of
    luck."""
    power = index.bit_length()
    if index == (1 << power) - 1:
        return 1 << (power - 1)
    return luby(index - (1 << (power - 1)) + 1)


def _whole(columns: Columns, cut: _Sections, offsets: Longs) -> Longs:
    whole = np.zeros(len(columns.size), dtype=np.int64)
    whole[cut.members] = offsets
    return whole
