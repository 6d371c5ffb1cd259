"""Tracing: control flow, calls, random keys, names, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from daypack.compiler import interpret
from daypack.compiler.graph import Role
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.trace import Argument, leaf_names, trace
from daypack.compiler.tracing import control
from daypack.errors import NoKernel, TraceError
from tests.compiler.cases import random
from tests.compiler.graphs import inputs_of, named_results, traced

X = random(4, 5)


def assert_same_as_jax(function: Callable[..., Any], *arrays: Any) -> None:
    """The interpreter of the traced graph and `jax.jit` agree."""
    held = tuple(np.asarray(a) for a in arrays)
    ours = interpret.run(traced(function, *held), inputs_of(held))
    theirs = named_results(jax.jit(function)(*held))
    assert sorted(ours) == sorted(theirs)
    for name, result in theirs.items():
        np.testing.assert_allclose(ours[name], np.asarray(result), rtol=1e-6, atol=1e-6)


def operations(function: Callable[..., Any], *arrays: Any) -> set[str]:
    return {node.op for node in traced(function, *(np.asarray(a) for a in arrays)).nodes}


# ---- calls ----


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return jnp.clip(x, -1, 1)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, g: (g * 2.0 * x,))


@jax.custom_jvp
def halved(x: Any) -> Any:
    return x / 2.0


@halved.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return halved(primals[0]), 7.0 * tangents[0]


@partial(lax.composite, name="test.scaled")
def scaled(x: Any) -> Any:
    return x * 3.0


CALLS: dict[str, Callable[..., Any]] = {
    "jit": jax.jit(lambda x: jnp.tanh(x) + 1.0),
    "jit in jit": jax.jit(lambda x: jax.jit(jnp.tanh)(x) + jax.jit(jnp.tanh)(2.0 * x)),
    "remat": lambda x: jax.grad(lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)))(x).sum())(x),
    "custom_vjp": clipped,
    "custom_vjp gradient": lambda x: jax.grad(lambda x: clipped(x).sum())(x),
    "custom_jvp": halved,
    "custom_jvp gradient": lambda x: jax.grad(lambda x: halved(x).sum())(x),
    "composite": scaled,
    "named call": lambda x: jax.named_call(jnp.tanh, name="t")(x),
    "checkpoint name": lambda x: checkpoint_name(x * 2.0, "n") + 1.0,
    "stop_gradient": lambda x: jax.grad(lambda x: (x * lax.stop_gradient(x)).sum())(x),
    "copy": lambda x: jnp.array(x, copy=True) + jnp.copy(x),
    "device_put": lambda x: jax.device_put(x) * 2.0,
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.grad(lambda x: jax.nn.gelu(x).sum())(x),
    "log_softmax": lambda x: jax.grad(lambda x: jax.nn.log_softmax(x)[:, 0].sum())(x),
    "logsumexp": lambda x: jax.grad(lambda x: jax.nn.logsumexp(x, 1).sum())(x),
    "where": lambda x: jnp.where(x > 0, x, 0.1),
    "tile": lambda x: jnp.tile(x, (3, 2)),
    "repeat": lambda x: jnp.repeat(x, 3, 1),
    "stack": lambda x: jnp.stack([x, x * 2.0, x], 1),
    "unstack": lambda x: jnp.unstack(x, axis=1)[2] * 2.0,
    "roll": lambda x: jnp.roll(x, 2, 1),
    "reshape in column order": lambda x: x.reshape(10, 2, order="F"),
    "one_hot": lambda x: jax.nn.one_hot(jnp.argmax(x, 1), 5),
    "tril": lambda x: jnp.tril(x),
    "linspace": lambda x: x + jnp.linspace(0.0, 1.0, 5),
    "einsum": lambda x: jnp.einsum("ij,kj->ik", x, x),
    "var": lambda x: jnp.var(x, 1),
    "isnan": lambda x: jnp.isnan(x) | jnp.isinf(x),
    "nan_to_num": lambda x: jnp.nan_to_num(x),
    "copysign": lambda x: jnp.copysign(x, -x),
    "floor_divide": lambda x: x // 0.3,
    "remainder": lambda x: x % 0.3,
    "hypot": lambda x: jnp.hypot(x, 2.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_inlined(name: str) -> None:
    assert_same_as_jax(CALLS[name], X)


# ---- control flow ----


def running(reverse: bool) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        def body(carry: Any, row: Any) -> Any:
            total = carry * 0.5 + row
            return total, (total.sum(), row * carry)

        last, (sums, products) = lax.scan(body, jnp.zeros(5), x, reverse=reverse)
        return last, sums, products

    return function


CONTROL: dict[str, Callable[..., Any]] = {
    "scan": running(reverse=False),
    "reverse scan": running(reverse=True),
    "gradient of a scan": lambda x: jax.grad(lambda x: running(False)(x)[1].sum())(x),
    "scan of nothing": lambda x: lax.scan(lambda c, _: (c, c * 2.0), x, None, length=0)[1],
    "scan of keys": lambda x: lax.scan(
        lambda c, k: (c, jax.random.bits(k)), 0, jax.random.split(jax.random.key(1), 3)
    )[1],
    "scan that makes keys": lambda x: jax.random.key_data(
        lax.scan(lambda k, _: (jax.random.fold_in(k, 1), k), jax.random.key(3), None, length=3)[1]
    ),
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, y: y * 1.5 + i.astype(jnp.float32), x),
    "map": lambda x: lax.map(lambda row: row / row.sum(), x),
    "cond": lambda x: lax.cond(x[0, 0] > 0, lambda y: y * 2.0, lambda y: y - 1.0, x),
    "switch": lambda x: lax.switch(2, [lambda y: y, lambda y: -y, lambda y: y * y, lambda y: y + 1.0], x),
    "switch on data": lambda x: lax.switch(
        jnp.argmax(x[:, 0]), [lambda y: (y, y), lambda y: (-y, y), lambda y: (y * y, y), lambda y: (y, -y)], x
    ),
    "associative scan": lambda x: lax.associative_scan(jnp.add, x),
    "vmap": lambda x: jax.vmap(lambda row: row @ row)(x),
}


@pytest.mark.parametrize("name", CONTROL)
def test_control_flow_is_written_out(name: str) -> None:
    assert_same_as_jax(CONTROL[name], X)


def test_a_long_scan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "UNROLL_LIMIT", 10)
    with pytest.raises(
        TraceError, match=r"a scan of 4 iterations of \d+ equations would unroll to more than 10"
    ):
        traced(running(reverse=False), X)


# ---- random keys ----

KEYS: dict[str, Callable[..., Any]] = {
    "dropout by example": lambda s: jax.vmap(
        lambda n: jax.random.bernoulli(jax.random.fold_in(jax.random.key(s), n), 0.5, (5,))
    )(jnp.arange(3, dtype=jnp.uint32)),
    "taken by index": lambda s: jax.random.bits(
        jax.random.split(jax.random.key(s), 4)[jnp.argmax(jnp.arange(3))]
    ),
    "gathered": lambda s: jax.vmap(jax.random.bits)(
        jax.random.split(jax.random.key(s), 4)[jnp.array([2, 0])]
    ),
    "chosen": lambda s: jax.random.bits(jnp.where(s > 3, jax.random.key(s), jax.random.key(1))),
    "stacked": lambda s: jax.vmap(jax.random.bits)(jnp.stack([jax.random.key(s), jax.random.key(1)])),
    "joined": lambda s: jax.vmap(jax.random.bits)(
        jnp.concatenate([jax.random.split(jax.random.key(s), 2), jax.random.split(jax.random.key(1), 3)])
    ),
    "reshaped": lambda s: jax.random.key_data(jax.random.split(jax.random.key(s), 6).reshape(2, 3).T),
    "a grid": lambda s: jax.random.key_data(jax.random.split(jax.random.key(s), (2, 3))[:, 1]),
    "a constant key": lambda s: jax.random.bits(jax.random.fold_in(jax.random.key(5), s), (3,)),
    "8 bits": lambda s: jax.random.bits(jax.random.key(s), (6,), dtype=jnp.uint8),
    "permutation-free choice": lambda s: jax.random.randint(jax.random.key(s), (7,), -3, 9),
    "truncated normal": lambda s: jax.random.truncated_normal(jax.random.key(s), -2.0, 2.0, (7,)),
}


@pytest.mark.parametrize("name", KEYS)
def test_random_keys(name: str) -> None:
    assert_same_as_jax(KEYS[name], np.uint32(7))


def test_nodes_of_a_random_operation_have_the_users_line() -> None:
    graph = traced(lambda s: jax.random.normal(jax.random.key(s), (3,)), np.uint32(1))
    assert {node.source.split(" ")[0].split(":")[0] for node in graph.nodes if node.op == "threefry2x32"} == {
        "compiler/test_trace.py"
    }
    assert all(
        node.source.startswith("compiler/test_trace.py:") for node in graph.nodes if node.op == "erf_inv"
    )


def test_another_generator_is_refused() -> None:
    with pytest.raises(TraceError) as caught:
        traced(lambda s: jax.random.bits(jax.random.key(s, impl="rbg")), np.uint32(1))
    assert caught.value.message.startswith(
        "random keys of type key<rbg> are not ones Daypack can plan (made at compiler/test_trace.py:"
    )
    assert "threefry2x32" in caught.value.message


def test_a_key_argument_is_refused() -> None:
    with pytest.raises(TraceError, match="input 'k' is an array of random keys; pass"):
        trace("g", lambda t: {"y": jax.random.bits(t["k"])}, [Argument({"k": jax.random.key(0)}, Role.BATCH)])


# ---- names, constants ----


def test_inputs_and_outputs_have_published_names() -> None:
    weights = {"h.0.mlp.w": X, "nested": [X[0], {"b": X[0]}]}

    def function(w: Any, x: Any) -> Any:
        return {
            "loss": (w["h.0.mlp.w"] * x).sum(),
            "gradients": {"a": x * 2.0, "b": (x, x + 1.0)},
            "extra": x,
        }

    graph = trace("g", function, [Argument(weights, Role.TRAINABLE), Argument(X, Role.BATCH, "batch/x")])
    assert [(i.name, i.role) for i in graph.inputs] == [
        ("h.0.mlp.w", Role.TRAINABLE),
        ("nested/0", Role.TRAINABLE),
        ("nested/1/b", Role.TRAINABLE),
        ("batch/x", Role.BATCH),
    ]
    assert [o.name for o in graph.outputs] == [
        "extra",
        "gradients:a",
        "gradients:b/0",
        "gradients:b/1",
        "loss",
    ]
    assert graph.outputs[0].value.id == 3
    assert leaf_names({"a": 1, "b": [2, 3]}, "opt/") == ["opt/a", "opt/b/0", "opt/b/1"]


def test_arrays_closed_over_are_constants_and_shared() -> None:
    table = jnp.asarray(X)
    graph = traced(lambda x: (x + table, x * table + jnp.float32(2.5), x - jnp.float32(2.5)), X)
    (constant,) = [i for i in graph.inputs if i.role is Role.CONSTANT]
    np.testing.assert_array_equal(graph.constants[constant.name], X)
    assert [n.attrs["value"] for n in graph.nodes if n.op == "constant"] == [2.5]


def test_operands_of_an_operation_have_its_shape_or_none() -> None:
    graph = traced(lambda x: x * x[:1] + x[0, 0], X)
    for node in graph.nodes:
        if node.op in ("mul", "add"):
            assert {v.shape for v in node.inputs} <= {(), (4, 5)}


# ---- what is refused ----

REFUSED: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "sort": (lambda x: jnp.sort(x), X, "primitive 'sort' (float32[4,5]) -> (float32[4,5])"),
    "cholesky": (lambda x: jnp.linalg.cholesky(x @ x.T), X, "primitive 'cholesky' (float32[4,4]) -> "),
    "while": (lambda x: lax.while_loop(lambda y: y.sum() < 1, lambda y: y * 2, x), X, "primitive 'while' ("),
    "fft": (lambda x: jnp.abs(jnp.fft.rfft(x)), X, "primitive 'fft' (float32[4,5]) -> (complex64[4,3])"),
    "top_k": (
        lambda x: lax.top_k(x, 2)[0],
        X,
        "primitive 'top_k' (float32[4,5]) -> (float32[4,2], int32[4,2])",
    ),
    "callback": (
        lambda x: jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct((4, 5), np.float32), x),
        X,
        "primitive 'pure_callback' (float32[4,5])",
    ),
    "int16": (
        lambda x: x.astype(jnp.int16) + 1,
        X,
        "the result of convert_element_type has element type int16; ",
    ),
    "complex": (lambda x: lax.complex(x, x).real, X, "primitive 'complex' (float32[4,5], float32[4,5]) -> "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_planned_is_named_with_its_line(name: str) -> None:
    function, array, message = REFUSED[name]
    with pytest.raises(TraceError) as caught:
        traced(function, array)
    assert caught.value.message.startswith(message)
    assert f"made at compiler/test_trace.py:{function.__code__.co_firstlineno} (" in caught.value.message


def test_an_unknown_primitive_points_to_the_list() -> None:
    with pytest.raises(TraceError, match=r"supported operations \(docs/operations.md lists them\)"):
        traced(jnp.sort, X)


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex64", "int16"])
def test_inputs_of_other_types_are_refused(dtype: str) -> None:
    array = np.ones((2,), dtype)
    with pytest.raises(
        TraceError, match=f"input '0' has element type {dtype}; a step may hold float32, int32"
    ):
        traced(lambda x: x, array)


def test_float64_inside_is_refused() -> None:
    with jax.enable_x64(True), pytest.raises(TraceError, match="element type float64; a step may hold"):
        traced(lambda x: x + jnp.arange(5.0).sum().astype(jnp.float32), X)


@pytest.mark.parametrize("dtype", ["int32", "bfloat16"])
def test_products_of_other_types_have_no_kernel(dtype: str) -> None:
    from tests.compiler.graphs import fused
    from tests.compiler.harness import HOST

    graph = fused(lambda x: jax.lax.dot(x, x.T), np.ones((4, 4), jnp.dtype(dtype)))
    with pytest.raises(
        NoKernel, match=rf"dot_general of {dtype}, {dtype} has no kernel: only float32 .*test_trace.py:\d+ "
    ):
        KernelTable(HOST).number_of(graph.nodes[-1])


# ---- the interpreter's own errors ----


def test_the_interpreter_checks_its_inputs() -> None:
    graph = traced(lambda x: x * 2.0, X)
    with pytest.raises(TraceError, match="graph 'case': input '0' was not given"):
        interpret.run(graph, {})
    with pytest.raises(TraceError, match=r"input '0' is float32\[5, 4\], expected float32\[4, 5\]"):
        interpret.run(graph, {"0": X.T})
    with pytest.raises(TraceError, match=r"input '0' is float64\[4, 5\], expected float32\[4, 5\]"):
        interpret.run(graph, {"0": X.astype(np.float64)})
