"""What crosses a node bounds every plan: held against brute force, with paging, updates in place, `once`."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daypack.planners.bounds import memory_bound
from daypack.planners.cpsat import cpsat
from daypack.planners.crossing import crossing
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import PlanOptions
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.schedule import complete, given_order
from daypack.planners.training_instance import Shape, training_problem
from daypack.planners.validate import validate_plan
from tests.planners.brute_force import least_cost
from tests.planners.generated import problems

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def budgets(problem: Problem, share: float) -> set[int]:
    bound = memory_bound(problem).bound_bytes
    return {int(share * complete(problem, given_order(problem)).peak_bytes), bound, bound + 1}


@many
@given(problem=problems(most_nodes=6), share=st.sampled_from([0.6, 0.75, 0.9]))
def test_no_bound_is_above_brute_force(problem: Problem, share: float):
    base = sum(node.cost for node in problem.nodes)
    for memory_bytes in budgets(problem, share):
        least = least_cost(problem, memory_bytes)
        found = crossing(problem, memory_bytes)
        if not math.isinf(least):
            assert found.bound_bytes <= memory_bytes
            assert base + found.extra_cost <= least * (1 + 1e-9) + 1e-9


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(most_nodes=6), share=st.sampled_from([0.6, 0.8]))
def test_what_cpsat_says_is_true(problem: Problem, share: float):
    for memory_bytes in budgets(problem, share):
        least = least_cost(problem, memory_bytes)
        try:
            plan = cpsat(problem, memory_bytes, PlanOptions(time_limit_s=0.2))
        except PlanInfeasible as error:
            assert math.isinf(least) or error.bound_bytes <= memory_bytes
            assert not math.isinf(least_cost(problem, error.smallest_feasible_bytes))
            assert math.isinf(least_cost(problem, error.bound_bytes - 1))
            continue
        validate_plan(problem, plan, memory_bytes)
        assert plan.lower_bound_cost <= least * (1 + 1e-9) + 1e-9
        assert plan.proven_optimal is (plan.lower_bound_cost >= plan.cost * (1 - 1e-9))


def test_activations_that_cross_the_loss():
    """Three activations of 10, prices 1, 2 and 3; the loss needs 12 beside them: 22 leaves room for one."""
    nodes = [Node(0, "x", 0.0, 1, kind=NodeKind.SOURCE)]
    nodes += [Node(i, f"a{i}", float(i), 10, inputs=(i - 1,)) for i in (1, 2, 3)]
    nodes.append(Node(4, "loss", 1.0, 1, inputs=(3,)))
    nodes += [Node(5, "g3", 1.0, 1, inputs=(3, 4)), Node(6, "g2", 1.0, 1, inputs=(2, 5))]
    nodes.append(Node(7, "g1", 1.0, 1, inputs=(1, 6)))
    problem = Problem(tuple(nodes), frozenset({7}))
    # At g3: a3, loss and g3 are its own (12); a1 and a2 cross it.
    assert crossing(problem, 32).extra_cost == 0.0
    assert crossing(problem, 22).extra_cost == pytest.approx(1.0)
    assert crossing(problem, 12).extra_cost == pytest.approx(3.0)


def test_a_kept_source_stays_or_is_read():
    paging = Paging(2.0, 4.0, pageable=frozenset({0}))
    nodes = (
        Node(0, "w", 0.0, 8, kind=NodeKind.SOURCE),
        Node(1, "x", 0.0, 6, kind=NodeKind.SOURCE),
        Node(2, "y", 1.0, 1, inputs=(0,)),
        Node(3, "z", 1.0, 4, inputs=(1,)),
    )
    problem = Problem(nodes, frozenset({0, 1, 2, 3}), paging=paging)
    found = crossing(problem, 15)
    assert found.bound_bytes == 15  # y beside w, and x, which cannot leave
    assert found.extra_cost == pytest.approx(3 / 8 * 4.0)  # z beside x needs 3 of w's 8 bytes
    assert math.isinf(least_cost(problem, 14))
    assert 2 + found.extra_cost <= least_cost(problem, 15) < math.inf


def test_training_steps_have_a_bound_above_every_node_once():
    problem = training_problem(
        Shape(layers=3, width=64, vocabulary=500, tokens=64, context=32, heads=4, head_blocks=3)
    )
    memory_bytes = int(0.5 * keep_all_order(problem).peak_bytes)
    assert crossing(problem, memory_bytes).extra_cost > 0
