"""Reductions, matrix products and convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node
from daypack.compiler.reference.half import half_product
from daypack.compiler.reference.rule import Array, Rule
from daypack.compiler.reference.spread import spread


def _reduce(function: Callable[..., Any]) -> Rule:
    return lambda node, arrays: function(arrays[0], axis=node.attrs["axes"])


def _bitwise(function: np.ufunc) -> Rule:
    return lambda node, arrays: function.reduce(arrays[0], axis=node.attrs["axes"])


def _arg(function: Callable[..., Any]) -> Rule:
    return lambda node, arrays: function(arrays[0], axis=node.attrs["axes"][0])


def _dot(node: Node, arrays: Sequence[Array]) -> Any:
    lhs, rhs = arrays
    at = node.attrs
    lhs_free = [d for d in range(lhs.ndim) if d not in (*at["lhs_batch"], *at["lhs_contract"])]
    rhs_free = [d for d in range(rhs.ndim) if d not in (*at["rhs_batch"], *at["rhs_contract"])]
    batch = [lhs.shape[d] for d in at["lhs_batch"]]
    inner = math.prod(lhs.shape[d] for d in at["lhs_contract"])
    left = lhs.transpose(*at["lhs_batch"], *lhs_free, *at["lhs_contract"]).reshape(
        math.prod(batch), -1, inner
    )
    right = rhs.transpose(*at["rhs_batch"], *at["rhs_contract"], *rhs_free).reshape(
        math.prod(batch), inner, -1
    )
    if at.get("arithmetic") == "float16":
        return half_product(np.ascontiguousarray(left), np.ascontiguousarray(right)).reshape(
            node.output.shape
        )
    wide = np.float32 if left.dtype.kind in "fV" else left.dtype
    return np.matmul(left.astype(wide), right.astype(wide)).reshape(node.output.shape)


def _conv(node: Node, arrays: Sequence[Array]) -> Any:
    lhs, rhs = arrays
    at = node.attrs
    out_spec: tuple[int, ...] = at["out_spec"]
    strides: tuple[int, ...] = at["strides"]
    lhs = lhs.transpose(at["lhs_spec"])
    rhs = rhs.transpose(at["rhs_spec"])
    spatial = range(2, lhs.ndim)
    lhs = spread(lhs, spatial, at["padding"], at["lhs_dilation"], 0)
    rhs = spread(rhs, spatial, [(0, 0)] * len(strides), at["rhs_dilation"], 0)
    batch_groups = at["batch_groups"]
    groups = max(at["feature_groups"], batch_groups)
    out_shape = [node.output.shape[d] for d in out_spec]
    out = np.zeros(out_shape, np.float32)
    for g in range(groups):
        data = _part(lhs, 0, g, groups) if batch_groups > 1 else _part(lhs, 1, g, groups)
        weights = _part(rhs, 0, g, groups)
        result = _part(out, 1, g, groups)
        for tap in np.ndindex(*rhs.shape[2:]):
            moved = (
                slice(t, t + (n - 1) * s + 1, s) for t, n, s in zip(tap, out_shape[2:], strides, strict=True)
            )
            under = data[(slice(None), slice(None), *moved)]
            product = np.tensordot(under, weights[(slice(None), slice(None), *tap)], ([1], [1]))
            result += np.moveaxis(product, -1, 1)
    return np.transpose(out, np.argsort(out_spec))


def _part(a: Array, axis: int, number: int, parts: int) -> Array:
    """Part `number` of `parts` equal ones along an axis, as a view."""
    size = a.shape[axis] // parts
    where = [slice(None)] * a.ndim
    where[axis] = slice(number * size, (number + 1) * size)
    return a[tuple(where)]


RULES: dict[str, Rule] = {
    "reduce_sum": _reduce(np.sum),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod),
    "reduce_and": _bitwise(np.bitwise_and),
    "reduce_or": _bitwise(np.bitwise_or),
    "reduce_xor": _bitwise(np.bitwise_xor),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "dot_general": _dot,
    "conv_general_dilated": _conv,
}
