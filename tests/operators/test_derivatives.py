"""The hand-written derivatives against automatic differentiation of the plain forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.operators.activations import gelu_gate, gelu_tanh, silu_gate
from daypack.operators.norms import normalize, scale_to_unit
from daypack.operators.rotary import rotary_tables, rotate
from daypack.operators.softmax import logsumexp, softmax

FREQUENCIES = np.asarray([1.0, 0.3, 0.05, 0.002], np.float32)
TABLES = rotary_tables(FREQUENCIES, 5)


def plain_rotate(x: Any) -> Any:
    """As `transformers` writes it."""
    angles = jnp.arange(5.0)[:, None] * jnp.concatenate([FREQUENCIES, FREQUENCIES])[None, :]
    half = x.shape[-1] // 2
    swapped = jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * jnp.cos(angles)[:, None, :] + swapped * jnp.sin(angles)[:, None, :]


def plain_scale(x: Any) -> Any:
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def plain_normalize(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


PAIRS = {
    "softmax": (softmax, lambda x: jax.nn.softmax(x, axis=-1)),
    "logsumexp": (logsumexp, lambda x: jax.nn.logsumexp(x, axis=-1)),
    "normalize": (lambda x: normalize(x, 1e-5), plain_normalize),
    "scale_to_unit": (
        lambda x: scale_to_unit(x, 1e-6),
        lambda x: x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6),
    ),
    "gelu_tanh": (gelu_tanh, lambda x: jax.nn.gelu(x, approximate=True)),
    "silu_gate": (lambda x: silu_gate(x, x[::-1]), lambda x: jax.nn.silu(x) * x[::-1]),
    "gelu_gate": (lambda x: gelu_gate(x, x[::-1]), lambda x: jax.nn.gelu(x, approximate=True) * x[::-1]),
    "rotate": (lambda x: rotate(x[:, :, None, :8], *TABLES), lambda x: plain_rotate(x[:, :, None, :8])),
}


@pytest.mark.parametrize("name", PAIRS)
def test_value_and_derivative(name: str) -> None:
    ours, plain = PAIRS[name]
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, 5, 9)) * 3, jnp.float32)
    value, pull = jax.vjp(ours, x)
    expected, expected_pull = jax.vjp(plain, x)
    cotangent = jnp.cos(3.0 * expected)
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(pull(cotangent)[0], expected_pull(cotangent)[0], rtol=2e-5, atol=2e-6)


def test_rows_far_from_zero_do_not_overflow() -> None:
    x = jnp.asarray([[1e4, 1e4 - 1.0], [-1e4, -1e4]], jnp.float32)
    assert np.isfinite(softmax(x)).all()
    np.testing.assert_allclose(logsumexp(x), [1e4 + np.log1p(np.exp(-1.0)), -1e4 + np.log(2.0)], rtol=1e-7)
