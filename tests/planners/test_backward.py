"""The exact search against brute force: the same least cost, plans that are plans, bounds that hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daypack.planners.backward import applies, optimized, reached
from daypack.planners.bounds import memory_bound
from daypack.planners.instances import layered_problem
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import complete, given_order
from daypack.planners.validate import validate_plan
from tests.planners.brute_force import least_cost
from tests.planners.generated import problems
from tests.planners.problems import example, update

WITHIN_SECONDS = ((0, 2_000), (500, 20_000))
slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judged(problem: Problem, memory_bytes: int, loads) -> float:
    """The cost of the plan of these loads, which the validator accepts."""
    found = complete(problem, loads)
    plan = Plan(found.sequence, found.peak_bytes, found.cost, 0.0, False, 0.0)
    validate_plan(problem, plan, memory_bytes)
    return found.cost


def check(problem: Problem, memory_bytes: int) -> None:
    """Search and brute force agree."""
    least = least_cost(problem, memory_bytes)
    outcome = optimized(problem, memory_bytes, None, rounds=WITHIN_SECONDS)
    assert outcome.infeasible == math.isinf(least)
    if outcome.loads is not None:
        assert judged(problem, memory_bytes, outcome.loads) == pytest.approx(least)
        assert outcome.bound_cost == pytest.approx(least)
    assert (outcome.loads is None) == math.isinf(least)
    any_plan = reached(problem, memory_bytes, states=20_000)
    assert any_plan.infeasible == math.isinf(least)
    if any_plan.loads is not None:
        assert judged(problem, memory_bytes, any_plan.loads) >= least * (1 - 1e-9)


def test_the_worked_example_at_every_budget():
    for memory_bytes in range(12, 22):
        check(example(), memory_bytes)


def test_what_a_source_would_cost_counts_for_nothing():
    problem = example()
    given_too = replace(
        problem, nodes=tuple(replace(n, cost=50.0) if problem.is_source(n.id) else n for n in problem.nodes)
    )
    for memory_bytes in range(12, 18):
        check(given_too, memory_bytes)


def test_costs_beyond_a_float_are_compared():
    problem = example()
    huge = replace(problem, nodes=tuple(replace(n, cost=1e300 * n.cost) for n in problem.nodes))
    for memory_bytes in range(12, 18):
        check(huge, memory_bytes)


def test_an_overwriting_update():
    problem = update(paged=False)
    for memory_bytes in range(20, 40, 2):
        check(problem, memory_bytes)


@slow
@given(problem=problems(most_nodes=7), share=st.sampled_from([0.6, 0.75, 0.9]))
def test_the_least_cost_is_that_of_brute_force(problem: Problem, share: float):
    problem = replace(problem, paging=None)
    if not applies(problem):
        return
    peak = complete(problem, given_order(problem)).peak_bytes
    bound = memory_bound(problem).bound_bytes
    for memory_bytes in {int(share * peak), bound, bound + 1, bound - 1}:
        check(problem, memory_bytes)


@slow
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.55, 0.7, 0.85]))
def test_small_layered_graphs(seed: int, share: float):
    problem = layered_problem(8, seed)
    check(problem, int(share * keep_all_order(problem).peak_bytes))


def test_an_interrupted_search_leaves_a_bound():
    problem = layered_problem(40, 2)
    memory_bytes = int(0.7 * keep_all_order(problem).peak_bytes)
    exact = optimized(problem, memory_bytes, None)
    assert exact.loads is not None
    base = sum(node.cost for node in problem.nodes)
    bounds = [
        optimized(problem, memory_bytes, None, rounds=((0, n),)).bound_cost for n in (100, 1000, 10_000)
    ]
    assert base <= bounds[0] <= bounds[1] <= bounds[2] <= exact.bound_cost
    assert bounds[0] < exact.bound_cost


def test_what_is_already_optimal_is_confirmed():
    problem = layered_problem(40, 2)
    memory_bytes = int(0.7 * keep_all_order(problem).peak_bytes)
    exact = optimized(problem, memory_bytes, None)
    assert exact.loads is not None
    again = optimized(problem, memory_bytes, complete(problem, exact.loads))
    assert again.loads is None
    assert again.bound_cost == pytest.approx(exact.bound_cost)
