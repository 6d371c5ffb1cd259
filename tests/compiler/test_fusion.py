"""Fusion: which operations share a kernel, and that a fused graph computes what the unfused one does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from daypack.compiler import interpret, ops
from daypack.compiler.fusion.fuse import fuse
from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.passes.dce import dce
from daypack.compiler.pipeline import PASSES, optimize
from tests.compiler.cases import random
from tests.compiler.graphs import fused, inputs_of, traced
from tests.compiler.random_graphs import random_graph, random_inputs


def kinds(graph: StepGraph) -> list[str]:
    return [node.attrs["kind"] for node in graph.nodes]


def body_ops(node: Node) -> set[str]:
    assert node.body is not None
    return {inner.op for inner in node.body.nodes}


# ---- structure ----


def test_a_softmax_is_one_rows_kernel() -> None:
    assert kinds(fused(jax.nn.softmax, random(6, 10))) == ["rows"]


def test_a_softmax_with_scale_and_mask_is_one_rows_kernel() -> None:
    def masked(scores: Any) -> Any:
        seen = jnp.tril(jnp.ones((10, 10), bool))
        return jax.nn.softmax(jnp.where(seen, scores * 0.125, -1e9))

    assert kinds(fused(masked, random(2, 3, 10, 10))) == ["rows"]


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w + b


def test_a_layer_norm_is_one_rows_kernel() -> None:
    graph = fused(layer_norm, random(6, 10), random(10), random(10))
    assert kinds(graph) == ["rows"]


def test_the_derivative_of_a_layer_norm_is_a_rows_kernel_and_sums_of_columns() -> None:
    def slope(x: Any, w: Any, b: Any, g: Any) -> Any:
        return jax.grad(lambda x, w, b: (layer_norm(x, w, b) * g).sum(), (0, 1, 2))(x, w, b)

    graph = fused(slope, random(6, 10), random(10), random(10), random(6, 10))
    assert sorted(kinds(graph)) == ["columns", "rows"]


def test_a_gelu_after_a_product_is_its_epilogue() -> None:
    def layer(x: Any, w: Any, b: Any) -> Any:
        return jax.nn.gelu(x @ w + b)

    graph = fused(layer, random(4, 5), random(5, 7), random(7))
    assert kinds(graph) == ["gemm"]
    assert body_ops(graph.nodes[0]) >= {"dot_general", "tanh", "add"}


def test_a_residual_after_a_product_is_its_epilogue() -> None:
    graph = fused(lambda x, w, r: x @ w + r, random(4, 5), random(5, 7), random(4, 7))
    assert kinds(graph) == ["gemm"]


def test_adamw_of_one_array_is_one_kernel_and_scalars() -> None:
    optimizer = optax.adamw(1e-3)

    def update(w: Any, g: Any, m: Any, v: Any, count: Any) -> Any:
        scale, decay, schedule = optimizer.init(w)
        state = (scale._replace(count=count, mu=m, nu=v), decay, schedule)
        change, (scale, *_) = optimizer.update(g, state, w)
        return optax.apply_updates(w, change), scale.mu, scale.nu, scale.count

    arrays = (random(50, 7), random(50, 7, seed=1), random(50, 7, seed=2), random(50, 7, seed=3) ** 2)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step count with floats
        graph = fused(update, *arrays, np.int32(3))
    wide = [n for n in graph.nodes if any(v.elements > 1 for v in n.outputs)]
    assert [n.attrs["kind"] for n in wide] == ["elementwise"]
    assert sum(v.elements == 350 for v in wide[0].outputs) == 3


def dropout_loss(w: Any, x: Any, seed: Any) -> Any:
    def loss(w: Any) -> Any:
        h = jnp.tanh(x @ w)
        kept = jax.random.bernoulli(jax.random.key(seed), 0.75, h.shape)
        return jnp.sum(jnp.where(kept, h / 0.75, 0.0) @ w.T)

    return jax.value_and_grad(loss)(w)


def test_a_dropout_mask_is_stored_as_bytes() -> None:
    graph = fused(dropout_loss, random(40, 30), random(50, 40), np.uint32(3))
    random_nodes = [n for n in graph.nodes if "threefry2x32" in body_ops(n)]
    big = [v for n in random_nodes for v in n.outputs if v.elements == 1500]
    assert len([n for n in random_nodes if any(v.elements == 1500 for v in n.outputs)]) == 1
    assert {v.dtype for v in big if v.dtype != "float32"} == {"bool"}
    assert not any(v.dtype == "uint32" and v.elements == 1500 for n in graph.nodes for v in n.outputs)


def test_a_barrier_keeps_its_value_in_memory() -> None:
    def twice(x: Any) -> Any:
        y = jax.lax.optimization_barrier(x * 2.0)
        return y.sum(0), y.sum(1)

    graph = fused(twice, random(40, 30))
    assert sum(v.shape == (40, 30) for n in graph.nodes for v in n.outputs) == 1


def test_views_are_never_stored() -> None:
    def moved(x: Any, w: Any) -> Any:
        return (x.transpose(1, 0, 2).reshape(5, 12) @ w)[:, ::2] + 1.0

    graph = fused(moved, random(3, 5, 4), random(12, 6))
    for node in graph.nodes:
        assert body_ops(node) - (ops.VIEWS | ops.GENERATORS)


# ---- laws ----


def check_form(graph: StepGraph) -> None:
    """Fused nodes only, each operand computed before, each body complete."""
    known = {i.value.id for i in graph.inputs}
    for node in graph.nodes:
        assert node.op == "fused"
        assert node.body is not None
        assert [v.id for v in node.inputs] == [i.value.id for i in node.body.inputs]
        assert [v.id for v in node.outputs] == [o.value.id for o in node.body.outputs]
        assert {v.id for v in node.inputs} <= known
        known.update(v.id for v in node.outputs)
    assert {o.value.id for o in graph.outputs} <= known


@pytest.mark.parametrize("seed", range(60))
def test_a_fused_graph_computes_the_same_bits(seed: int) -> None:
    graph = random_graph(seed)
    for one in PASSES:
        graph = one(graph)
    together = fuse(graph)
    check_form(together)
    inputs = random_inputs(graph, seed)
    before, after = interpret.run(graph, inputs), interpret.run(together, inputs)
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}


@pytest.mark.parametrize("seed", range(20))
def test_graphs_need_no_pass_before_fusion(seed: int) -> None:
    graph = random_graph(seed)
    inputs = random_inputs(graph, seed)
    before, after = interpret.run(graph, inputs), interpret.run(fuse(dce(graph)), inputs)
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}


def test_a_step_is_fused_in_a_valid_order() -> None:
    arrays = (random(40, 30), random(50, 40), np.uint32(3))
    graph = fused(dropout_loss, *arrays)
    check_form(graph)
    ours = interpret.run(graph, inputs_of(arrays))
    loss, gradient = jax.jit(dropout_loss)(*arrays)
    np.testing.assert_allclose(ours["r0"], loss, rtol=1e-4)
    np.testing.assert_allclose(ours["r1"], gradient, rtol=1e-4, atol=1e-4)


def test_fusion_does_not_depend_on_how_often_it_is_asked() -> None:
    graph = traced(dropout_loss, random(40, 30), random(50, 40), np.uint32(3))
    assert optimize(graph) == optimize(graph)
