"""Products in float16: each kernel in the very bits of its law, and the law against exact arithmetic."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from daypack.compiler.graph import Node
from daypack.compiler.interpret import evaluate
from daypack.compiler.reference.half import BLOCK, half_product, scales
from tests.compiler.cases import random
from tests.compiler.graphs import Array, fused_in_half
from tests.compiler.harness import Library, kernel_of

U = 2.0**-11
"""Half a unit in the last place of 1 in float16."""
FORMS = {
    "x·W": ("mk,kn->mn", (33, 49, 65)),
    "dy·Wᵀ": ("mk,nk->mn", (40, 33, 129)),
    "xᵀ·dy": ("km,kn->mn", (35, 127, 64)),
    "heads": ("bmk,bnk->bmn", (37, 40, 32)),
    "deep": ("mk,kn->mn", (32, 32, 2100)),  # longer than what is rounded at once
}
"""Rows, columns and depth at the tails of tiles of 8 x 24 and of blocks of 64."""


def operands(form: str) -> tuple[Array, Array]:
    axes, sizes = FORMS[form]
    extent = dict(zip("mnkb", (*sizes, 2), strict=True))
    left, right = axes.split("->")[0].split(",")
    return random(*(extent[a] for a in left)), 1e-6 * random(*(extent[a] for a in right), seed=1)


def product(form: str) -> Node:
    """One product with an epilogue, as the compiler fuses it."""
    axes = FORMS[form][0]
    graph = fused_in_half(lambda x, y: jnp.maximum(jnp.einsum(axes, x, y), 0) * 0.5, *operands(form))
    (node,) = graph.nodes
    return node


def adapted() -> tuple[Node, tuple[Array, ...]]:
    """A wide product in float16 to which an adapter's shallow one in float32 is added."""
    arrays = (random(33, 70), random(70, 50, seed=1), random(33, 8, seed=2), random(8, 50, seed=3))
    graph = fused_in_half(lambda x, w, xa, b: x @ w + 2 * (xa @ b), *arrays)
    (node,) = graph.nodes
    return node, arrays


@pytest.fixture(scope="module")
def library() -> Library:
    kernels = {form: kernel_of(product(form)) for form in FORMS}
    return Library({**kernels, "adapted": kernel_of(adapted()[0])})


def interpreted(node: Node, arrays: tuple[Array, ...]) -> Array:
    env = {value.id: array for value, array in zip(node.inputs, arrays, strict=True)}
    with np.errstate(all="ignore"):
        evaluate((node,), env)
    return env[node.output.id]


@pytest.mark.parametrize("form", FORMS)
def test_kernels_have_the_bits_of_the_law(form: str, library: Library) -> None:
    arrays = operands(form)
    wanted = interpreted(product(form), arrays)
    for chunks in (1, 3):
        (found,) = library.run(form, arrays, chunks)
        np.testing.assert_array_equal(found, wanted)
    assert wanted.any()


def test_an_adapter_is_added_in_float32(library: Library) -> None:
    node, arrays = adapted()
    assert node.body is not None
    assert [n.attrs.get("arithmetic") for n in node.body.nodes if n.op == "dot_general"] == ["float16", None]
    (found,) = library.run("adapted", arrays)
    np.testing.assert_allclose(found, interpreted(node, arrays), rtol=0, atol=2e-6)


def exact(left: Array, right: Array) -> Any:
    return np.matmul(left.astype(np.float64), right.astype(np.float64))


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e6, 1e18])
@pytest.mark.parametrize("depth", [32, 64, 300])
def test_errors_are_within_the_bound(depth: int, size: float) -> None:
    """Of any size alike: rounding of both operands, of BLOCK sums of at most what they are made of."""
    left, right = size * random(1, 40, depth), random(1, depth, 40, seed=1) / np.float32(size)
    wanted = exact(left, right)
    error = np.abs(half_product(left, right) - wanted)
    largest = exact(np.abs(left), np.abs(right))
    assert (error <= (2 + min(depth, BLOCK)) * U * 1.01 * largest).all()
    typical = np.linalg.norm(error) / np.linalg.norm(wanted)
    assert 1e-4 < typical < 2.5e-3, "a random product is a few thousandths off, and is not float32"


def test_small_parts_of_a_row_underflow_harmlessly() -> None:
    """Beside an element of 1, those below 2^-28 are lost; the error is theirs."""
    left = np.full((1, 32, 64), 1e-9, np.float32)
    left[:, :, 0] = 1
    right = np.ones((1, 64, 32), np.float32)
    np.testing.assert_allclose(half_product(left, right), exact(left, right), rtol=0, atol=64 * 2.0**-28)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_passes_on(special: float, side: int, library: Library) -> None:
    arrays = operands("x·W")
    arrays[side][5, 7] = special
    (found,) = library.run("x·W", arrays)
    np.testing.assert_array_equal(found, interpreted(product("x·W"), arrays))
    touched = found[5] if side == 0 else found[:, 7]
    with np.errstate(invalid="ignore"):
        negative = (np.einsum("mk,kn->mn", *arrays) == -np.inf).reshape(found.shape)
    lost = negative[5] if side == 0 else negative[:, 7]  # max(-inf, 0)
    assert np.isfinite(touched[lost]).all()
    assert not np.isfinite(touched[~lost]).any()
    assert np.isfinite(np.delete(found, 5, 0) if side == 0 else np.delete(found, 7, 1)).all()


def test_denormals_and_zeros_are_products_too(library: Library) -> None:
    left, right = operands("x·W")
    arrays = (left * np.float32(1e-40), right * np.float32(1e6))
    arrays[0][3] = 0
    (found,) = library.run("x·W", arrays)
    np.testing.assert_array_equal(found, interpreted(product("x·W"), arrays))
    assert found.any()
    assert not found[3].any()


@pytest.mark.parametrize("largest", [1e-45, 1.0, 3.999, 4.0, 3e38])
def test_scales_are_powers_of_two(largest: float) -> None:
    scale, inverse = scales(np.array([[0.5 * largest, -largest]], np.float32), 1)
    assert float(scale[0, 0] * inverse[0, 0]) == 1
    assert np.frexp(scale[0, 0])[0] == 0.5
    scaled = np.float32(largest) * scale[0, 0]
    assert scaled < 16
    assert scaled >= 8 or largest == pytest.approx(1e-45, rel=0.5)
