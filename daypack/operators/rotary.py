# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

"""Rotary position embedding (Su et al. 2021) in the half-split layout of the published checkpoints.

Feature i of the first half and feature i of the second are one plane. Turned element by element, with the
halves swapped by a reversed axis, it is one pass over memory; its derivative is the turn the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Table = np.ndarray[Any, np.dtype[np.float32]]


def rotary_tables(frequencies: Sequence[float] | Table, time: int) -> tuple[Table, Table]:
    """(along (time, D / 2), across (time, 2, D / 2)), float32: cos and (-sin, sin) of position · frequency.

    The angle is a product of float32 numbers, as the published code has it.
    """
    positions = np.arange(time, dtype=np.float32)
    angles = (positions[:, None] * np.asarray(frequencies, np.float32)[None, :]).astype(np.float64)
    sines = np.sin(angles)
    across = np.stack([-sines, sines], axis=1)
    return np.cos(angles).astype(np.float32), across.astype(np.float32)


@jax.custom_vjp
def rotate(x: Array, along: Array, across: Array) -> Array:
    """Turn every plane of x (B, T, H, D) by its position's angle; the tables, of T positions or (B, T, ...),
    have no derivative.
    """
    return _turned(x, along, across)


def _turned(x: Array, along: Array, across: Array) -> Array:
    halves = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)
    swapped = jnp.flip(halves, axis=-2)
    return (halves * along[..., None, None, :] + swapped * across[..., None, :, :]).reshape(x.shape)


def _forward(x: Array, along: Array, across: Array) -> tuple[Array, tuple[Array, Array]]:
    return _turned(x, along, across), (along, across)


def _backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array, Array]:
    along, across = kept
    return _turned(cotangent, along, -across), jnp.zeros_like(along), jnp.zeros_like(across)


rotate.defvjp(_forward, _backward)
