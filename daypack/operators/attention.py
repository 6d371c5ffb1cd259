# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""Causal attention with grouped keys and values, over all earlier positions or a sliding window of them.

The queries that share a key-value head are rows of one product with it, so a group is never copied out.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from daypack.operators.softmax import softmax


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float,
    window: int | None = None,
    segments: Array | None = None,
    dropped: Callable[[Array], Array] | None = None,
) -> Array:
    """softmax(scale · q kᵀ, masked) v.

    q (B, T, H, D); k, v (B, T, G, D) with H a multiple of G: query head h reads key-value head h // (H / G).
    Position i sees j <= i, with `window` only i - window < j, with `segments` int32 (B, T) only positions of
    its own segment. `dropped` is applied to the probabilities (B, G, T, H / G, T). Returns (B, T, H, D).

    Raises:
        ValueError: H is not a multiple of G.
    """
    batch, time, heads, width = q.shape
    groups = k.shape[2]
    if heads % groups:
        raise ValueError(f"{heads} query heads do not share {groups} key-value heads evenly")
    shared = q.reshape(batch, time, groups, heads // groups, width)
    scores = jnp.einsum("btgrd,bsgd->bgtrs", shared, k)
    if scale != 1.0:
        scores = scores * scale
    seen = _visible(time, window)[:, None, :]
    if segments is not None:
        own = segments[:, :, None] == segments[:, None, :]
        seen = jnp.logical_and(seen, own[:, None, :, None, :])
    probabilities = softmax(jnp.where(seen, scores, jnp.finfo(scores.dtype).min))
    if dropped is not None:
        probabilities = dropped(probabilities)
    mixed = jnp.einsum("bgtrs,bsgd->bgtrd", probabilities, v)
    return mixed.transpose(0, 2, 1, 3, 4).reshape(q.shape)


def _visible(time: int, window: int | None) -> Array:
    """Which positions each one sees: (T, T)."""
    own = jax.lax.broadcasted_iota(jnp.int32, (time, time), 0)
    other = jax.lax.broadcasted_iota(jnp.int32, (time, time), 1)
    seen = other <= own
    if window is not None and window < time:
        seen = jnp.logical_and(seen, own - other < window)
    return seen
