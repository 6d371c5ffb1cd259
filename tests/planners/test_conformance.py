"""Every planner meets the same properties: sound plans, honest figures, the same plan again, no crash."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daypack.planners.bounds import memory_bound
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.instances import layered_problem
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.registry import PlannerName, planner_named
from daypack.planners.training_instance import Shape, training_problem
from daypack.planners.validate import validate_plan
from tests.planners.generated import problems
from tests.planners.problems import example, update

SMALL = Shape(layers=3, width=64, vocabulary=500, tokens=64, context=32, heads=4, head_blocks=3)
INSTANCES = {
    "example": example(),
    "update": update(),
    "update once": replace(update(), once=frozenset({3, 4})),
    "nothing paged": update(paged=False),
    "empty": Problem(()),
    "layered": layered_problem(40, 0),
    "adapters": training_problem(SMALL),
    "full": training_problem(replace(SMALL, rank=0)),
    "window": training_problem(replace(SMALL, rank=0, micro_steps=3)),
}
SHARES = (1.0, 0.8, 0.6, 0.4)
QUICK = PlanOptions(time_limit_s=0.3)

every_planner = pytest.mark.parametrize("name", [name.value for name in PlannerName])


def attempt(name: str, problem: Problem, memory_bytes: int, options: PlanOptions = QUICK) -> Plan | None:
    """A judged plan, or None after a judged refusal."""
    try:
        plan = planner_named(name)(problem, memory_bytes, options)
    except PlanInfeasible as error:
        check_refusal(error, problem, memory_bytes)
        return None
    validate_plan(problem, plan, memory_bytes)
    least = sum(node.cost for node in problem.nodes)
    assert plan.lower_bound_cost >= least * (1 - 1e-9)
    assert plan.planner and plan.seconds >= 0
    return plan


def check_refusal(error: PlanInfeasible, problem: Problem, memory_bytes: int) -> None:
    assert error.bound_bytes >= memory_bound(problem).bound_bytes
    assert error.memory_bytes == memory_bytes < error.smallest_feasible_bytes
    assert error.smallest_feasible_bytes >= error.bound_bytes
    assert str(memory_bytes) in str(error)


@every_planner
@pytest.mark.parametrize("instance", INSTANCES)
def test_plans_are_sound_or_refused(name: str, instance: str):
    problem = INSTANCES[instance]
    peak = keep_all_order(problem).peak_bytes
    for share in SHARES:
        plan = attempt(name, problem, int(share * peak))
        if share == 1.0:
            assert plan is not None
            assert math.isclose(plan.cost, sum(node.cost for node in problem.nodes))


#: In the second the peak of a plan, asked for as a budget, gave `evict` none.
SMALLEST = {
    "adapters": INSTANCES["adapters"],
    "all weights": training_problem(Shape(layers=2, rank=0, tokens=256)),
}


@every_planner
@pytest.mark.parametrize("instance", SMALLEST)
def test_what_is_called_smallest_does(name: str, instance: str):
    problem = SMALLEST[instance]
    with pytest.raises(PlanInfeasible) as caught:
        planner_named(name)(problem, memory_bound(problem).bound_bytes - 1, QUICK)
    assert attempt(name, problem, caught.value.smallest_feasible_bytes) is not None


@every_planner
@pytest.mark.parametrize("instance", INSTANCES)
def test_edges_of_the_budget(name: str, instance: str):
    problem = INSTANCES[instance]
    bound = memory_bound(problem).bound_bytes
    for memory_bytes in (0, bound - 1):
        if 0 <= memory_bytes < bound:
            assert attempt(name, problem, memory_bytes) is None
    attempt(name, problem, bound)


@every_planner
@pytest.mark.parametrize("instance", ["example", "layered", "full"])
def test_no_time_is_an_answer_too(name: str, instance: str):
    problem = INSTANCES[instance]
    for share in SHARES:
        attempt(name, problem, int(share * keep_all_order(problem).peak_bytes), PlanOptions(time_limit_s=0.0))


@every_planner
def test_the_same_seed_gives_the_same_plan(name: str):
    problem = INSTANCES["window"]
    budget = int(0.6 * keep_all_order(problem).peak_bytes)
    options = PlanOptions(time_limit_s=0.4, seed=5)
    first, second = (attempt(name, problem, budget, options) for _ in range(2))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.sequence == second.sequence


@every_planner
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(), share=st.sampled_from([1.0, 0.9, 0.75, 0.6, 0.45]))
def test_no_graph_breaks_a_planner(name: str, problem: Problem, share: float):
    attempt(name, problem, int(share * keep_all_order(problem).peak_bytes), PlanOptions(time_limit_s=0.02))


@every_planner
def test_sources_alone_are_nothing_to_search(name: str):
    sources = tuple(Node(i, f"s{i}", 0.0, 4, kind=NodeKind.SOURCE) for i in range(3))
    problem = Problem(sources, frozenset({0, 1}), paging=Paging(1.0, 1.0, 0, frozenset({0, 2})))
    for memory_bytes in (8, 7, 4, 0):
        attempt(name, problem, memory_bytes)


@every_planner
def test_a_source_whose_heir_cannot_be_written_stays(name: str):
    nodes = (
        Node(0, "w", 0.0, 8, kind=NodeKind.SOURCE),
        Node(1, "new_w", 1.0, 8, overwrites=0),
        Node(2, "a", 1.0, 8),
        Node(3, "b", 1.0, 4, inputs=(2,)),
    )
    problem = Problem(nodes, frozenset({1, 3}), paging=Paging(1.0, 2.0, 0, frozenset({0})))
    for memory_bytes in (20, 19, 16):
        attempt(name, problem, memory_bytes)
