# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

"""The few functions whose derivative is worth writing by hand, in plain JAX.

Differentiating softmax, layer norm and logsumexp automatically keeps two or three arrays of the input's size
and emits a dozen nodes each; the closed forms keep one array and emit four to eight. Each function is a
`jax.custom_vjp`, which disappears when a step is traced; its derivative is checked against automatic
differentiation of the plain form in the tests.
"""

from __future__ import annotations

import math

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


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis; weight, bias (C,)."""
    return normalize(x, epsilon) * weight + bias


def _normalized(x: Array, epsilon: float) -> tuple[Array, Array]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    reciprocal = jax.lax.rsqrt(variance + epsilon)
    return centred * reciprocal, reciprocal


def _normalize(x: Array, epsilon: float) -> Array:
    """x shifted and scaled to mean 0 and variance 1 over the last axis."""
    return _normalized(x, epsilon)[0]


def _normalize_forward(x: Array, epsilon: float) -> tuple[Array, tuple[Array, Array]]:
    normalized, reciprocal = _normalized(x, epsilon)
    return normalized, (normalized, reciprocal)


def _normalize_backward(epsilon: float, kept: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    normalized, reciprocal = kept
    mean = jnp.mean(cotangent, axis=-1, keepdims=True)
    along = jnp.mean(cotangent * normalized, axis=-1, keepdims=True)
    return (reciprocal * (cotangent - mean - normalized * along),)


normalize = jax.custom_vjp(_normalize, nondiff_argnums=(1,))
normalize.defvjp(_normalize_forward, _normalize_backward)


_GELU_SLOPE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def gelu_tanh(x: Array) -> Array:
    """`gelu_new`: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with the cubic factored."""
    inner = x * (_GELU_SLOPE + (_GELU_SLOPE * _GELU_CUBIC) * (x * x))
    return 0.5 * x * (1.0 + jnp.tanh(inner))
