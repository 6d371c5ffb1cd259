# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

"""Softmax and log-sum-exp, with derivatives that keep one array of the input's size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def softmax(scores: Array) -> Array:
    """Softmax over the last axis, shifted by the row maximum."""
    shifted = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    return shifted / jnp.sum(shifted, axis=-1, keepdims=True)


def _softmax_forward(scores: Array) -> tuple[Array, Array]:
    probabilities = softmax(scores)
    return probabilities, probabilities


def _softmax_backward(probabilities: Array, cotangent: Array) -> tuple[Array]:
    inner = jnp.sum(cotangent * probabilities, axis=-1, keepdims=True)
    return (probabilities * (cotangent - inner),)


softmax.defvjp(_softmax_forward, _softmax_backward)


@jax.custom_vjp
def logsumexp(logits: Array) -> Array:
    """log(sum(exp(logits))) over the last axis, shifted by the row maximum: (..., V) to (...)."""
    highest = jnp.max(logits, axis=-1, keepdims=True)
    return jnp.log(jnp.sum(jnp.exp(logits - highest), axis=-1)) + jnp.squeeze(highest, axis=-1)


def _logsumexp_forward(logits: Array) -> tuple[Array, tuple[Array, Array]]:
    result = logsumexp(logits)
    return result, (logits, result)


def _logsumexp_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    logits, result = kept
    return (cotangent[..., None] * jnp.exp(logits - result[..., None]),)


logsumexp.defvjp(_logsumexp_forward, _logsumexp_backward)
