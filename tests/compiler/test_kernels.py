"""Every schedule against the interpreter at the tails of vectors and tiles.

No kernel writes outside its arrays (the harness looks), and its bits depend neither on how tiles are handed
out nor on an output that lies on an input where that is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from daypack.compiler.alias import may_overwrite
from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.pipeline import optimize
from tests.compiler.cases import booleans, integers, random, uniform
from tests.compiler.graphs import Array, calls, fused, inputs_of
from tests.compiler.harness import HOST, Kernel, Library, kernel_of, narrower_targets
from tests.compiler.random_graphs import random_graph, random_inputs

TAILS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129)
FEW = (7, 17, 65)


@dataclass(frozen=True)
class Family:
    """Functions that make one kernel of a schedule, by size."""

    kind: Kind
    function: Callable[..., Any]
    arrays: Callable[[int], tuple[Array, ...]]
    sizes: tuple[int, ...] = ()
    rtol: float = 1e-5
    atol: float = 1e-5


def layer_norm(x: Any, w: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * w


def layer_norm_slope(x: Any, w: Any, g: Any) -> Any:
    return jax.grad(lambda x: (layer_norm(x, w) * g).sum())(x)


def softmax_slope(x: Any, g: Any) -> Any:
    return jax.grad(lambda x: (jax.nn.softmax(x) * g).sum())(x)


def dense(x: Any, w: Any, b: Any) -> Any:
    return jax.nn.gelu(x @ w + b)


def patches(x: Any, k: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.nn.relu(lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers))


def pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 1), (1, 2, 1), "SAME")


def pool_slope(x: Any) -> Any:
    return jax.grad(lambda x: (pool(x) * 2.0).sum())(x)


def attention(q: Any, k: Any) -> Any:
    return jnp.einsum("bqhd,bkhd->bhqk", q, k) * 0.125


FAMILIES = {
    "elementwise flat": Family(
        Kind.ELEMENTWISE, lambda x, y: (jnp.tanh(x) * y, x + y), lambda n: (random(n), random(n, seed=1))
    ),
    "elementwise rows": Family(
        Kind.ELEMENTWISE, lambda x, b: jnp.exp(x + b), lambda n: (random(5, n), random(n))
    ),
    "elementwise columns": Family(
        Kind.ELEMENTWISE, lambda x, b: x.T * b, lambda n: (random(n, 5), random(n))
    ),
    "elementwise bool": Family(
        Kind.ELEMENTWISE, lambda m, x: (jnp.where(m, x, 0.0), ~m), lambda n: (booleans(3, n), random(3, n))
    ),
    "elementwise pad": Family(
        Kind.ELEMENTWISE, lambda x: lax.pad(x, 0.5, ((0, 1, 0), (2, 1, 1))), lambda n: (random(3, n),)
    ),
    "elementwise wide": Family(
        Kind.ELEMENTWISE,
        lambda x, b: jnp.tanh(x) + b,
        lambda n: (random(2, 16384 + n), random(16384 + n)),
        FEW,
    ),
    "elementwise long": Family(Kind.ELEMENTWISE, lambda x: jnp.tanh(x), lambda n: (random(16384 + n),), FEW),
    "elementwise libm": Family(
        Kind.ELEMENTWISE, lambda x, y: lax.pow(x, y), lambda n: (uniform(0.1, 3, 2, n), random(2, n))
    ),
    "softmax": Family(Kind.ROWS, jax.nn.softmax, lambda n: (random(5, n),)),
    "softmax, many rows": Family(Kind.ROWS, jax.nn.softmax, lambda n: (random(n, 6),)),
    "softmax slope": Family(Kind.ROWS, softmax_slope, lambda n: (random(5, n), random(5, n, seed=1))),
    "log softmax": Family(Kind.ROWS, jax.nn.log_softmax, lambda n: (random(2, 3, n),)),
    "layer norm": Family(Kind.ROWS, layer_norm, lambda n: (random(5, n), random(n)), atol=1e-4),
    "layer norm slope": Family(
        Kind.ROWS, layer_norm_slope, lambda n: (random(5, n), random(n), random(5, n, seed=1)), atol=1e-3
    ),
    "row sums": Family(Kind.ROWS, lambda x: (x * x).sum((1, 2)), lambda n: (random(4, 3, n),)),
    "row any": Family(Kind.ROWS, lambda m: m.any(1), lambda n: (booleans(4, n) & booleans(4, n, seed=1),)),
    "column sums": Family(
        Kind.COLUMNS, lambda x, y: ((x * y).sum(0), x.max(0)), lambda n: (random(9, n), random(9, n, seed=1))
    ),
    "column sums, deep": Family(Kind.COLUMNS, lambda x: x.sum((0, 1)), lambda n: (random(n, 3, 5),)),
    "total": Family(
        Kind.TOTAL,
        lambda x: (jnp.square(x).sum(), x.max()),
        lambda n: (random(n),),
        (7, 65, 16383, 16384, 16385, 50000),
        atol=1e-2,
    ),
    "total of rows": Family(Kind.TOTAL, lambda x: jnp.abs(x).sum(), lambda n: (random(3, n),)),
    "middle sums": Family(Kind.GENERAL, lambda x: x.sum(1), lambda n: (random(3, n, 5),)),
    "argmax": Family(Kind.GENERAL, lambda x: jnp.argmax(x, 1), lambda n: (random(5, n),)),
    "product": Family(Kind.GEMM, dense, lambda n: (random(n, 20), random(20, 37) / 4, random(37))),
    "product, wide": Family(Kind.GEMM, dense, lambda n: (random(9, 20), random(20, n) / 4, random(n))),
    "product, deep": Family(Kind.GEMM, lambda x, w: x @ w, lambda n: (random(9, n), random(n, 21))),
    "product of transposed": Family(Kind.GEMM, lambda x, w: x.T @ w, lambda n: (random(7, n), random(7, 50))),
    "product with transposed": Family(
        Kind.GEMM, lambda x, w: x @ w.T, lambda n: (random(n, 7), random(n + 2, 7))
    ),
    "product of views": Family(
        Kind.GEMM, lambda x, w: jnp.flip(x, 0)[::2] @ w[:, 1:], lambda n: (random(n, 9), random(9, 40))
    ),
    "attention": Family(Kind.GEMM, attention, lambda n: (random(2, n, 3, 8), random(2, n, 3, 8, seed=1))),
    "product of a vector": Family(Kind.GEMM, lambda x, w: x @ w, lambda n: (random(n), random(n, n))),
    "convolution": Family(Kind.GEMM, patches, lambda n: (random(2, 5, n, 3), random(3, 3, 3, 7) / 5)),
    "convolution, many features": Family(
        Kind.GEMM, patches, lambda n: (random(1, 4, 5, 6), random(3, 3, 6, n) / 5)
    ),
    "pooling": Family(Kind.WINDOW, pool, lambda n: (random(2, 9, n),)),
    "pooling along": Family(Kind.WINDOW, pool, lambda n: (random(2, n, 5),)),
    "pooling slope": Family(Kind.WINDOW, pool_slope, lambda n: (random(2, 9, n),)),
    "cumulative sum": Family(Kind.SCAN, lambda x: lax.cumsum(x, 1), lambda n: (random(2, 9, n),)),
    "cumulative sum along": Family(
        Kind.SCAN, lambda x: lax.cumsum(x, 1, reverse=True), lambda n: (random(3, n),)
    ),
    "rows added": Family(
        Kind.SCATTER,
        lambda t, i, u: t.at[i].add(u),
        lambda n: (random(9, n), integers(12, low=-2, high=12), random(12, n)),
    ),
    "rows added to nothing": Family(
        Kind.SCATTER,
        lambda i, u: jnp.zeros((9, 5)).at[i].add(u),
        lambda n: (integers(n, low=0, high=9), random(n, 5)),
    ),
    "columns written": Family(
        Kind.SCATTER, lambda t, u: t.at[:, 2].set(u), lambda n: (random(n, 5), random(n))
    ),
    "concatenation": Family(
        Kind.CONCATENATE,
        lambda x, y: jnp.concatenate([x, y * 2.0, x], 1),
        lambda n: (random(3, n), random(3, 5)),
    ),
    "concatenation of rows": Family(
        Kind.CONCATENATE, lambda x, y: jnp.concatenate([x, y]), lambda n: (random(4, n), random(2, n))
    ),
}


@dataclass(frozen=True)
class Item:
    """One family at one size for one vector width."""

    name: str
    size: int
    target: KernelTarget = HOST

    def __str__(self) -> str:
        return f"{self.name}, {self.size}, {self.target.vector_bits} bits"

    @property
    def arrays(self) -> tuple[Array, ...]:
        return FAMILIES[self.name].arrays(self.size)

    @property
    def graph(self) -> StepGraph:
        return fused(FAMILIES[self.name].function, *self.arrays)


def sizes(number: int, family: Family) -> tuple[int, ...]:
    """A third of the tails each, so that families of one schedule take turns."""
    return family.sizes or TAILS[number % 3 :: 3]


ITEMS = [Item(name, size) for n, (name, f) in enumerate(FAMILIES.items()) for size in sizes(n, f)]
NARROW = [
    Item(name, FEW[(number + turn) % 3], target)
    for turn, target in enumerate(narrower_targets())
    for number, name in enumerate(FAMILIES)
]


@pytest.fixture(scope="module")
def libraries() -> dict[KernelTarget, Library]:
    """The kernels of every item, called ITEM/NUMBER, by target."""
    kernels: dict[KernelTarget, dict[str, Kernel]] = {}
    for item in (*ITEMS, *NARROW):
        for number, node in enumerate(item.graph.nodes):
            kernels.setdefault(item.target, {})[f"{item}/{number}"] = kernel_of(node, item.target)
    return {target: Library(held, target) for target, held in kernels.items()}


def test_every_schedule_has_a_family() -> None:
    of_flash = {kind for kind in Kind if kind.startswith("flash")}  # the engine's own, no kernel
    assert {family.kind for family in FAMILIES.values()} == set(Kind) - of_flash


def aliases(node: Node, kernel: Kernel) -> Iterator[dict[int, int]]:
    """Every way in which one output of a kernel may lie on one of its inputs."""
    body, code = kernel.body, kernel.code
    if code.overwrites is not None:
        return
    items = tuple(v.id for v in node.inputs)
    for output, result in enumerate(node.outputs):
        for number, operand in enumerate(node.inputs):
            fits = operand.size_bytes == result.size_bytes and operand.dtype == result.dtype
            if fits and may_overwrite(body, code, output, items, items[number]):
                yield {output: number}


def check(library: Library, name: str, call: tuple[Node, list[Array], list[Array]], family: Family) -> None:
    """The kernel against the interpreter, then its own bits under other tiles and other memory."""
    node, arrays, expected = call
    kernel = library.kernels[name]
    once = library.run(name, arrays)
    for ours, theirs in zip(once, expected, strict=True):
        if theirs.dtype.kind in "fV":
            np.testing.assert_allclose(ours, theirs, rtol=family.rtol, atol=family.atol)
        else:
            np.testing.assert_array_equal(ours, theirs)
    bits = [a.tobytes() for a in once]
    tiles = max(phase.tiles for phase in kernel.code.phases)
    for chunks in sorted({2, 3, min(tiles, 50)}):
        assert [a.tobytes() for a in library.run(name, arrays, chunks)] == bits
    for onto in aliases(node, kernel):
        assert [a.tobytes() for a in library.run(name, arrays, 2, onto)] == bits, f"output on input {onto}"


@pytest.mark.parametrize("item", [*ITEMS, *NARROW], ids=str)
def test_kernels_agree_with_the_interpreter(item: Item, libraries: dict[KernelTarget, Library]) -> None:
    graph, family = item.graph, FAMILIES[item.name]
    done = list(calls(graph, inputs_of(item.arrays)))
    if item.size > 1:
        assert family.kind in [node.attrs["kind"] for node, _, _ in done]
    for number, call in enumerate(done):
        check(libraries[item.target], f"{item}/{number}", call, family)


# ---- random graphs ----

SEEDS = range(1000, 1020)


@pytest.fixture(scope="module")
def random_library() -> Library:
    """The kernels of random graphs, called SEED/NUMBER."""
    return Library(
        {
            f"{seed}/{number}": kernel_of(node)
            for seed in SEEDS
            for number, node in enumerate(optimize(random_graph(seed)).nodes)
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_kernels_of_random_graphs(seed: int, random_library: Library) -> None:
    source = random_graph(seed)
    graph = optimize(source)
    loose = Family(Kind.GENERAL, len, lambda n: (), rtol=1e-4)
    for number, call in enumerate(calls(graph, random_inputs(source, seed))):
        check(random_library, f"{seed}/{number}", call, loose)


# ---- NaN ----

NAN_ROWS: dict[str, Callable[..., Any]] = {
    "softmax": jax.nn.softmax,
    "log softmax": jax.nn.log_softmax,
    "layer norm": lambda x: layer_norm(x, jnp.ones(70)),
    "row maximum": lambda x: x.max(1),
    "row minimum": lambda x: x.min(1),
    "row sum": lambda x: x.sum(1),
    "cumulative maximum": lambda x: lax.cummax(x, 1)[:, -1],
    "pooling": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 70), (1, 1), "VALID"),
    "product": lambda x: x @ jnp.ones((70, 9)),
    "argmax": lambda x: jnp.argmax(x, 1) - 11,
}


@pytest.mark.parametrize("name", NAN_ROWS)
def test_nan_stays_nan_and_in_its_row(name: str) -> None:
    x = random(6, 70)
    x[2, 11] = np.nan
    graph = fused(NAN_ROWS[name], x)
    kernels = {str(n): kernel_of(node) for n, node in enumerate(graph.nodes)}
    library = Library(kernels)
    result = np.zeros(0)
    for number, (_, arrays, _) in enumerate(calls(graph, inputs_of((x,)))):
        (result,) = library.run(str(number), arrays)
    rows = result.reshape(6, -1)
    if name == "argmax":
        assert rows[2, 0] == 0
        return
    assert np.isnan(rows[2]).all()
    assert np.isfinite(np.delete(rows, 2, 0)).all()


@pytest.mark.parametrize("size", (1, 7, 16, 33))
def test_nan_passes_maximum_minimum_and_relu(size: int) -> None:
    x = random(size)
    x[-1] = np.nan
    zero = np.zeros(size, np.float32)

    def function(x: Any, y: Any) -> Any:
        return jnp.maximum(x, y), jnp.maximum(y, x), jnp.minimum(x, y), jax.nn.relu(x), jnp.clip(x, -1, 1)

    graph = fused(function, x, zero)
    library = Library({str(n): kernel_of(node) for n, node in enumerate(graph.nodes)})
    for number, (_, arrays, _) in enumerate(calls(graph, inputs_of((x, zero)))):
        for result in library.run(str(number), arrays):
            assert np.isnan(result[-1])
            assert np.isfinite(result[:-1]).all()


# ---- places that lie outside ----


@pytest.mark.parametrize("mode", ["drop", "clip", "promise_in_bounds"])
def test_a_scatter_never_writes_outside(mode: str) -> None:
    table, updates = random(9, 20), random(6, 20, seed=1)
    places = np.array([-1, 9, 2**31 - 1, -(2**31), 100, 3], np.int32)
    graph = fused(
        lambda t, i, u: t.at[i].add(u, mode=mode, wrap_negative_indices=False), table, places, updates
    )
    library = Library({str(n): kernel_of(node) for n, node in enumerate(graph.nodes)})
    for number, (_, arrays, expected) in enumerate(calls(graph, inputs_of((table, places, updates)))):
        for ours, theirs in zip(library.run(str(number), arrays), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_chain_longer_than_the_stack() -> None:
    def function(x: Any) -> Any:
        for _ in range(600):
            x = jnp.abs(x) * 0.99 + 0.01
        return x

    x = random(20)
    graph = fused(function, x)
    (node,) = graph.nodes
    library = Library({"k": kernel_of(node)})
    ((_, arrays, expected),) = calls(graph, inputs_of((x,)))
    np.testing.assert_allclose(library.run("k", arrays)[0], expected[0], rtol=1e-5)
