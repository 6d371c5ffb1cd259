"""The loss of a head by blocks of its rows, frozen or trained, against the plain form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.operators import loss_head

NONE = -100


def _plain(hidden: Any, head: Any, labels: Any) -> Any:
    logits = jnp.einsum("btc,vc->btv", hidden, head)
    log_probabilities = jax.nn.log_softmax(logits)
    labelled = labels != NONE
    target = jnp.where(labelled, labels, 0)[..., None]
    picked = jnp.take_along_axis(log_probabilities, target, axis=-1)[..., 0]
    return -jnp.sum(jnp.where(labelled, picked, jnp.float32(0.0)))


@pytest.mark.parametrize("vocabulary", [5, 16, 17, 130])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_loss_and_gradient_are_those_of_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, scale: float
) -> None:
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", 16)
    rng = np.random.default_rng(vocabulary)
    hidden = jnp.asarray(rng.normal(size=(2, 7, 12)) * scale, jnp.float32)
    head = jnp.asarray(rng.normal(size=(vocabulary, 12)), jnp.float32)
    labels = rng.integers(0, vocabulary, (2, 7)).astype(np.int32)
    labels[0, 2] = labels[1] = NONE
    ids = jnp.asarray(labels)

    def ours(x: Any) -> Any:
        return loss_head.frozen_head_loss(x, head, ids, NONE)

    def plain(x: Any) -> Any:
        return _plain(x, head, ids)

    loss, gradient = jax.value_and_grad(ours)(hidden)
    expected, reference = jax.value_and_grad(plain)(hidden)
    print(f"vocabulary {vocabulary}, scale {scale}: loss {abs(loss - expected) / expected:.1e} relative")
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=2e-6 * scale)
    assert not np.any(np.asarray(gradient)[1]), "positions without a label have no gradient"


def test_the_cotangent_scales_the_gradient() -> None:
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(1, 3, 4)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(9, 4)), jnp.float32)
    labels = jnp.asarray([[1, NONE, 8]], jnp.int32)

    def once(x: Any) -> Any:
        return loss_head.frozen_head_loss(x, head, labels, NONE)

    def thrice(x: Any) -> Any:
        return jnp.float32(3.0) * once(x)

    np.testing.assert_allclose(jax.grad(thrice)(hidden), 3 * jax.grad(once)(hidden), rtol=1e-6)


@pytest.mark.parametrize("chunk", [3, 7, 2048], ids=lambda n: f"chunks of {n} tokens")
@pytest.mark.parametrize("vocabulary", [5, 16, 17, 130])
def test_a_trained_head_has_the_loss_and_gradients_of_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, chunk: int
) -> None:
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", 16)
    monkeypatch.setattr(loss_head, "CHUNK_TOKENS", chunk)
    rng = np.random.default_rng(vocabulary)
    hidden = jnp.asarray(rng.normal(size=(2, 7, 12)) * 5.0, jnp.float32)
    head = jnp.asarray(rng.normal(size=(vocabulary, 12)), jnp.float32)
    labels = rng.integers(0, vocabulary, (2, 7)).astype(np.int32)
    labels[0, 2] = labels[1, 3:] = NONE
    ids = jnp.asarray(labels)

    def ours(x: Any, w: Any) -> Any:
        return jnp.float32(0.5) * loss_head.trained_head_loss(x, w, ids, NONE)

    def plain(x: Any, w: Any) -> Any:
        return jnp.float32(0.5) * _plain(x, w, ids)

    loss, (to_hidden, to_head) = jax.value_and_grad(ours, (0, 1))(hidden, head)
    expected, (hidden_reference, head_reference) = jax.value_and_grad(plain, (0, 1))(hidden, head)
    print(f"vocabulary {vocabulary}: loss {abs(loss - expected) / expected:.1e} relative")
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    np.testing.assert_allclose(to_hidden, hidden_reference, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_head, head_reference, rtol=1e-4, atol=2e-5)
    assert not np.any(np.asarray(to_hidden)[1, 3:]), "positions without a label have no gradient"


def test_no_label_at_all_is_no_loss_and_no_gradient() -> None:
    labels = jnp.full((1, 2), NONE, jnp.int32)

    def ours(x: Any, w: Any) -> Any:
        return loss_head.trained_head_loss(x, w, labels, NONE)

    loss, gradients = jax.value_and_grad(ours, (0, 1))(jnp.ones((1, 2, 3)), jnp.ones((5, 3)))
    assert loss == 0
    assert not any(np.any(np.asarray(g)) for g in gradients)
