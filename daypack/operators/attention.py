# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

"""Causal attention with grouped keys and values, over all earlier positions or a sliding window of them.

It goes by blocks of queries, each with just the keys that it can see. Of a block's scores only each row's
maximum and sum of exponentials are kept; the derivative makes the probabilities of one block at a time again,
with the same bits but in a last block of one query (Dao 2023, "FlashAttention-2", section 3.2, with blocks
of whole rows, so that no row's sums are ever scaled anew). No array of tokens × tokens outlives a block, and
what neither causality nor the window lets a block see is never computed.

The queries that share a key-value head are rows of one product with it, so a group is never copied out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from daypack.operators.softmax import softmax

BLOCK_QUERIES = 128
"""Queries in a block."""


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
    its own segment. `dropped` is applied to the probabilities (B, G, T, H / G, T), which then are one array.
    Returns (B, T, H, D).

    Raises:
        ValueError: H is not a multiple of G.
    """
    batch, time, heads, width = q.shape
    groups = k.shape[2]
    if heads % groups:
        raise ValueError(f"{heads} query heads do not share {groups} key-value heads evenly")
    shared = q.reshape(batch, time, groups, heads // groups, width)
    sight = Sight(time, window, BLOCK_QUERIES if dropped is None else time)
    if dropped is not None:
        return _plain(shared, k, v, segments, scale, sight, dropped).reshape(q.shape)
    return _blocked(shared, k, v, segments, scale, sight).reshape(q.shape)


class Block(NamedTuple):
    """Queries [first, last) and the keys [start, last) that some of them see."""

    first: int
    last: int
    start: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What each of `time` positions sees, and how many queries go together."""

    time: int
    window: int | None
    block: int

    def blocks(self) -> list[Block]:
        """The blocks in order; keys begin where a block of queries does."""
        found: list[Block] = []
        for first in range(0, self.time, self.block):
            start = 0 if self.window is None else max(0, first - self.window + 1) // self.block * self.block
            found.append(Block(first, min(first + self.block, self.time), start))
        return found

    def mask(self, block: Block, segments: Array | None) -> Array:
        """Which keys each query of a block sees: (queries, 1, keys), or (B, 1, queries, 1, keys)."""
        shape = (block.last - block.first, 1, block.last - block.start)
        own = jax.lax.broadcasted_iota(jnp.int32, shape, 0) + block.first
        other = jax.lax.broadcasted_iota(jnp.int32, shape, 2) + block.start
        seen = other <= own
        if self.window is not None and self.window < block.last - block.start:
            seen = jnp.logical_and(seen, own - other < self.window)
        if segments is not None:
            queries = segments[:, block.first : block.last, None, None]
            same = queries == segments[:, None, None, block.start : block.last]
            seen = jnp.logical_and(seen, same[:, None])
        return seen


def _scores(q: Array, k: Array, segments: Array | None, scale: float, sight: Sight, block: Block) -> Array:
    """(B, G, queries, R, keys) of one block, the lowest number where a key is not seen."""
    part = jnp.einsum("btgrd,bsgd->bgtrs", q[:, block.first : block.last], k[:, block.start : block.last])
    scores = part if scale == 1.0 else part * scale
    return jnp.where(sight.mask(block, segments), scores, jnp.finfo(scores.dtype).min)


def _mixed(probabilities: Array, v: Array) -> Array:
    """probabilities · v: (B, T, G, R, D)."""
    return jnp.einsum("bgtrs,bsgd->bgtrd", probabilities, v).transpose(0, 2, 1, 3, 4)


def _plain(
    q: Array,
    k: Array,
    v: Array,
    segments: Array | None,
    scale: float,
    sight: Sight,
    dropped: Callable[[Array], Array],
) -> Array:
    (block,) = sight.blocks()
    return _mixed(dropped(softmax(_scores(q, k, segments, scale, sight, block))), v)


Row = tuple[Array, Array]
"""Of each query of a block, (B, G, queries, R, 1): the highest score, the sum of exponentials."""
Kept = tuple[Array, Array, Array, Array | None, Array, list[Row]]


def _forward(
    q: Array, k: Array, v: Array, segments: Array | None, scale: float, sight: Sight
) -> tuple[Array, Kept]:
    results: list[Array] = []
    rows: list[Row] = []
    for block in sight.blocks():
        scores = _scores(q, k, segments, scale, sight, block)
        highest = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        rows.append((highest, total))
        results.append(_mixed(weights / total, v[:, block.start : block.last]))
    result = _joined(results)
    return result, (q, k, v, segments, result, rows)


def _backward(scale: float, sight: Sight, kept: Kept, cotangent: Array) -> tuple[Array, Array, Array, object]:
    """Keys are the rows of every product here, as two of the three gradients want them."""
    q, k, v, segments, result, rows = kept
    along = jnp.sum(cotangent * result, axis=-1)
    to_q: list[Array] = []
    to_k, to_v = _Parts(sight), _Parts(sight)
    for block, row in zip(sight.blocks(), rows, strict=True):
        queries, keys = slice(block.first, block.last), slice(block.start, block.last)
        part = jnp.einsum("bsgd,btgrd->bgstr", k[:, keys], q[:, queries])
        highest, total = (statistic.transpose(0, 1, 4, 2, 3) for statistic in row)
        scores = part if scale == 1.0 else part * scale
        # Masked before the subtraction, as in `_scores`: a product beside it would be contracted into it.
        scores = jnp.where(_turned(sight.mask(block, segments)), scores, jnp.finfo(scores.dtype).min)
        probabilities = jnp.exp(scores - highest) / total
        received = jnp.einsum("bsgd,btgrd->bgstr", v[:, keys], cotangent[:, queries])
        change = probabilities * (received - along[:, queries].transpose(0, 2, 1, 3)[:, :, None])
        change = change if scale == 1.0 else change * scale
        to_q.append(jnp.einsum("bgstr,bsgd->btgrd", change, k[:, keys]))
        to_k.add(block, jnp.einsum("bgstr,btgrd->bsgd", change, q[:, queries]))
        to_v.add(block, jnp.einsum("bgstr,btgrd->bsgd", probabilities, cotangent[:, queries]))
    nothing = None if segments is None else np.zeros(segments.shape, jax.dtypes.float0)
    return _joined(to_q), to_k.joined(), to_v.joined(), nothing


def _turned(mask: Array) -> Array:
    """(..., queries, 1, keys) to (..., keys, queries, 1)."""
    return jnp.moveaxis(mask, -1, -3)


class _Parts:
    """The gradient of keys or values as one sum a block of positions, added to query by query."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._sums: dict[int, Array] = {}

    def add(self, block: Block, gradient: Array) -> None:
        """Add a block's gradient (B, keys, G, D)."""
        for first in range(block.start, block.last, self._sight.block):
            part = gradient[:, first - block.start : first - block.start + self._sight.block]
            # In memory, so that a block's own gradient is gone before the next block comes.
            earlier = self._sums.get(first)
            self._sums[first] = part if earlier is None else jax.lax.optimization_barrier(earlier + part)

    def joined(self) -> Array:
        return _joined([self._sums[first] for first in sorted(self._sums)])


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _attend(q: Array, k: Array, v: Array, segments: Array | None, scale: float, sight: Sight) -> Array:
    """q (B, T, G, R, D); k, v (B, T, G, D)."""
    return _forward(q, k, v, segments, scale, sight)[0]


_blocked = jax.custom_vjp(_attend, nondiff_argnums=(4, 5))
_blocked.defvjp(_forward, _backward)
