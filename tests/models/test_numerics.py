"""The hand-written derivatives against automatic differentiation of the plain forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.models.numerics import gelu_tanh, logsumexp, normalize, softmax


def plain_normalize(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


PAIRS = {
    "softmax": (softmax, lambda x: jax.nn.softmax(x, axis=-1)),
    "logsumexp": (logsumexp, lambda x: jax.nn.logsumexp(x, axis=-1)),
    "normalize": (lambda x: normalize(x, 1e-5), plain_normalize),
    "gelu_tanh": (gelu_tanh, lambda x: jax.nn.gelu(x, approximate=True)),
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
