"""Views and generators: every element of the result is an element of an operand, or known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node, numpy_dtype
from daypack.compiler.reference.rule import Array, Rule


def _broadcast(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    shape = node.output.shape
    lifted = [1] * len(shape)
    for size, dim in zip(a.shape, node.attrs["dims"], strict=True):
        lifted[dim] = size
    return np.broadcast_to(a.reshape(lifted), shape)


def _slice(node: Node, arrays: Sequence[Array]) -> Any:
    at = node.attrs
    where = zip(at["start"], at["limit"], at["strides"], strict=True)
    return arrays[0][tuple(slice(s, e, st) for s, e, st in where)]


def pad(node: Node, arrays: Sequence[Array]) -> Any:
    a, fill = arrays
    for axis, (low, high, interior) in enumerate(node.attrs["config"]):
        size = a.shape[axis]
        spread = size + max(size - 1, 0) * interior
        shape = list(a.shape)
        shape[axis] = spread + max(low, 0) + max(high, 0)
        out = np.full(shape, fill, a.dtype)
        where: list[Any] = [slice(None)] * a.ndim
        where[axis] = slice(max(low, 0), max(low, 0) + spread, interior + 1)
        out[tuple(where)] = a
        where[axis] = slice(max(-low, 0), shape[axis] - max(-high, 0))
        a = out[tuple(where)]
    return a


def _constant(node: Node, arrays: Sequence[Array]) -> Any:
    return np.asarray(node.attrs["value"], numpy_dtype(node.output.dtype))


def _iota(node: Node, arrays: Sequence[Array]) -> Any:
    value = node.output
    axis: int = node.attrs["axis"]
    shape = [1] * len(value.shape)
    shape[axis] = value.shape[axis]
    return np.broadcast_to(np.arange(value.shape[axis], dtype=value.dtype).reshape(shape), value.shape)


RULES: dict[str, Rule] = {
    "constant": _constant,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda node, arrays: arrays[0].reshape(node.output.shape),
    "transpose": lambda node, arrays: arrays[0].transpose(node.attrs["permutation"]),
    "slice": _slice,
    "rev": lambda node, arrays: np.flip(arrays[0], node.attrs["axes"]),
    "pad": pad,
    "concatenate": lambda node, arrays: np.concatenate(arrays, node.attrs["axis"]),
    "iota": _iota,
}
