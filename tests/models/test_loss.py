"""Loss over labelled tokens only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from daypack.models.document import NO_LABEL
from daypack.models.loss import token_losses


def test_sum_over_labels_and_their_number() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 3, 5)).astype(np.float32)
    labels = np.array([[0, NO_LABEL, 4], [NO_LABEL, 2, NO_LABEL]], np.int32)
    logs = np.log(
        np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(-1, keepdims=True)
    )
    expected = -(logs[0, 0, 0] + logs[0, 2, 4] + logs[1, 1, 2])
    total, weight = token_losses(jnp.asarray(logits), jnp.asarray(labels))
    assert total.dtype == weight.dtype == jnp.float32
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert weight == 3


def test_no_labels_at_all_is_zero_with_zero_gradient() -> None:
    logits = jnp.ones((1, 2, 3), jnp.float32)
    labels = jnp.full((1, 2), NO_LABEL, jnp.int32)
    (total, weight), gradient = jax.value_and_grad(lambda x: token_losses(x, labels), has_aux=True)(logits)
    assert total == 0 and weight == 0
    np.testing.assert_array_equal(gradient, np.zeros((1, 2, 3)))
