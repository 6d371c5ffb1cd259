"""Where the engine keeps a window that is under way, so that a stop does not cost what is done of it.

After a shard the engine may write out what the rest of the window needs: sums of gradients and of the loss
between two micro-steps, activations too within one. What the setup or a fetch brings again is not written.
Nothing can be kept once a page of the next generation was stored, nor while something waits in the swap,
which goes with the process.

Which of the places are worth it: stops come at random, one in `STOP_EVERY_S` of work, and a stop costs the
work since the last place kept. Keeping costs the writing. The places with the least expected loss are found
exactly, by dynamic programming over the shards; where a shard is short and all places cost alike that is
Young's interval, sqrt(2 × cost of keeping × time between stops). (J. W. Young, A first order approximation to
the optimum checkpoint interval, CACM 1974.) What is written wears the flash: the price rises until a window
keeps no more than its share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STOP_EVERY_S = 1800.0
"""Seconds of training between two stops (assumed: the owner takes up the phone about twice an hour)."""
KEEP_S = 0.002
"""Seconds of making a file and renaming it (assumed)."""
WEAR_SHARE = 0.01
"""Of the flash's endurance, what a year of training eight hours a day may write to keep windows."""
YEAR_S = 365 * 8 * 3600.0
RECORD_BYTES, RECORD_BYTES_A_NODE = 16_000, 40
"""Room for the records of kept places in the plan's file: the memory account takes it for more than it is."""
GROWTH = 2.0
PLACES = 2000
"""Most places that are weighed; of more the smallest are."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What keeping costs on a device, and what of it a window may do.

    `state_bytes`: of the whole state; a window may keep as much. `written_bytes`: limit of what a window
    writes, of which `already_bytes` go to its transfers and to saving; None: no limit but wear. `saves_each`:
    the state is saved every step, so what a window starts from is on disk.
    """

    write_bytes_per_s: float
    endurance_bytes: float = 0.0
    state_bytes: int = 0
    written_bytes: int | None = None
    already_bytes: int = 0
    saves_each: bool = True

    def allowed_bytes(self, seconds: float) -> float:
        """Of a window that takes so long."""
        wear = max(float(self.state_bytes), WEAR_SHARE * self.endurance_bytes / YEAR_S * seconds)
        if self.written_bytes is None:
            return wear
        return min(wear, max(0.0, float(self.written_bytes - self.already_bytes)))


@dataclass(frozen=True, slots=True)
class Kept:
    """A place where the window can be kept: ranges (offset, bytes) to write, and rows to fetch again."""

    ranges: tuple[tuple[int, int], ...]
    fetched_rows: frozenset[int]

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size in self.ranges)

    @property
    def record_bytes(self) -> int:
        """In the plan's file, the instruction and its operands."""
        return 32 + 16 * len(self.ranges) + 8 * len(self.fetched_rows)


@dataclass(frozen=True, slots=True)
class Contents:
    """The rows of a layout as a stop leaves them. Times are indices of plan instructions.

    `rows`: (first, end, bytes). `restored`: rows that the setup fills, as long as nothing changes them.
    `fetched`: those that a fetch of the weights or the state fills. `changed`: when a row that holds what a
    file also has first differs from it. `barred`: half-open spans of places that cannot be kept.
    """

    rows: Sequence[tuple[int, int, int]]
    offsets: Sequence[int]
    restored: frozenset[int]
    fetched: frozenset[int]
    changed: Mapping[int, int]
    barred: Sequence[tuple[int, int]]

    def at(self, place: int) -> Kept | None:
        """What is to be kept between the instructions `place` - 1 and `place`; None where nothing can be."""
        if any(first <= place < end for first, end in self.barred):
            return None
        alive = [n for n, (first, end, size) in enumerate(self.rows) if size and first < place < end]
        true = [n for n in alive if self.changed.get(n, place) >= place]
        again = frozenset(n for n in true if n in self.fetched)
        there = again | {n for n in true if n in self.restored}
        kept = _joined((self.offsets[n], self.rows[n][2]) for n in alive if n not in there)
        return Kept(kept, again) if kept else None


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges that touch become one."""
    joined: list[tuple[int, int]] = []
    for offset, size in sorted(ranges):
        if joined and sum(joined[-1]) == offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + size)
        else:
            joined.append((offset, size))
    return tuple(joined)


def suspends(
    contents: Contents, places: Sequence[int], seconds: Sequence[float], keeping: Keeping
) -> dict[int, Kept]:
    """Of the places between shards those worth keeping. `seconds[t]`: when instruction `t` is done."""
    if not keeping.saves_each or not len(seconds):
        return {}
    whole = seconds[-1]
    found = {place: contents.at(place) for place in places if 0 < place < len(seconds)}
    kept = {place: one for place, one in found.items() if one is not None}
    if len(kept) > PLACES:
        smallest = sorted(kept, key=lambda place: kept[place].size_bytes)[:PLACES]
        kept = {place: kept[place] for place in sorted(smallest)}
    times = np.array([seconds[place - 1] for place in kept], np.float64)
    sizes = np.array([(one.size_bytes, one.record_bytes) for one in kept.values()], np.float64)
    most = (keeping.allowed_bytes(whole), RECORD_BYTES + RECORD_BYTES_A_NODE * len(seconds))
    costs = KEEP_S + sizes.reshape(-1, 2)[:, 0] / keeping.write_bytes_per_s
    while True:
        chosen = least_loss(times, costs, whole)
        if not chosen or bool((sizes[chosen].sum(axis=0) <= most).all()):
            return {place: one for n, (place, one) in enumerate(kept.items()) if n in chosen}
        costs = costs * GROWTH


def least_loss(times: Doubles, costs: Doubles, whole_s: float) -> list[int]:
    """The places whose costs and expected loss are least together; both in seconds.

    A stop in the `d` seconds between two kept places has the probability d / `STOP_EVERY_S` and loses d / 2.
    """
    ends = np.concatenate([[0.0], times, [whole_s]])
    best = np.zeros(len(ends))
    before = np.zeros(len(ends), np.int64)
    paid = np.concatenate([[0.0], costs, [0.0]])
    for n in range(1, len(ends)):
        totals = best[:n] + (ends[n] - ends[:n]) ** 2 / (2 * STOP_EVERY_S) + paid[n]
        before[n] = totals.argmin()
        best[n] = totals[before[n]]
    chosen: list[int] = []
    n = int(before[-1])
    while n > 0:
        chosen.append(n - 1)
        n = int(before[n])
    return chosen[::-1]
