# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

"""GELU, and the gated activations (Shazeer 2020), whose derivatives keep only the two operands."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

_GELU_SLOPE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def gelu_tanh(x: Array) -> Array:
    """`gelu_new`: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with the cubic factored."""
    inner = x * (_GELU_SLOPE + (_GELU_SLOPE * _GELU_CUBIC) * (x * x))
    return 0.5 * x * (1.0 + jnp.tanh(inner))


@jax.custom_vjp
def silu_gate(gate: Array, up: Array) -> Array:
    """SwiGLU's product: gate · sigmoid(gate) · up, element by element."""
    return gate * jax.nn.sigmoid(gate) * up


def _silu_forward(gate: Array, up: Array) -> tuple[Array, tuple[Array, Array]]:
    return silu_gate(gate, up), (gate, up)


def _silu_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    gate, up = kept
    sigmoid = jax.nn.sigmoid(gate)
    slope = sigmoid * (1.0 + gate * (1.0 - sigmoid))
    return cotangent * up * slope, cotangent * (gate * sigmoid)


silu_gate.defvjp(_silu_forward, _silu_backward)


@jax.custom_vjp
def gelu_gate(gate: Array, up: Array) -> Array:
    """GeGLU's product: gelu_tanh(gate) · up, element by element."""
    return gelu_tanh(gate) * up


def _gelu_forward(gate: Array, up: Array) -> tuple[Array, tuple[Array, Array]]:
    return gelu_gate(gate, up), (gate, up)


def _gelu_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    gate, up = kept
    square = gate * gate
    bent = jnp.tanh(gate * (_GELU_SLOPE + (_GELU_SLOPE * _GELU_CUBIC) * square))
    half = 0.5 * (1.0 + bent)
    inner_slope = _GELU_SLOPE + (3.0 * _GELU_SLOPE * _GELU_CUBIC) * square
    slope = half + 0.5 * gate * (1.0 - bent * bent) * inner_slope
    return cotangent * up * slope, cotangent * (gate * half)


gelu_gate.defvjp(_gelu_forward, _gelu_backward)
