"""Why a value was away: the sums by hand."""

from __future__ import annotations

import numpy as np

from daypack.report.reasons import Absence, Cause, Means, absences, in_words, reasons
from daypack.report.record import Record


def size(size_bytes: int) -> str:
    return f"{size_bytes} B"


def test_the_plan_by_hand(record: Record) -> None:
    found = absences(record.schedule.problem, record.time)
    again, back, between = sorted(found, key=lambda a: (a.node != 2, not a.from_start))
    assert (again.node, again.means, again.spans, again.back) == (2, Means.RECOMPUTED, ((4, 8),), 8)
    assert (again.seconds, again.read_bytes, again.written_bytes) == (1.0, 0, 0)
    assert (between.node, between.means, between.spans, between.back) == (0, Means.PAGED, ((3, 5),), 5)
    assert (between.seconds, between.read_bytes, between.written_bytes) == (1.0, 100, 0)
    assert (back.node, back.spans, back.from_start, back.back) == (0, ((10, 14),), True, 0)


def test_the_reasons_by_hand(record: Record) -> None:
    found = absences(record.schedule.problem, record.time)
    why = reasons(found, record.time.live_bytes, 210)
    said = {(a.node, a.back): in_words(a, r, 210, size) for a, r in zip(found, why, strict=True)}
    assert said == {
        (2, 8): "Keeping it until instruction 8 would have taken the memory to 255 B at instruction 6, "
        "45 B over the budget.",
        (0, 5): "Keeping it until instruction 5 would have taken the memory to 245 B at instruction 3, "
        "35 B over the budget.",
        (0, 0): "Keeping it for the whole step would have fitted, 15 B under the budget, even with all that "
        "were away at the same time: the planner gave it up without need.",
    }


def absence(node: int, low: int, high: int, size_bytes: int) -> Absence:
    return Absence(node, Means.RECOMPUTED, ((low, high),), high, False, size_bytes, 1.0, 0, 0)


def test_several_that_fit_alone_and_not_together() -> None:
    live = np.array([10, 50, 60, 40, 10])
    found = [absence(0, 1, 4, 30), absence(1, 2, 3, 20), absence(2, 3, 5, 5)]
    why = reasons(found, live, 95)
    assert [r.cause for r in why] == [Cause.TOGETHER_TOO_MUCH, Cause.TOGETHER_TOO_MUCH, Cause.WOULD_FIT]
    assert (why[0].alone_bytes, why[0].alone_at) == (90, 2)
    assert (why[0].together_bytes, why[0].together_at, why[0].together) == (110, 2, 2)
    assert in_words(found[0], why[0], 95, size) == (
        "Keeping it alone until instruction 4 would have fitted, 5 B under the budget; keeping all 2 values "
        "away at instruction 2 would have taken the memory to 110 B, 15 B over."
    )


def test_one_byte_decides() -> None:
    live = np.array([10, 50, 10])
    (over,) = reasons([absence(0, 1, 2, 30)], live, 79)
    (within,) = reasons([absence(0, 1, 2, 30)], live, 80)
    assert (over.cause, within.cause) == (Cause.ALONE_TOO_MUCH, Cause.WOULD_FIT)


def test_without_a_budget_nothing_is_claimed(record: Record) -> None:
    found = absences(record.schedule.problem, record.time)
    why = reasons(found, record.time.live_bytes, None)
    assert {r.cause for r in why} == {Cause.NO_BUDGET}
    assert in_words(found[0], why[0], None, size) == "The bundle has no budget; the planner chose this."
