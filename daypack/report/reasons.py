"""Why a value was recomputed or paged: what keeping it would have done to the memory, computed.

A value is away from the instruction that sent it off until the one that brings it back. Keeping it adds its
bytes to everything that is live meanwhile; where the largest such sum is over the budget, that is the reason.
Where one value alone would have fitted, all that were away at the same moment are counted together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from daypack.planners.problem import Problem
from daypack.planners.schedule import origin
from daypack.report.timeline import Action, Array, Stay, Timeline


class Means(StrEnum):
    """How a value that was given up comes back."""

    RECOMPUTED = "recomputed"
    PAGED = "paged"


class Cause(StrEnum):
    """What keeping the value would have come to."""

    ALONE_TOO_MUCH = "alone too much"
    TOGETHER_TOO_MUCH = "together too much"
    WOULD_FIT = "would fit"
    NO_BUDGET = "no budget"


@dataclass(frozen=True, slots=True)
class Absence:
    """One time that a value was away: over every interval of `spans`, half-open, in instructions.

    `back` brings it back; `from_start`: it lay on flash when the window began, where it ends again. `seconds`
    is what recomputing or moving it takes on its lane.
    """

    node: int
    means: Means
    spans: tuple[tuple[int, int], ...]
    back: int
    from_start: bool
    size_bytes: int
    seconds: float
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Reason:
    """What keeping would have come to: the most memory if the value alone had stayed, at instruction
    `alone_at`; and if all `together` values away at `together_at` had stayed.
    """

    cause: Cause
    alone_bytes: int
    alone_at: int
    together_bytes: int
    together_at: int
    together: int


def absences(problem: Problem, time: Timeline) -> tuple[Absence, ...]:
    """Every absence, the dearest first."""
    by_value: dict[int, list[Stay]] = {}
    for stay in time.stays:
        by_value.setdefault(stay.node, []).append(stay)
    last = {origin(problem, stay.node): stay for stay in time.stays}
    found: list[Absence] = []
    for value, stays in by_value.items():
        if problem.is_source(value) and stays[0].opened_by is not None:
            found.append(_absence(problem, time, last[value], stays[0], from_start=True))
        for before, after in zip(stays, stays[1:], strict=False):
            found.append(_absence(problem, time, before, after, from_start=False))
    return tuple(sorted(found, key=lambda a: (-a.seconds, -a.size_bytes, a.node, a.spans)))


def _absence(problem: Problem, time: Timeline, before: Stay, after: Stay, *, from_start: bool) -> Absence:
    end = len(time.moments)
    spans = ((0, after.start), (before.end, end)) if from_start else ((before.end, after.start),)
    back = after.opened_by if after.opened_by is not None else after.start
    brought = time.moments[back]
    sent = None if before.closed_by is None else time.moments[before.closed_by]
    written = sent is not None and sent.action is Action.PAGE_OUT and sent.seconds > 0
    size = problem.nodes[after.node].size_bytes
    paged = brought.action is Action.PAGE_IN
    return Absence(
        node=after.node,
        means=Means.PAGED if paged else Means.RECOMPUTED,
        spans=tuple((low, high) for low, high in spans if low < high),
        back=back,
        from_start=from_start,
        size_bytes=size,
        seconds=brought.seconds + (sent.seconds if sent is not None and written else 0.0),
        read_bytes=size if paged else 0,
        written_bytes=size if written else 0,
    )


def reasons(found: Sequence[Absence], live_bytes: Array, budget_bytes: int | None) -> tuple[Reason, ...]:
    """The reason of each absence."""
    away = np.zeros(len(live_bytes) + 1, np.int64)
    count = np.zeros(len(live_bytes) + 1, np.int64)
    for absence in found:
        for low, high in absence.spans:
            away[low] += absence.size_bytes
            away[high] -= absence.size_bytes
            count[low] += 1
            count[high] -= 1
    all_kept = live_bytes + np.cumsum(away)[:-1]
    counts = np.cumsum(count)[:-1]
    return tuple(_reason(a, live_bytes, all_kept, counts, budget_bytes) for a in found)


def _reason(
    absence: Absence, live_bytes: Array, all_kept: Array, counts: Array, budget_bytes: int | None
) -> Reason:
    spans = absence.spans or ((0, len(live_bytes)),)  # brought at the first instruction and kept to the last
    alone, alone_at = _most(live_bytes, spans)
    together, together_at = _most(all_kept, spans)
    alone += absence.size_bytes if absence.spans else 0
    if budget_bytes is None:
        cause = Cause.NO_BUDGET
    elif alone > budget_bytes:
        cause = Cause.ALONE_TOO_MUCH
    else:
        cause = Cause.TOGETHER_TOO_MUCH if together > budget_bytes else Cause.WOULD_FIT
    return Reason(cause, alone, alone_at, together, together_at, int(counts[together_at]))


def _most(values: Array, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest value within the spans, and where."""
    places = [low + int(values[low:high].argmax()) for low, high in spans]
    place = max(places, key=lambda p: int(values[p]))
    return int(values[place]), place


def in_words(absence: Absence, reason: Reason, budget_bytes: int | None, size: Callable[[int], str]) -> str:
    """The reason as a sentence; `size` writes bytes."""
    if budget_bytes is None:
        return "The bundle has no budget; the planner chose this."
    whole = "for the whole step" if absence.from_start else f"until instruction {absence.back}"
    if reason.cause is Cause.ALONE_TOO_MUCH:
        return (
            f"Keeping it {whole} would have taken the memory to {size(reason.alone_bytes)} at instruction "
            f"{reason.alone_at}, {size(reason.alone_bytes - budget_bytes)} over the budget."
        )
    under = size(budget_bytes - reason.alone_bytes)
    if reason.cause is Cause.TOGETHER_TOO_MUCH:
        return (
            f"Keeping it alone {whole} would have fitted, {under} under the budget; keeping all "
            f"{reason.together} values away at instruction {reason.together_at} would have taken the memory "
            f"to {size(reason.together_bytes)}, {size(reason.together_bytes - budget_bytes)} over."
        )
    return (
        f"Keeping it {whole} would have fitted, {under} under the budget, even with all that were away at "
        "the same time: the planner gave it up without need."
    )
