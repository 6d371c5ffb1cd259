"""Pooling, its derivative, and cumulative operations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node
from daypack.compiler.reference.rule import Array, Rule
from daypack.compiler.reference.spread import spread

_NEUTRAL = {"reduce_window_sum": 0.0, "reduce_window_max": -np.inf, "reduce_window_min": np.inf}
_COMBINE = {"reduce_window_sum": np.add, "reduce_window_max": np.maximum, "reduce_window_min": np.minimum}


def _reduce_window(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    at = node.attrs
    a = spread(a, range(a.ndim), at["padding"], at["base_dilation"], _NEUTRAL[node.op])
    out = np.full(node.output.shape, _NEUTRAL[node.op], a.dtype)
    for tap in itertools.product(*(range(n) for n in at["window"])):
        out = _COMBINE[node.op](out, a[_taps(tap, node.output.shape, at["strides"], at["window_dilation"])])
    return out


def _taps(tap: Sequence[int], shape: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Any:
    return tuple(
        slice(t * d, t * d + (n - 1) * s + 1, s)
        for t, n, s, d in zip(tap, shape, strides, dilation, strict=True)
    )


def _select_and_scatter_add(node: Node, arrays: Sequence[Array]) -> Any:
    source, operand = arrays
    at = node.attrs
    ones = (1,) * operand.ndim
    padded = spread(operand, range(operand.ndim), at["padding"], ones, -np.inf)
    out = np.zeros(padded.shape, np.float32)
    for position in np.ndindex(*source.shape):
        where = tuple(
            slice(p * s, p * s + w) for p, s, w in zip(position, at["strides"], at["window"], strict=True)
        )
        best = np.unravel_index(np.argmax(padded[where]), at["window"])
        at_best = tuple(w.start + int(b) for w, b in zip(where, best, strict=True))
        out[at_best] += source[position]
    keep = tuple(slice(low, low + n) for (low, _), n in zip(at["padding"], operand.shape, strict=True))
    return out[keep]


def _cumulative(function: Callable[..., Any]) -> Rule:
    def rule(node: Node, arrays: Sequence[Array]) -> Any:
        (a,) = arrays
        axis = node.attrs["axis"]
        if node.attrs["reverse"]:
            return np.flip(function(np.flip(a, axis), axis=axis), axis)
        return function(a, axis=axis)

    return rule


RULES: dict[str, Rule] = {
    "reduce_window_sum": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "select_and_scatter_add": _select_and_scatter_add,
    "cumsum": _cumulative(np.cumsum),
    "cumprod": _cumulative(np.cumprod),
    "cummax": _cumulative(np.maximum.accumulate),
    "cummin": _cumulative(np.minimum.accumulate),
    "cumlogsumexp": _cumulative(np.logaddexp.accumulate),
}
