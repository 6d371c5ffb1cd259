"""Trained matrices that are read by rows become parts of rows in both graphs of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from daypack.compiler.fusion import groups
from daypack.compiler.graph import Role, StepGraph
from daypack.compiler.interpret import run
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.passes import split_trained as module
from daypack.compiler.passes.row_parts import in_parts
from daypack.compiler.passes.split_trained import split_trained
from daypack.compiler.pipeline import REWRITES, kernel_target, optimize
from daypack.compiler.step import TrainStep, trace_micro, trace_update
from daypack.compiler.trace import Argument, trace
from daypack.compiler.verify import Stage, verify
from daypack.compiler.window import assemble
from daypack.devices import load_profile
from daypack.operators import loss_head
from tests.compiler.graphs import Array

ROWS, WIDTH, TOKENS, BLOCK = 21, 6, (2, 5), 8
PARTS = ("[0:8]", "[8:16]", "[16:21]")
NONE = -100


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", BLOCK)


def _tied(trainable: Any, frozen: Any, mutable: Any, batch: Any, clock: Any) -> Any:
    """A tied embedding and head with one layer between."""
    table = trainable["table"]
    rows = table.at[batch["ids"]].get(mode="promise_in_bounds", wrap_negative_indices=False)
    hidden = jnp.tanh(rows @ trainable["w"])
    loss = loss_head.trained_head_loss(hidden, table, batch["labels"], NONE)
    return loss, jnp.sum((batch["labels"] != NONE).astype(jnp.float32)), mutable


def _step(optimizer: Any, window: int = 1, loss: Any = _tied, rows: int = ROWS) -> TrainStep:
    def shape(*sizes: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(sizes, dtype)

    trainable = {"table": shape(rows, WIDTH), "w": shape(WIDTH, WIDTH)}
    batch = {"ids": shape(*TOKENS, dtype=jnp.int32), "labels": shape(*TOKENS, dtype=jnp.int32)}
    return TrainStep(loss, optimizer, trainable, {}, {}, batch, window)


def _traced(step: TrainStep) -> tuple[StepGraph, StepGraph]:
    graphs = [trace_micro(step), trace_update(step)]
    for number, graph in enumerate(graphs):
        for apply in REWRITES:
            graph = apply(graph)
        graphs[number] = graph
    return graphs[0], graphs[1]


def _inputs(graph: StepGraph, seed: int = 0) -> dict[str, Array]:
    """Arrays for a graph's inputs: moments are positive, ids lie in the table, some at the parts' ends."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for item in graph.inputs:
        shape = item.value.shape
        if item.value.dtype == "int32" and shape:
            arrays[item.name] = rng.integers(0, ROWS, shape).astype(np.int32)
            arrays[item.name].flat[:5] = [0, BLOCK - 1, BLOCK, ROWS - 1, BLOCK]
            if item.name == "labels":
                arrays[item.name].flat[6] = NONE
        elif item.value.dtype != "float32":
            arrays[item.name] = np.full(shape, 3, item.value.dtype)
        else:
            arrays[item.name] = np.abs(rng.normal(size=shape)).astype(np.float32) + np.float32(0.1)
    return arrays


def _rows_of(name: str) -> tuple[str, slice]:
    if not name.endswith("]"):
        return name, slice(None)
    array, _, ends = name.removesuffix("]").rpartition("[")
    first, end = map(int, ends.split(":"))
    return array, slice(first, end)


