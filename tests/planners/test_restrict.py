"""Means taken away: no planner uses them, and the plan found is one of the whole problem."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import Op, Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.registry import PlannerName, planner_named
from daypack.planners.restrict import Restricted, restricted
from daypack.planners.training_instance import Shape, training_problem
from daypack.planners.validate import validate_plan
from tests.planners.generated import problems

OPTIONS = PlanOptions(time_limit_s=1.0)
SHARE = 0.8
"""Of what the listed order needs: too little for the listed order alone."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    return training_problem(Shape(layers=4, tokens=1024))


def memory_of(problem: Problem) -> int:
    return int(SHARE * keep_all_order(problem).peak_bytes)


def planned(allowed: Restricted, name: str, memory_bytes: int) -> Plan:
    found = planner_named(name)(allowed.problem, memory_bytes, OPTIONS)
    validate_plan(allowed.problem, found, memory_bytes)
    return allowed.unrestricted(found)


def counted(plan: Plan, op: Op) -> list[int]:
    return [value for o, value in plan.sequence if o is op]


PLANNERS = [PlannerName.AUTO, PlannerName.CHAIN, PlannerName.SQRT_N, PlannerName.ANNEAL]


@pytest.mark.parametrize("name", PLANNERS)
def test_every_node_once(problem: Problem, name: str) -> None:
    plan = planned(restricted(problem, recompute=False), name, memory_of(problem))
    validate_plan(problem, plan, memory_of(problem))
    computed = counted(plan, Op.COMPUTE)
    assert len(computed) == len(set(computed))
    assert counted(plan, Op.PAGE_IN), "what does not fit is paged"


@pytest.mark.parametrize("name", PLANNERS)
def test_no_paged_source_is_read_again_to_recompute(problem: Problem, name: str) -> None:
    paged = {node.id for node in problem.nodes if problem.is_source(node.id) and problem.pageable(node.id)}
    plan = planned(restricted(problem, reread=False), name, memory_of(problem))
    validate_plan(problem, plan, memory_of(problem))
    computed = Counter(counted(plan, Op.COMPUTE))
    assert all(computed[node.id] == 1 for node in problem.nodes if paged & set(node.inputs))
    assert max(computed.values()) > 1, "what reads none is computed again"


@pytest.mark.parametrize("name", PLANNERS)
def test_nothing_paged(problem: Problem, name: str) -> None:
    plan = planned(restricted(problem, paging=False), name, memory_of(problem))
    validate_plan(problem, plan, memory_of(problem))
    assert not counted(plan, Op.PAGE_IN)
    assert not counted(plan, Op.PAGE_OUT)
    computed = counted(plan, Op.COMPUTE)
    assert len(computed) > len(set(computed)), "what does not fit is computed again"


@pytest.mark.parametrize("name", PLANNERS)
def test_the_listed_order(problem: Problem, name: str) -> None:
    plan = planned(restricted(problem, reorder=False), name, memory_of(problem))
    validate_plan(problem, plan, memory_of(problem))
    first = list(dict.fromkeys(counted(plan, Op.COMPUTE)))
    assert first == sorted(first)


def test_no_means_is_the_listed_order_alone(problem: Problem) -> None:
    allowed = restricted(problem, recompute=False, paging=False, reorder=False)
    whole = keep_all_order(problem)
    assert planned(allowed, PlannerName.AUTO, whole.peak_bytes).sequence == whole.sequence
    with pytest.raises(PlanInfeasible) as refused:
        planned(allowed, PlannerName.AUTO, whole.peak_bytes - 1)
    assert refused.value.smallest_feasible_bytes == whole.peak_bytes


def test_all_means_are_the_problem_itself(problem: Problem) -> None:
    assert restricted(problem).problem == problem


@settings(max_examples=50, deadline=None)
@given(problems())
def test_the_listed_order_of_a_restricted_problem_is_that_of_the_problem(problem: Problem) -> None:
    allowed = restricted(problem, reorder=False)
    within, whole = keep_all_order(allowed.problem), keep_all_order(problem)
    assert (within.peak_bytes, within.cost) == (whole.peak_bytes, whole.cost)
    plan = planned(allowed, PlannerName.KEEP_ALL, whole.peak_bytes)
    assert plan.sequence == whole.sequence
