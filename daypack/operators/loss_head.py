# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
"""The loss of an output head by blocks of its rows, without a tokens × vocabulary array.

A frozen head takes one pass. The gradient of the cross-entropy with respect to the hidden state is
softmax(x Wᵀ) W - W[label]: attention whose keys and values are both the head's rows. So the online softmax
(Milakov and Gimelshein 2018; Dao et al. 2022) gives loss and gradient together: each block of rows is
multiplied twice, once as keys and once as values, and may leave memory before the next one comes.

A trained head takes two: the first runs over the blocks for the loss, the second for the gradients, which
come out a block at a time too. The scores of each block are kept between the passes as far as the derivative
is concerned; whether they stay in memory or are computed again is the planner's choice, and the same bits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

BLOCK_ROWS = 4032
"""Rows of the head in a block: a multiple of every register tile's width (48, 24, 12, 16)."""
CHUNK_TOKENS = 2048
"""Tokens whose scores against a block are one array, of at most 33 MB."""


@jax.custom_vjp
def frozen_head_loss(hidden: Array, head: Array, labels: Array, ignored: int) -> Array:
    """Sum over labelled positions of -log softmax(hidden · headᵀ)[label], float32[].

    hidden (B, T, C); head (V, C), through which no gradient flows; labels int32 (B, T), `ignored` where a
    position has none.
    """
    return _loss_and_gradient(hidden, head, labels, ignored)[0]


def frozen_head_losses(hidden: Array, head: Array, labels: Array, ignored: int) -> Array:
    """The terms of `frozen_head_loss`, float32 (B, T), 0 where a position has no label. Forward only."""
    return _losses_and_sums(hidden, head, labels, ignored)[0]


def _loss_and_gradient(
    hidden: Array, head: Array, labels: Array, ignored: Array | int
) -> tuple[Array, Array]:
    labelled = labels != ignored
    target = jnp.where(labelled, labels, 0)
    losses, total, mixed = _losses_and_sums(hidden, head, labels, ignored)
    own = head.at[target].get(mode="promise_in_bounds", wrap_negative_indices=False)
    gradient = jnp.where(labelled[..., None], mixed / total[..., None] - own, 0.0)
    return jnp.sum(losses), gradient


def _losses_and_sums(
    hidden: Array, head: Array, labels: Array, ignored: Array | int
) -> tuple[Array, Array, Array]:
    """(losses, sums of exponentials, exponentials · rows), all by position."""
    labelled = labels != ignored
    target = jnp.where(labelled, labels, 0)
    places = _places(target, head.shape[0])
    highest, total, picked, mixed = _scores(hidden, head[:BLOCK_ROWS], places[0], None)
    for place, rows in zip(places[1:], _blocks(head)[1:], strict=True):
        top, part, found, gained = _scores(hidden, rows, place, highest)
        kept = jnp.exp(highest - top)
        # In memory, so that all blocks run the same kernels and no block's results have to stay for the last.
        sums = (top, total * kept + part, picked + found, mixed * kept[..., None] + gained)
        highest, total, picked, mixed = jax.lax.optimization_barrier(sums)
    return jnp.where(labelled, jnp.log(total) + highest - picked, 0.0), total, mixed


def _blocks(head: Array) -> list[Array]:
    return [head[start : start + BLOCK_ROWS] for start in range(0, head.shape[0], BLOCK_ROWS)]


def _places(target: Array, rows: int) -> list[Array]:
    """Where each label lies as seen from the first row of each block; in memory, before all blocks."""
    places = [target]
    for _ in range(BLOCK_ROWS, rows, BLOCK_ROWS):
        places.append(jax.lax.optimization_barrier(places[-1] - BLOCK_ROWS))
    return places


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


@jax.custom_vjp
def trained_head_loss(hidden: Array, head: Array, labels: Array, ignored: int) -> Array:
    """Sum over labelled positions of -log softmax(hidden · headᵀ)[label], float32[].

    hidden (B, T, C) and head (V, C) both have gradients; labels int32 (B, T), `ignored` where a position has
    none. The head's gradient is put together of one product a block of rows, in the order of the rows.
    """
    return _trained_forward(hidden, head, labels, ignored)[0]


def trained_head_losses(hidden: Array, head: Array, labels: Array, ignored: int) -> Array:
    """The terms of `trained_head_loss`, float32 (B, T), 0 where a position has no label. Forward only."""
    losses = _chunk_losses(hidden, head, labels, ignored)[0]
    return _joined(losses).reshape(labels.shape)


