"""Transfers moved beside the computing: valid plans of the same work, within the same memory."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daypack.planners.layout import Layout, lay_out, make_layout
from daypack.planners.lifetimes import Lifetimes, lifetimes
from daypack.planners.overlap import fetched_earlier, lean, settled, stored_later
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.room import Room, earliest_fetches, latest_stores
from daypack.planners.schedule import complete, origin, resident_at_start
from daypack.planners.validate import InvalidPlan, validate_layout, validate_plan
from tests.paging.plans import least_memory, page_all
from tests.planners.generated import problems


def valid(problem: Problem, plan: Plan) -> bool:
    try:
        validate_plan(problem, plan, plan.peak_bytes)
    except InvalidPlan:
        return False
    return True


def overlapped(problem: Problem, plan: Plan, memory_bytes: int) -> Plan:
    return stored_later(problem, fetched_earlier(problem, plan, memory_bytes), memory_bytes)


@settings(max_examples=300, deadline=None)
@given(problems())
def test_the_leanest_plan_is_valid_and_the_same_work_in_no_more_memory(problem: Problem) -> None:
    plan = page_all(problem, least_memory(problem) + 5)
    if not valid(problem, plan):
        return
    plan = settled(problem, plan)
    spread = overlapped(problem, plan, plan.peak_bytes + 1000)
    for given_plan in (plan, spread):
        leanest = lean(problem, given_plan)
        validate_plan(problem, leanest, plan.peak_bytes)
        assert computes(leanest) == computes(plan)
        assert Counter(leanest.sequence) == Counter(plan.sequence)
        assert leanest.cost == plan.cost
        assert lean(problem, leanest).sequence == leanest.sequence


@settings(max_examples=300, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_transfers_spread_only_where_their_place_is_free(problem: Problem, random: Random) -> None:
    plan = page_all(problem, least_memory(problem))
    if not valid(problem, plan):
        return
    plan = lean(problem, settled(problem, plan))
    lives = lifetimes(problem, plan)
    layout = lay_out(lives.buffers, alignment_bytes=1)
    memory_bytes = plan.peak_bytes + random.choice((0, 7, 1000))
    earlier = fetched_earlier(
        problem, plan, memory_bytes, earliest_fetches(plan, lives, room_of(lives, layout))
    )
    lives, layout = same_places(problem, plan, earlier, layout)
    later = stored_later(
        problem, earlier, memory_bytes, latest_stores(earlier, lives, room_of(lives, layout))
    )
    lives, layout = same_places(problem, earlier, later, layout)
    validate_layout(lives.buffers, layout, 1)
    validate_plan(problem, later, memory_bytes)


def room_of(lives: Lifetimes, layout: Layout) -> Room:
    rows = [(b.lower, b.upper, b.size_bytes) for b in lives.buffers]
    return Room(rows, layout.offsets, {b.id: [b.id] for b in lives.buffers})


def same_places(problem: Problem, old: Plan, new: Plan, layout: Layout) -> tuple[Lifetimes, Layout]:
    """The lives of the new order, each where it was in the old one."""
    places = dict(zip(names(problem, old), layout.offsets, strict=True))
    lives = lifetimes(problem, new)
    return lives, make_layout(lives.buffers, [places[name] for name in names(problem, new)])


def names(problem: Problem, plan: Plan) -> list[tuple[str, int, int]]:
    """What each buffer of a plan is, whatever the order: a source, a stay or a workspace, the how manieth."""
    lives = lifetimes(problem, plan)
    what = {buffer: ("stay", origin(problem, value)) for value, buffer in lives.initial.items()}
    for time, (op, value) in enumerate(plan.sequence):
        if op in (Op.COMPUTE, Op.PAGE_IN):
            what.setdefault(lives.operands[time][value], ("stay", origin(problem, value)))
        scratch = lives.workspace[time]
        if scratch is not None:
            what[scratch] = ("workspace", value)
    seen: Counter[tuple[str, int]] = Counter()
    found: list[tuple[str, int, int]] = []
    for buffer in lives.buffers:
        found.append((*what[buffer.id], seen[what[buffer.id]]))
        seen[what[buffer.id]] += 1
    return found


@settings(max_examples=300, deadline=None)
@given(problems())
def test_what_moves_stays_valid_and_is_the_same_work(problem: Problem) -> None:
    plan = page_all(problem, least_memory(problem))
    if not valid(problem, plan):  # the rule of these tests does not plan everything
        return
    for memory_bytes in (plan.peak_bytes, plan.peak_bytes + 7, plan.peak_bytes + 1000):
        moved = overlapped(problem, settled(problem, plan), memory_bytes)
        validate_plan(problem, moved, memory_bytes)
        assert computes(moved) == computes(plan)
        assert moved.cost == plan.cost


def computes(plan: Plan) -> list[int]:
    return [value for op, value in plan.sequence if op is Op.COMPUTE]


def layers(count: int) -> Problem:
    """Weights of 10 bytes on flash, one a layer; each layer takes 10 seconds, a page-in 1 second."""
    sources = [Node(n, f"w{n}", 0.0, 10, kind=NodeKind.SOURCE) for n in range(count)]
    nodes = [
        Node(count + n, f"y{n}", 10.0, 1, inputs=(n, *((count + n - 1,) if n else ()))) for n in range(count)
    ]
    paging = Paging(10.0, 10.0, 0, frozenset(range(count)))
    return Problem((*sources, *nodes), frozenset({*range(count), 2 * count - 1}), paging=paging)


def test_a_page_in_begins_one_layer_ahead_where_there_is_room() -> None:
    problem = layers(4)
    plan = page_all(problem, least_memory(problem))
    order = [str(op) + str(v) for op, v in overlapped(problem, plan, 100).sequence if op is not Op.DROP]
    ins = [order.index(f"page_in{n}") for n in range(1, 4)]
    starts = [order.index(f"compute{4 + n}") for n in range(3)]
    assert all(begin < start for begin, start in zip(ins, starts, strict=True))
    assert ins == sorted(ins)
    assert overlapped(problem, plan, plan.peak_bytes).peak_bytes == plan.peak_bytes


def test_page_outs_that_write_move_down() -> None:
    nodes = (
        Node(0, "a", 1.0, 10),
        *(Node(n, f"b{n}", 1.0, 1) for n in range(1, 6)),
        Node(6, "c", 1.0, 1, inputs=(0,)),
    )
    problem = Problem(nodes, frozenset({6}), paging=Paging(10.0, 5.0, 0, frozenset({0})))
    loads = [Instruction(Op.COMPUTE, n) for n in range(6)] + [
        Instruction(Op.PAGE_IN, 0),
        Instruction(Op.COMPUTE, 6),
    ]
    schedule = complete(problem, loads)
    plan = Plan(schedule.sequence, schedule.peak_bytes, schedule.cost, 0.0, False, 0.0)
    assert plan.sequence[1] == (Op.PAGE_OUT, 0)
    moved = overlapped(problem, plan, 100)
    validate_plan(problem, moved, 100)
    assert moved.sequence.index(Instruction(Op.PAGE_OUT, 0)) > 4
    assert Counter(moved.sequence) == Counter(plan.sequence)


@pytest.mark.parametrize("kept", [True, False])
def test_a_source_that_comes_back_begins_on_flash(kept: bool) -> None:
    """In memory at the start, dropped, read again: it would end elsewhere than it began."""
    nodes = (
        Node(0, "w", 0.0, 8, kind=NodeKind.SOURCE),
        Node(1, "a", 1.0, 1, inputs=(0,)),
        Node(2, "b", 1.0, 1, inputs=(0, 1)),
    )
    keep = frozenset({0, 2} if kept else {2})
    problem = Problem(nodes, keep, paging=Paging(8.0, 8.0, 0, frozenset({0})))
    sequence = [(Op.COMPUTE, 1), (Op.DROP, 0), (Op.PAGE_IN, 0), (Op.COMPUTE, 2), (Op.DROP, 1)]
    if not kept:
        sequence.append((Op.DROP, 0))
    plan = Plan(tuple(Instruction(*item) for item in sequence), 10, 3.0, 0.0, False, 0.0)
    validate_plan(problem, plan, 10)
    found = settled(problem, plan)
    validate_plan(problem, found, 10)
    assert resident_at_start(problem, found.sequence) == []
    assert found.cost == plan.cost + 1.0
    assert settled(problem, found) == found
