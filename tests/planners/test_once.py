"""What may be computed once only: the judge refuses a second time, every figure of a file keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.planners.exchange import named, parse_problem, problem_text
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import ProblemError
from daypack.planners.schedule import complete
from daypack.planners.validate import InvalidPlan, Reason, validate_plan
from tests.planners.problems import update

ONCE = replace(update(), once=frozenset({3}))
AGAIN = [(Op.COMPUTE, 3), (Op.DROP, 3), (Op.COMPUTE, 3), (Op.DROP, 0), (Op.COMPUTE, 4), (Op.DROP, 3)]


def test_the_judge_refuses_a_second_time():
    plan = Plan(tuple(Instruction(*step) for step in AGAIN), 30, 11.0, 0.0, False, 0.0)
    validate_plan(update(), plan, 30)
    with pytest.raises(InvalidPlan) as caught:
        validate_plan(ONCE, plan, 30)
    assert caught.value.reason is Reason.COMPUTED_AGAIN
    assert "instruction 2, compute 3: 'grad' may be computed once only" in str(caught.value)


def test_a_schedule_refuses_a_second_time():
    loads = [Instruction(*step) for step in AGAIN if step[0] is Op.COMPUTE]
    assert complete(update(), loads).cost == 11
    with pytest.raises(ProblemError, match=r"load 1 computes 3 \('grad'\) again"):
        complete(ONCE, loads)


def test_a_file_keeps_what_is_computed_once():
    assert '"once": [3]' in problem_text(named(ONCE))
    assert parse_problem(problem_text(named(ONCE))).problem == ONCE
    assert "once" not in problem_text(named(update()))
    with pytest.raises(ProblemError, match="once: value 9 does not exist"):
        replace(update(), once=frozenset({9}))