def _in_parts(graph: StepGraph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The whole arrays as the inputs of a graph in parts."""
    found: dict[str, Array] = {}
    for item in graph.inputs:
        array, rows = _rows_of(item.name)
        found[item.name] = arrays[array][rows] if array != item.name else arrays[array]
    return found


def _whole(results: Mapping[str, Array]) -> dict[str, Array]:
    """Results with parts put together, in the order of their rows."""
    pieces: dict[str, list[tuple[int, Array]]] = {}
    for name, result in results.items():
        array, rows = _rows_of(name)
        pieces.setdefault(array, []).append((rows.start or 0, result))
    return {
        name: np.concatenate([part for _, part in sorted(found, key=lambda p: p[0])])
        if len(found) > 1
        else found[0][1]
        for name, found in pieces.items()
    }


def _names(graph: StepGraph) -> set[str]:
    return {item.name for item in graph.inputs} | {out.name for out in graph.outputs}


def _parts_of(graph: StepGraph) -> set[str]:
    return {_rows_of(name)[0] for name in _names(graph) if name.endswith("]")}


def _factored() -> Any:
    return optax.adafactor(1e-2, min_dim_size_to_factor=4)


OPTIMIZERS: dict[str, tuple[Any, set[str]]] = {
    "adamw, clipped": (
        lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2, weight_decay=0.1)),
        {"opt/1/0/mu/table", "opt/1/0/nu/table"},
    ),
    "sgd": (lambda: optax.sgd(0.1), set()),
    "sgd, momentum": (lambda: optax.sgd(0.1, momentum=0.9), {"opt/0/trace/table"}),
    "lion": (lambda: optax.lion(1e-2), {"opt/0/mu/table"}),
    "adafactor": (_factored, set()),
}


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_computed_stays(name: str, window: int) -> None:
    make, moments = OPTIMIZERS[name]
    before = _traced(_step(make(), window))
    after = split_trained(*before)
    cut = {_rows_of(part)[0] for graph in after for part in _names(graph) if part.endswith("]")}
    outputs = {"grad:table", "trainable:table"} | {n.replace("opt/", "opt:", 1) for n in moments}
    assert cut == {"table", "sum/grad/table"} | moments | outputs
    for graph, parted in zip(before, after, strict=True):
        verify(parted, Stage.TRACED)
        arrays = _inputs(graph)
        want, got = run(graph, arrays), _whole(run(parted, _in_parts(parted, arrays)))
        assert want.keys() == got.keys()
        for key, array in want.items():
            # A sum over all elements is a sum of the sums of the parts: other roundings, nothing else.
            tolerance = 1e-6 if graph.name == "update" else 0.0
            np.testing.assert_allclose(got[key], array, rtol=tolerance, atol=tolerance, err_msg=key)


def test_the_parts_of_an_array_are_its_rows_in_order() -> None:
    micro, update = split_trained(*_traced(_step(optax.sgd(0.1, momentum=0.9), window=2)))
    for graph, arrays in (
        (micro, ("table", "sum/grad/table", "grad:table")),
        (update, ("table", "sum/grad/table", "opt/0/trace/table", "trainable:table", "opt:0/trace/table")),
    ):
        assert {a + part for a in arrays for part in PARTS} == {n for n in _names(graph) if n.endswith("]")}
    roles = {item.name: item.role for item in micro.inputs}
    assert roles["table[8:16]"] is Role.TRAINABLE
    assert roles["sum/grad/table[8:16]"] is Role.GRADIENT


def test_no_array_is_as_large_as_the_table_or_all_scores() -> None:
    rows = 5 * BLOCK + 3
    micro, update = split_trained(*_traced(_step(optax.adamw(1e-2), rows=rows)))
    for graph in (optimize(micro), optimize(update)):
        values = {v for node in graph.nodes for v in (*node.inputs, *node.outputs)}
        assert max(v.elements for v in values) < rows * WIDTH
        assert not any(rows in v.shape for v in values)


def test_blocks_of_one_size_share_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "TABLE_BYTES", 1)

    def kernels(blocks: int) -> int:
        step = _step(optax.adamw(1e-2), rows=blocks * BLOCK + 3)
        table = KernelTable(kernel_target(load_profile("host")))
        for graph in split_trained(*_traced(step)):
            for node in optimize(graph).nodes:
                table.number_of(node)
        return len(table.kernels)

    assert kernels(4) == kernels(7) < 35


def test_a_lookup_holds_one_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that gather from large tables are not merged; from small ones they may be."""

    def tables(kernel_table_bytes: int) -> int:
        monkeypatch.setattr(groups, "TABLE_BYTES", kernel_table_bytes)
        micro, _ = split_trained(*_traced(_step(optax.sgd(0.1))))
        bodies = [node.body for node in optimize(micro).nodes if node.body is not None]
        return max(sum(node.op == "gather" for node in body.nodes) for body in bodies)

    assert tables(1) == 1
    assert tables(10**9) == len(PARTS)


@pytest.mark.parametrize("window", [1, 2])
def test_every_part_is_updated_in_place(window: int) -> None:
    step = _step(optax.adamw(1e-2), window)
    table = KernelTable(kernel_target(load_profile("host")))
    micro, update = split_trained(*_traced(step))
    made = assemble(step, optimize(micro), optimize(update), table)
    writers = {new: old for call in made.calls for new, old in call.overwrites.items()}
    assert {f"opt/0/mu/table{part}" for part in PARTS} < set(made.state)
    for name, (first, last) in made.state.items():
        if name.endswith("]"):
            assert writers[last] == first
            assert made.items[first].shape == made.items[last].shape
    copies = [call for call in made.calls if call.kind == "kernel" and not call.source and call.overwrites]
    assert not copies


def _with_product(trainable: Any, frozen: Any, mutable: Any, batch: Any, clock: Any) -> Any:
    loss, weight, mutable = _tied(trainable, frozen, mutable, batch, clock)
    return loss + jnp.sum(jnp.square(trainable["table"].T @ trainable["table"])), weight, mutable


def _filling(trainable: Any, frozen: Any, mutable: Any, batch: Any, clock: Any) -> Any:
    rows = jnp.take(trainable["table"], batch["ids"], axis=0, mode="fill")
    loss = loss_head.trained_head_loss(rows @ trainable["w"], trainable["table"], batch["labels"], NONE)
    return loss, jnp.float32(1.0), mutable


@pytest.mark.parametrize("loss", [_with_product, _filling])
def test_what_is_read_in_another_way_stays_whole(loss: Any) -> None:
    before = _traced(_step(optax.adamw(1e-2), loss=loss))
    after = split_trained(*before)
    assert [_parts_of(graph) for graph in after] == [set(), set()]


def _statistic() -> Any:
    """An optimizer that sorts: it needs its array whole."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        return jax.tree_util.tree_map(lambda g: g - jnp.cumsum(g, axis=0), grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def test_what_the_optimizer_needs_whole_stays_whole_in_both_graphs() -> None:
    before = _traced(_step(optax.chain(_statistic(), optax.sgd(0.1))))
    after = split_trained(*before)
    assert [_parts_of(graph) for graph in after] == [set(), set()]


def _looked_up(trainable: Any, frozen: Any, mutable: Any, batch: Any, clock: Any) -> Any:
    rows = trainable["table"].at[batch["ids"]].get(mode="clip")
    return jnp.sum(jnp.square(rows @ trainable["w"])), jnp.float32(1.0), mutable


def test_a_large_table_that_is_only_looked_up_is_cut_on_a_regular_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = _step(optax.sgd(0.1), loss=_looked_up)
    assert [_parts_of(graph) for graph in split_trained(*_traced(step))] == [set(), set()]
    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    monkeypatch.setattr(module, "PART_BYTES", 8 * WIDTH * 4)
    monkeypatch.setattr(module, "ALIGNED_ROWS", 4)
    before = _traced(step)
    after = split_trained(*before)
    assert {"table" + part for part in PARTS} < _names(after[0])
    arrays = _inputs(before[0])
    arrays["ids"].flat[:2] = [-3, ROWS + 7]  # moved inside, as `clip` says
    want, got = run(before[0], arrays), _whole(run(after[0], _in_parts(after[0], arrays)))
    for key, array in want.items():
        np.testing.assert_array_equal(got[key], array, err_msg=key)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda w: jnp.max(jnp.abs(w)), id="maximum"),
        pytest.param(lambda w: jnp.sum(w, axis=0), id="column sums"),
        pytest.param(lambda w: jnp.sum(w, axis=1), id="row sums"),
        pytest.param(lambda w: w / jnp.sum(w, axis=1, keepdims=True), id="rows by their sums"),
        pytest.param(lambda w: w.reshape(ROWS, 2, 3).sum(axis=(1, 2)), id="reshaped rows"),
        pytest.param(lambda w: jnp.where(jnp.arange(ROWS)[:, None] < 9, w, 0.0).sum(), id="by row number"),
        pytest.param(lambda w: w[3:18] * 2, id="rows of several parts"),
        pytest.param(lambda w: w + jnp.pad(w[:8], ((0, ROWS - 8), (0, 0))), id="padded rows"),
        pytest.param(lambda w: w.astype(jnp.bfloat16).astype(jnp.float32), id="conversion"),
    ],
)
def test_readers_of_parts(function: Any) -> None:
    """Each reader by itself: the numbers of the whole array. A result of its shape is in parts too."""
    table = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    alike = jax.eval_shape(function, table).shape == table.shape
    name = "trainable:w" if alike else "y"

    def step(trainable: Any) -> Any:
        return {"trainable": {"w": function(trainable["w"])}} if alike else {"y": function(trainable["w"])}

    graph = trace("t", step, [Argument({"w": table}, Role.TRAINABLE)])
    parted = in_parts(graph, {"w": ((0, 8), (8, 16), (16, ROWS))})
    assert not parted.whole
    verify(parted.graph, Stage.TRACED)
    assert [out.name for out in parted.graph.outputs] == ([name + part for part in PARTS] if alike else ["y"])
    arrays = _inputs(graph)
    want, got = run(graph, arrays), _whole(run(parted.graph, _in_parts(parted.graph, arrays)))
    np.testing.assert_allclose(got[name], want[name], rtol=1e-6)


def test_a_product_needs_its_operand_whole() -> None:
    table = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    graph = trace("t", lambda w: {"y": w["w"].T @ w["w"]}, [Argument({"w": table}, Role.TRAINABLE)])
    assert in_parts(graph, {"w": ((0, 8), (8, ROWS))}).whole == {"w"}
