"""Shards: how long they are, where they are cut, and that cutting changes no result."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import daypack
from daypack.compiler import shards
from daypack.compiler.schedule_file import NAME, parse_schedule
from daypack.planners.cost import clock
from daypack.planners.keep_all import keep_all_order
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.schedule import complete
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import EndShard

ROUNDING = 1e-9


def layered(layers: int, seconds: float) -> Problem:
    """Of four nodes a layer the first three make large values, the last a small one that is handed on."""
    nodes: list[Node] = []
    for number in range(4 * layers):
        inputs = (number - 1,) if number else ()
        nodes.append(Node(number, "", seconds, 10 if number % 4 == 3 else 1000, inputs=inputs))
    return Problem(tuple(nodes), keep=frozenset({4 * layers - 1}))


def test_a_shard_ends_where_a_layer_ends() -> None:
    problem = layered(12, shards.QUANTUM_S / 10)
    sequence = keep_all_order(problem).sequence
    ends = shards.shard_ends(problem, sequence)
    computed = [sum(op is Op.COMPUTE for op, _ in sequence[:end]) for end in ends]
    assert computed == [8, 16, 24, 32, 40, 48]


def test_a_kernel_longer_than_the_quantum_is_a_shard_of_its_own() -> None:
    costs = [0.1, 3.0, 0.1, 0.1, 0.2, 0.4, 0.1]
    nodes = [
        Node(n, "", shards.QUANTUM_S * cost, 8, inputs=(n - 1,) if n else ()) for n, cost in enumerate(costs)
    ]
    sequence = [Instruction(Op.COMPUTE, n) for n in range(len(costs))]
    problem = Problem(tuple(nodes), keep=frozenset(range(len(costs))))
    assert shards.shard_ends(problem, sequence) == (1, 2, 7)


def test_a_read_that_is_waited_for_counts_and_begins_a_shard() -> None:
    weights = [Node(n, "", 0.0, 100, kind=NodeKind.SOURCE) for n in range(3)]
    computes = [Node(n, "", 0.01, 1, inputs=(n - 3,)) for n in range(3, 6)]
    rate = 100 / (0.8 * shards.QUANTUM_S)
    paging = Paging(rate, rate, 0, frozenset(range(3)))
    problem = Problem((*weights, *computes), keep=frozenset(range(6)), paging=paging)
    loads = [Instruction(op, n + 3 * (op is Op.COMPUTE)) for n in range(3) for op in (Op.PAGE_IN, Op.COMPUTE)]
    sequence = complete(problem, loads).sequence
    ends = shards.shard_ends(problem, sequence)
    assert len(ends) == 3
    assert all(sequence[end].op is Op.PAGE_IN for end in ends[:-1])


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 1000)), max_size=60))
@settings(deadline=None)
def test_no_shard_is_longer_than_the_quantum_if_it_could_be_cut(rows: list[tuple[float, int]]) -> None:
    nodes = [Node(n, "", cost, size, inputs=(n - 1,) if n else ()) for n, (cost, size) in enumerate(rows)]
    problem = Problem(tuple(nodes))
    sequence = keep_all_order(problem).sequence
    ends = shards.shard_ends(problem, sequence)
    assert ends[-1] == len(sequence)
    assert list(ends) == sorted(set(ends))
    at = [0.0, *(computed for computed, _ in clock(problem, sequence))]
    for begin, end in itertools.pairwise((0, *ends)):
        computes = sum(op is Op.COMPUTE for op, _ in sequence[begin:end])
        assert computes <= 1 or at[end] - at[begin] <= shards.QUANTUM_S + ROUNDING


def loss(model: nnx.Module, batch: dict[str, object]) -> object:
    return ((model(batch["x"]) - batch["y"]) ** 2).mean()


def trained(folder: Path, budget: int | None) -> tuple[daypack.TrainResult, int]:
    """A small model trained for three steps, and its number of shards, which three files agree on."""
    layers = [nnx.Linear(64, 64, rngs=nnx.Rngs(n)) for n in range(3)]
    rng = np.random.default_rng(1)
    batches = [dict.fromkeys("xy", rng.normal(size=(8, 64)).astype(np.float32)) for _ in range(3)]
    optimizer = optax.adam(1e-2)
    done = daypack.compile(
        nnx.Sequential(*layers), loss, optimizer, batches[0], out=folder / "b", window=2, memory=budget
    )
    steps = read_bundle(done.bundle).plan.steps
    ends = parse_schedule((done.bundle / NAME).read_text()).shard_ends
    assert done.shards == len(ends) == sum(isinstance(step, EndShard) for step in steps)
    assert isinstance(steps[-1], EndShard)
    return daypack.run(done, batches, fresh=True), done.shards


def test_cutting_changes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    whole, one = trained(tmp_path / "one", None)
    monkeypatch.setattr(shards, "QUANTUM_S", 0.0)
    cut, many = trained(tmp_path, None)
    assert one == 1
    assert many > 20
    assert whole.losses == cut.losses
    for name, array in whole.state.items():
        np.testing.assert_array_equal(array, cut.state[name])
