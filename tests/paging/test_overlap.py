"""Transfers moved beside the computing: valid plans of the same work, within the same memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from daypack.planners.overlap import overlapped, settled
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.schedule import complete, resident_at_start
from daypack.planners.validate import InvalidPlan, validate_plan
from tests.paging.plans import least_memory, page_all
from tests.planners.generated import problems


def valid(problem: Problem, plan: Plan) -> bool:
    try:
        validate_plan(problem, plan, plan.peak_bytes)
    except InvalidPlan:
        return False
    return True


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
