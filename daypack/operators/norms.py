# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

"""Layer norm and RMS norm over the last axis, with derivatives that keep one array of the input's size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis; weight, bias (C,)."""
    return normalize(x, epsilon) * weight + bias


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """x / sqrt(mean(x²) + epsilon) * weight over the last axis (Zhang and Sennrich 2019); weight (C,)."""
    return scale_to_unit(x, epsilon) * weight


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


def _scaled(x: Array, epsilon: float) -> tuple[Array, Array]:
    reciprocal = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)
    return x * reciprocal, reciprocal


def _scale_to_unit(x: Array, epsilon: float) -> Array:
    """x scaled to a mean square of 1 over the last axis."""
    return _scaled(x, epsilon)[0]


def _scale_forward(x: Array, epsilon: float) -> tuple[Array, tuple[Array, Array]]:
    scaled, reciprocal = _scaled(x, epsilon)
    return scaled, (scaled, reciprocal)


def _scale_backward(epsilon: float, kept: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    scaled, reciprocal = kept
    along = jnp.mean(cotangent * scaled, axis=-1, keepdims=True)
    return (reciprocal * (cotangent - scaled * along),)


scale_to_unit = jax.custom_vjp(_scale_to_unit, nondiff_argnums=(1,))
scale_to_unit.defvjp(_scale_forward, _scale_backward)
