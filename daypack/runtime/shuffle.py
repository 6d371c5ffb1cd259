"""The order of examples in an epoch: a seeded permutation that needs no table.

A Feistel network over the least even number of bits that holds every place, walked until it falls within the
count (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", cycle walking). Keys are those of
splitmix64 (Steele et al. 2014). `native/src/data.c` computes the same; FORMAT.md has the law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 6
_WORD = 2**64 - 1


def permuted(places: NDArray[Any], count: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    """The examples at `places`, each in [0, count), of an epoch: a permutation of [0, count)."""
    half = max(1, -(-(count - 1).bit_length() // 2))
    keys = _keys(seed, epoch)
    found = np.asarray(places, np.uint64)
    pending = np.ones(found.shape, np.bool_)
    while pending.any():
        found = np.where(pending, _round_trip(found, half, keys), found)
        pending = found >= np.uint64(count)
    return found


def _round_trip(values: NDArray[np.uint64], half: int, keys: list[int]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ np.uint64(key)) & mask)
    return left << shift | right


def _keys(seed: int, epoch: int) -> list[int]:
    start = int(_mixed(np.uint64((seed + _GOLDEN * (epoch + 1)) & _WORD)))
    return [int(_mixed(np.uint64((start + _GOLDEN * (number + 1)) & _WORD))) for number in range(_ROUNDS)]


def _mixed(values: Any) -> Any:
    """The finalizer of splitmix64."""
    with np.errstate(over="ignore"):
        values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