Chunk = tuple[Array, list[Array], list[Array], Array]
"""Of one chunk of tokens: which are labelled, the label's place in each block, each block's scores, and the
logarithm of the sum of all exponentials."""


def _trained_forward(
    hidden: Array, head: Array, labels: Array, ignored: Array | int
) -> tuple[Array, tuple[Array, Array, Array, list[Chunk]]]:
    losses, chunks = _chunk_losses(hidden, head, labels, ignored)
    sums = [jnp.sum(part) for part in losses]
    return sum(sums[1:], sums[0]), (hidden, head, labels, chunks)


def _chunk_losses(
    hidden: Array, head: Array, labels: Array, ignored: Array | int
) -> tuple[list[Array], list[Chunk]]:
    """The losses of each chunk's tokens, and what its derivative needs."""
    chunks: list[Chunk] = []
    losses: list[Array] = []
    for tokens, own in zip(_tokens(hidden), _tokens(labels), strict=True):
        labelled = own != ignored
        places = _places(jnp.where(labelled, own, 0), head.shape[0])
        scores = [_products(tokens, head[:BLOCK_ROWS])]
        highest, total, picked = _added(scores[0], places[0], None)
        for place, rows in zip(places[1:], _blocks(head)[1:], strict=True):
            scores.append(_products(tokens, rows))
            top, part, found = _added(scores[-1], place, highest)
            sums = (top, total * jnp.exp(highest - top) + part, picked + found)
            highest, total, picked = jax.lax.optimization_barrier(sums)
        normalizer = jnp.log(total) + highest
        losses.append(jnp.where(labelled, normalizer - picked, 0.0))
        chunks.append((labelled, places, scores, normalizer))
    return losses, chunks


def _tokens(array: Array) -> list[Array]:
    """(B, T, ...) as chunks of at most CHUNK_TOKENS of its B · T rows."""
    flat = array.reshape(-1, *array.shape[2:])
    return [flat[first : first + CHUNK_TOKENS] for first in range(0, max(flat.shape[0], 1), CHUNK_TOKENS)]


def _products(tokens: Array, rows: Array) -> Array:
    return jnp.einsum("nc,vc->nv", tokens, rows)


def _added(scores: Array, place: Array, highest: Array | None) -> tuple[Array, Array, Array]:
    """(row maximum so far, sum of this block's exponentials, score of the label if it lies here)."""
    top = jnp.max(scores, axis=-1)
    if highest is not None:
        top = jnp.maximum(highest, top)
    found = jnp.sum(jnp.where(_columns(scores) == place[:, None], scores, 0.0), axis=-1)
    return top, jnp.sum(jnp.exp(scores - top[:, None]), axis=-1), found


def _columns(scores: Array) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)


def _trained_backward(
    kept: tuple[Array, Array, Array, list[Chunk]], cotangent: Array
) -> tuple[Array, Array, object, object]:
    hidden, head, labels, chunks = kept
    tokens = _tokens(hidden)
    mixed: list[Array | None] = [None] * len(chunks)
    blocks: list[Array] = []
    for number, rows in enumerate(_blocks(head)):
        gradient: Array | None = None
        for n, (labelled, places, scores, normalizer) in enumerate(chunks):
            probabilities = jnp.exp(scores[number] - normalizer[:, None])
            hit = _columns(scores[number]) == places[number][:, None]
            error = jnp.where(hit, probabilities - 1.0, probabilities) * cotangent
            error = jnp.where(labelled[:, None], error, 0.0)
            mixed[n] = _sum(mixed[n], jnp.einsum("nv,vc->nc", error, rows))
            gradient = _sum(gradient, jnp.einsum("nv,nc->vc", error, tokens[n]))
        blocks.append(_some(gradient))
    nothing = np.zeros(labels.shape, jax.dtypes.float0)
    to_hidden = _joined([_some(part) for part in mixed]).reshape(hidden.shape)
    return to_hidden, _joined(blocks), nothing, np.zeros((), jax.dtypes.float0)


def _sum(before: Array | None, more: Array) -> Array:
    """A sum so far, kept in memory, so that each term is gone before the next one comes."""
    return more if before is None else jax.lax.optimization_barrier(before + more)


def _some(array: Array | None) -> Array:
    """An array that a loop of at least one turn has made."""
    if array is None:
        raise ValueError("a head without rows, or no tokens")
    return array


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


trained_head_loss.defvjp(_trained_forward, _trained_backward)
