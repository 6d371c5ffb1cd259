"""CP-SAT proves what is small: optimal plans, bounds that hold, budgets that nothing can keep."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from daypack.planners.cpsat_model import MOST_LOADS, solve
from daypack.planners.greedy import greedy
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.instances import layered_problem
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import PlanOptions
from daypack.planners.problem import Node, Problem
from daypack.planners.schedule import complete
from tests.planners.generated import problems
from tests.planners.problems import example, update


def solved(problem: Problem, memory_bytes: int):
    return solve(problem, memory_bytes, None, seconds=10.0, threads=1, seed=0)


def test_the_worked_example_is_solved():
    """Optimal at every budget; the bound says so up to what `MOST_LOADS` loads of a value can tell apart."""
    costs = {}
    for memory_bytes in range(15, 22):
        outcome = solved(example(), memory_bytes)
        if outcome.loads is not None:
            schedule = complete(example(), outcome.loads)
            assert schedule.peak_bytes <= memory_bytes
            assert outcome.bound_cost == pytest.approx(min(schedule.cost, 7 + MOST_LOADS), rel=1e-4)
            costs[memory_bytes] = schedule.cost
    assert costs[21] == 7
    assert min(costs) == 16
    assert all(costs[low] >= costs[high] for low, high in itertools.pairwise(sorted(costs)))


def test_paging_is_in_the_model():
    outcome = solved(update(), 27)
    assert outcome.loads is not None
    schedule = complete(update(), outcome.loads)
    assert schedule.peak_bytes <= 27
    assert outcome.bound_cost <= schedule.cost


def test_a_budget_that_nothing_can_keep_is_refuted():
    """Every node fits by itself, and yet no order does: what the solver must find out."""
    nodes = (
        Node(0, "a", 1.0, 4),
        Node(1, "b", 1.0, 4),
        Node(2, "c", 1.0, 2, inputs=(0,)),
        Node(3, "d", 1.0, 2, inputs=(1,)),
        Node(4, "e", 1.0, 1, inputs=(2, 3)),
    )
    problem = Problem(nodes, frozenset({4}))
    assert solved(problem, 8).loads is not None
    outcome = solved(problem, 7)
    assert outcome.loads is None
    assert outcome.infeasible


def test_what_a_source_would_cost_counts_for_nothing():
    problem = example()
    dear = replace(
        problem, nodes=tuple(replace(n, cost=50.0) if problem.is_source(n.id) else n for n in problem.nodes)
    )
    for memory_bytes in (12, 13, 15, 17):
        free, priced = solved(problem, memory_bytes), solved(dear, memory_bytes)
        assert priced.infeasible == free.infeasible
        assert free.infeasible or abs(priced.bound_cost - free.bound_cost) < 1e-3


def test_its_bound_is_below_every_plan_that_another_planner_finds():
    problem = layered_problem(14, 3)
    for share in (1.0, 0.9, 0.8):
        memory_bytes = int(share * keep_all_order(problem).peak_bytes)
        try:
            plan = greedy(problem, memory_bytes, PlanOptions())
        except PlanInfeasible:
            continue
        outcome = solved(problem, memory_bytes)
        assert not outcome.infeasible
        assert outcome.bound_cost <= plan.cost * (1 + 1e-9)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(most_nodes=7))
def test_no_bound_is_above_a_plan(problem: Problem):
    whole = keep_all_order(problem)
    memory_bytes = int(0.8 * whole.peak_bytes)
    try:
        plan = greedy(problem, memory_bytes, PlanOptions())
    except PlanInfeasible:
        return
    outcome = solve(problem, memory_bytes, None, seconds=1.0, threads=1, seed=0)
    assert not outcome.infeasible
    assert outcome.bound_cost <= plan.cost * (1 + 1e-6) + 1e-9
