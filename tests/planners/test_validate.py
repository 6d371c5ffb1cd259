"""The judge rejects each hand-broken plan and layout with the right reason, and accepts the sound ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.planners.keep_all import keep_all
from daypack.planners.layout import Buffer, Layout
from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.validate import InvalidPlan, Reason, validate_layout, validate_plan
from tests.planners.problems import example, update

C, D, O, I = Op.COMPUTE, Op.DROP, Op.PAGE_OUT, Op.PAGE_IN  # noqa: E741


def plan(*steps: tuple[Op, int], peak: int, cost: float) -> Plan:
    return Plan(tuple(Instruction(*step) for step in steps), peak, cost, 0.0, False, 0.0)


# batch 0 (1 byte), w 1 (8), m 2 (8), grad 3 (8, workspace 2), new_w 4 (8, overwrites w); fixed 3.
RESIDENT = [(C, 3), (D, 0), (C, 4), (D, 3)]
PAGED = [(I, 1), (C, 3), (D, 0), (I, 2), (C, 4), (D, 3), (O, 2), (O, 4)]
# Two reads of 8 bytes at 8 bytes a second, two writes at 4.
PAGED_COST = 5 + 1 + 2 * 8 / 8 + 2 * 8 / 4

SOUND = [
    (RESIDENT, 3 + 1 + 8 + 8 + 8 + 2, 6.0),
    (PAGED, 3 + 8 + 8 + 8, PAGED_COST),
    # The clean weight leaves for nothing and comes back.
    ([(C, 3), (O, 1), (D, 0), (I, 1), (C, 4), (D, 3)], 30, 7.0),
    # A gradient is recomputed.
    ([(C, 3), (D, 3), (C, 3), (D, 0), (C, 4), (D, 3)], 30, 11.0),
]

BROKEN = [
    ([(C, 9)], Reason.UNKNOWN_VALUE),
    ([(C, -1)], Reason.UNKNOWN_VALUE),
    ([(C, 0)], Reason.SOURCE_COMPUTED),
    ([(C, 4)], Reason.OPERAND_ABSENT),
    ([(D, 1), (C, 3)], Reason.OPERAND_ABSENT),
    ([(C, 3), (C, 3)], Reason.ALREADY_RESIDENT),
    ([(O, 1), (I, 1), (I, 1)], Reason.ALREADY_RESIDENT),
    ([(C, 3), (D, 3), (D, 3)], Reason.NOT_RESIDENT),
    ([(C, 3), (O, 4)], Reason.NOT_RESIDENT),
    ([(C, 3), (O, 3)], Reason.NOT_PAGEABLE),
    ([(I, 0)], Reason.NOT_PAGEABLE),
    # The old weight is gone once it is overwritten.
    ([(C, 3), (C, 4), (D, 3), (C, 3)], Reason.OPERAND_ABSENT),
    ([(O, 1), (I, 1), (C, 3), (C, 4), (I, 1)], Reason.NOT_ON_FLASH),
    # A moment that was changed and dropped is not on flash any more.
    ([(C, 3), (C, 4), (D, 2), (I, 2)], Reason.NOT_ON_FLASH),
    ([(I, 4)], Reason.NOT_ON_FLASH),
    ([(C, 3)], Reason.NEVER_COMPUTED),
    ([], Reason.NEVER_COMPUTED),
    ([*RESIDENT, (D, 4)], Reason.KEPT_VALUE_LOST),
    ([*RESIDENT, (O, 4)], Reason.KEPT_VALUE_LOST),
    (PAGED[:-1], Reason.KEPT_VALUE_LOST),
    ([*PAGED[:-2], (D, 2), (O, 4)], Reason.KEPT_VALUE_LOST),
]


@pytest.mark.parametrize(("steps", "peak", "cost"), SOUND)
def test_sound_plans_pass(steps, peak, cost):
    validate_plan(update(), plan(*steps, peak=peak, cost=cost), peak)
    with pytest.raises(InvalidPlan) as caught:
        validate_plan(update(), plan(*steps, peak=peak, cost=cost), peak - 1)
    assert caught.value.reason is Reason.OVER_BUDGET


@pytest.mark.parametrize(("steps", "reason"), BROKEN)
def test_broken_plans_are_rejected_with_the_right_reason(steps, reason):
    with pytest.raises(InvalidPlan) as caught:
        validate_plan(update(), plan(*steps, peak=0, cost=0.0), 100)
    assert caught.value.reason is reason
    assert str(caught.value).startswith(f"invalid plan: {reason.value}: ")


def test_false_figures_are_rejected():
    good = plan(*RESIDENT, peak=30, cost=6.0)
    validate_plan(update(), good, 30)
    for bad, reason in [
        (replace(good, peak_bytes=29), Reason.WRONG_PEAK),
        (replace(good, cost=5.0), Reason.WRONG_COST),
        (replace(good, lower_bound_cost=7.0), Reason.WRONG_BOUND),
        (replace(good, proven_optimal=True), Reason.WRONG_BOUND),
    ]:
        with pytest.raises(InvalidPlan) as caught:
            validate_plan(update(), bad, 30)
        assert caught.value.reason is reason


def test_keep_all_of_the_worked_example():
    result = keep_all(example(), 21, PlanOptions())
    validate_plan(example(), result, 21)
    assert (result.peak_bytes, result.cost) == (21, 7)


BUFFERS = [Buffer(0, 0, 2, 64), Buffer(1, 1, 3, 100), Buffer(2, 2, 4, 64)]


def test_layouts_are_judged():
    validate_layout(BUFFERS, Layout((0, 64, 0), 164, 164))
    for layout, reason in [
        (Layout((0, 0, 64), 128, 100), Reason.OVERLAP),
        (Layout((0, 64, 128), 192, 164), Reason.OVERLAP),
        (Layout((0, 32, 0), 132, 100), Reason.MISALIGNED),
        (Layout((-64, 64, 0), 164, 100), Reason.MISALIGNED),
        (Layout((0, 64, 0), 128, 100), Reason.WRONG_TOTAL),
        (Layout((0, 64, 0), 164, 200), Reason.WRONG_BOUND),
        (Layout((0, 64), 164, 164), Reason.WRONG_COUNT),
    ]:
        with pytest.raises(InvalidPlan) as caught:
            validate_layout(BUFFERS, layout)
        assert caught.value.reason is reason
