"""Layer chains are found where they are; fronts hold exactly the choices that nothing beats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.planners.blocks import Block, chains
from daypack.planners.chain import choose, front
from daypack.planners.instances import layered_problem
from daypack.planners.problem import Node, Paging, Problem
from daypack.planners.sqrt_n import checkpoints
from daypack.planners.training_instance import Shape, training_problem

SHAPE = Shape(layers=6, width=64, vocabulary=500, tokens=64, context=32, heads=4, head_blocks=3)


@pytest.mark.parametrize("micro_steps", [1, 3])
def test_every_micro_step_has_its_chain(micro_steps: int):
    problem = training_problem(replace(SHAPE, micro_steps=micro_steps))
    found = chains(problem)
    assert len(found) == micro_steps
    for number, chain in enumerate(found):
        names = [problem.nodes[block.handed_on].name for block in chain.blocks]
        # One value is handed on after the attention and after the end of each layer.
        for layer in range(1, 5):
            assert {f"m{number}.{layer}.proj", f"m{number}.{layer}.out"} <= set(names)
        saved = [value for block in chain.blocks for value in block.saved]
        assert len(set(saved)) == len(saved)


def test_a_graph_without_a_chain_has_none():
    problem = layered_problem(60, 1)
    assert all(len(chain.blocks) < 60 for chain in chains(problem))
    assert checkpoints(problem)
    assert chains(Problem(())) == ()


def block_problem(paging: Paging | None = None) -> tuple[Problem, Block]:
    """x ─► a (8 bytes, cost 1) ─► b (4, cost 2) ─► c (2, cost 10), all saved."""
    rows = [("x", 1, 1.0, ()), ("a", 8, 1.0, (0,)), ("b", 4, 2.0, (1,)), ("c", 2, 10.0, (2,))]
    nodes = [Node(i, name, cost, size, inputs=inputs) for i, (name, size, cost, inputs) in enumerate(rows)]
    nodes.append(Node(4, "down", 1.0, 1, inputs=(1, 2, 3)))
    return Problem(tuple(nodes), paging=paging), Block((1, 2, 3), (1, 2, 3), 3, 3)


def test_the_front_of_a_block_is_exact():
    problem, block = block_problem()
    points = [(choice.given_up, choice.kept_bytes, choice.cost) for choice in front(problem, block, {})]
    # Keeping only b, or only a, costs as much as less memory does; they are not on the front.
    assert points == [
        ((1, 2, 3), 0, 13.0),
        ((1, 2), 2, 3.0),
        ((1,), 6, 1.0),
        ((), 14, 0.0),
    ]


def test_paging_enters_the_front_where_it_is_cheaper():
    problem, block = block_problem(Paging(2.0, 2.0, 0, frozenset({3})))
    assert front(problem, block, {})[0].cost == 1 + 2 + 2 / 2 + 2 / 2


def test_the_dynamic_program_keeps_the_target():
    problem = training_problem(SHAPE)
    (chain,) = chains(problem)
    fronts = [front(problem, block, {}) for block in chain.blocks]
    whole = sum(problem.nodes[value].size_bytes for block in chain.blocks for value in block.saved)
    for share in (1.0, 0.7, 0.5):
        chosen = choose(problem, chain, fronts, int(share * whole))
        assert len(chosen) == len(chain.blocks)
        assert sum(choice.kept_bytes for _, choice in chosen) <= share * whole
    assert sum(choice.cost for _, choice in choose(problem, chain, fronts, 2 * whole)) == 0


@pytest.mark.parametrize("streams", [1, 3])
def test_streams_that_go_up_together_are_one_chain(streams: int):
    """Layer by layer for all streams: as many values are handed on as there are streams."""
    layers, nodes, saved = 6, [Node(0, "x", 1.0, 4)], list[tuple[int, int]]()
    at = [0] * streams
    for _ in range(layers):
        for stream in range(streams):
            inner = len(nodes)
            nodes.append(Node(inner, "inner", 1.0, 20, inputs=(at[stream],)))
            nodes.append(Node(inner + 1, "out", 1.0, 4, inputs=(inner,)))
            saved.append((inner, stream))
            at[stream] = inner + 1
    down = at[:]
    for inner, stream in reversed(saved):
        nodes.append(Node(len(nodes), "down", 1.0, 4, inputs=(inner, down[stream])))
        down[stream] = len(nodes) - 1
    problem = Problem(tuple(nodes), keep=frozenset(down))
    (chain,) = chains(problem)
    assert len(chain.blocks) >= layers - 1
    assert {problem.nodes[block.handed_on].name for block in chain.blocks} <= {"x", "inner", "out"}
