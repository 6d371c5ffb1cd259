"""What is in memory when, and when each instruction runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from daypack.compiler.schedule_file import ScheduleFile
from daypack.errors import BundleError
from daypack.planners.cost import seconds
from daypack.planners.evict import evict
from daypack.planners.plan import PlanOptions
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.report.record import walked
from daypack.report.timeline import Action, timeline


def test_the_plan_by_hand(schedule: ScheduleFile) -> None:
    time = timeline(schedule.problem, schedule.plan)
    assert list(time.live_bytes) == [115, 165, 165, 145, 75, 175, 205, 145, 195, 195, 85, 95, 45, 15]
    assert (time.peak_bytes, time.peak_at, time.seconds) == (205, 6, 8.0)
    lanes = [(m.action, m.start_s, m.end_s) for m in time.moments if m.action is not Action.DROP]
    assert lanes == [
        (Action.PAGE_IN, 0, 1),
        (Action.COMPUTE, 1, 2),
        (Action.PAGE_OUT, 2, 2),
        (Action.COMPUTE, 2, 4),
        (Action.PAGE_IN, 4, 5),
        (Action.COMPUTE, 5, 6),
        (Action.RECOMPUTE, 6, 7),
        (Action.PAGE_OUT, 7, 7),
        (Action.COMPUTE, 7, 8),
    ]
    assert [(s.node, s.start, s.end, s.uses) for s in time.stays if s.node in (0, 2)] == [
        (0, 0, 3, [1]),
        (2, 1, 4, [3]),
        (0, 5, 10, [6, 8]),
        (2, 8, 12, [11]),
    ]


def chain(layers: int) -> Problem:
    """Layers forward and backward, each with a weight on flash, and an update in place at the end."""
    nodes: list[Node] = [Node(0, "x", 0.0, 8, kind=NodeKind.SOURCE)]
    for n in range(layers):
        nodes.append(Node(len(nodes), f"w{n}", 0.0, 64, kind=NodeKind.SOURCE))
    forward = [0]
    for n in range(layers):
        nodes.append(Node(len(nodes), f"a{n}", 1.0 + n, 32, 4, (forward[-1], 1 + n)))
        forward.append(nodes[-1].id)
    back = forward[-1]
    for n in reversed(range(layers)):
        nodes.append(Node(len(nodes), f"d{n}", 2.0, 16, 8, (forward[n], 1 + n, back)))
        back = nodes[-1].id
    nodes.append(Node(len(nodes), "new x", 0.5, 8, 0, (back,), overwrites=0))
    weights = frozenset(range(1, layers + 1))
    return Problem(tuple(nodes), weights | {nodes[-1].id}, 10, Paging(100.0, 50.0, 16, weights))


@pytest.mark.parametrize("share", [1.0, 0.8, 0.6, 0.5])
def test_peak_and_seconds_are_the_planners_own(share: float) -> None:
    problem = chain(8)
    whole = evict(problem, 2**40, PlanOptions()).peak_bytes
    plan = evict(problem, int(share * whole), PlanOptions())
    time = timeline(problem, plan)
    assert time.peak_bytes == plan.peak_bytes
    assert math.isclose(time.seconds, seconds(problem, plan.sequence))
    if share < 0.7:
        assert Action.PAGE_IN in {m.action for m in time.moments}


def test_lanes_never_overlap_themselves() -> None:
    plan = evict(chain(8), 400, PlanOptions())
    moments = timeline(chain(8), plan).moments
    for lane in ((Action.COMPUTE, Action.RECOMPUTE), (Action.PAGE_IN, Action.PAGE_OUT)):
        runs = [m for m in moments if m.action in lane and m.seconds > 0]
        assert runs
        assert all(a.end_s <= b.start_s for a, b in zip(runs, runs[1:], strict=False))


def test_a_plan_with_another_peak_than_it_says_is_refused(schedule: ScheduleFile) -> None:
    wrong = replace(schedule, plan=replace(schedule.plan, peak_bytes=204))
    with pytest.raises(BundleError, match="says a peak of 204 bytes, counted 205"):
        walked(wrong, Path("b/schedule.json"))
    lost = replace(schedule, plan=replace(schedule.plan, sequence=schedule.plan.sequence[2:]))
    with pytest.raises(BundleError, match="uses value 2 while it is not in memory"):
        walked(lost, Path("b/schedule.json"))
