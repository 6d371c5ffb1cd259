# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
"""The loss of a frozen output head in one pass over its rows, without a tokens × vocabulary array.

The gradient of the cross-entropy with respect to the hidden state is softmax(x Wᵀ) W - W[label]: attention
whose
keys and values are both the head's rows. So the online softmax (Milakov and Gimelshein 2018; Dao et al.
2022) gives
loss and gradient together: each block of rows is multiplied twice, once as keys and once as values, and may
leave memory before the next one comes. The plain form also multiplies twice, but keeps all logits in between.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

BLOCK_ROWS = 4032
"""Rows of the head in a block: a multiple of every register tile's width (48, 24, 12, 16)."""


@jax.custom_vjp
def frozen_head_loss(hidden: Array, head: Array, labels: Array, ignored: int) -> Array:
    """Sum over labelled positions of -log softmax(hidden · headᵀ)[label], float32[].

    hidden (B, T, C); head (V, C), through which no gradient flows; labels int32 (B, T), `ignored` where a
    position has none.
    """
    return _loss_and_gradient(hidden, head, labels, ignored)[0]


def _loss_and_gradient(
    hidden: Array, head: Array, labels: Array, ignored: Array | int
) -> tuple[Array, Array]:
    labelled = labels != ignored
    target = jnp.where(labelled, labels, 0)
    place = target  # where the label lies in the block at hand
    highest, total, picked, mixed = _scores(hidden, head[:BLOCK_ROWS], place, None)
    for start in range(BLOCK_ROWS, head.shape[0], BLOCK_ROWS):
        # The barrier keeps the places in memory, so that every block runs the same kernels.
        place = jax.lax.optimization_barrier(place - BLOCK_ROWS)
        rows = head[start : start + BLOCK_ROWS]
        top, part, found, gained = _scores(hidden, rows, place, highest)
        kept = jnp.exp(highest - top)
        highest, total, picked = top, total * kept + part, picked + found
        mixed = mixed * kept[..., None] + gained
    losses = jnp.where(labelled, jnp.log(total) + highest - picked, 0.0)
    own = head.at[target].get(mode="promise_in_bounds", wrap_negative_indices=False)
    gradient = jnp.where(labelled[..., None], mixed / total[..., None] - own, 0.0)
    return jnp.sum(losses), gradient


def _scores(
    hidden: Array, rows: Array, place: Array, highest: Array | None
) -> tuple[Array, Array, Array, Array]:
    """(row maximum so far, sum of exponentials, score of the label if it lies here, exponentials · rows)."""
    scores = jnp.einsum("btc,vc->btv", hidden, rows)
    top = jnp.max(scores, axis=-1)
    if highest is not None:
        top = jnp.maximum(highest, top)
    weights = jnp.exp(scores - top[..., None])
    position = jax.lax.broadcasted_iota(place.dtype, scores.shape, 2)
    found = jnp.sum(jnp.where(position == place[..., None], scores, 0.0), axis=-1)
    return top, jnp.sum(weights, axis=-1), found, jnp.einsum("btv,vc->btc", weights, rows)


def _forward(
    hidden: Array, head: Array, labels: Array, ignored: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    loss, gradient = _loss_and_gradient(hidden, head, labels, ignored)
    return loss, (gradient, head, labels)


def _backward(kept: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, Array, object, object]:
    gradient, head, labels = kept
    nothing = np.zeros(labels.shape, jax.dtypes.float0)
    return gradient * cotangent, jnp.zeros_like(head), nothing, np.zeros((), jax.dtypes.float0)


frozen_head_loss.defvjp(_forward, _backward)
