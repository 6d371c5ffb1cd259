"""A matrix product in float16 arithmetic, bit by bit as a kernel computes it.

    left'[m, k]  = float16(left[m, k] · r[m])          r[m] = 2^(3 - ⌊log2 max_k |left[m, k]|⌋)
    right'[k, n] = float16(right[k, n] · c[n])         c[n] alike, over the column
    block[m, n]  = Σ left'·right' over BLOCK terms, ascending, each a fused multiply-add in float16
    result[m, n] = (Σ blocks, ascending, in float32) / (r[m] · c[n])

The scales are powers of two, hence exact: operands lie below 16, a block below 64 · 16 · 16 = 16384, so that
nothing overflows, and what underflows is 2^-28 of the largest of its row or column. They make loss scaling
needless: a gradient's size does not matter. A row or column with an infinity or NaN is not scaled; its
results are not finite either.
"""

from __future__ import annotations

import numpy as np

from daypack.compiler.reference.rule import Array

BLOCK = 64
"""Products added up in float16 before their sum goes on in float32."""


def half_product(left: Array, right: Array) -> Array:
    """float32 (batch, rows, depth) · (batch, depth, columns)."""
    r, r_inverse = scales(left, 2)
    c, c_inverse = scales(right, 1)
    a, b = ((x * s).astype(np.float16).astype(np.float64) for x, s in ((left, r), (right, c)))
    total = np.zeros((*left.shape[:2], right.shape[2]), np.float32)
    for start in range(0, left.shape[2], BLOCK):
        block = np.zeros(total.shape, np.float64)
        for k in range(start, min(start + BLOCK, left.shape[2])):
            # float64 holds the exact sum wherever a bit of it can decide how float16 rounds.
            block = (block + a[:, :, k, None] * b[:, k, None, :]).astype(np.float16).astype(np.float64)
        total += block.astype(np.float32)
    return total * (r_inverse * c_inverse)


def scales(x: Array, axis: int) -> tuple[Array, Array]:
    """(scale, 1 / scale) of each row or column of a float32 array, with the axis kept at length 1."""
    exponent = (np.abs(x).view(np.int32).max(axis, keepdims=True) >> 23).astype(np.int32)
    field = np.where(exponent == 255, 127, np.minimum(257 - exponent, 253)).astype(np.int32)
    return (field << 23).view(np.float32), ((254 - field) << 23).view(np.float32)
