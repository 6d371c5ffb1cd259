"""Slices, gathers and scatters at positions that are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node
from daypack.compiler.reference.rule import Array, Rule


def _starts(indices: Sequence[Array], shape: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    result: list[slice] = []
    for index, extent, size in zip(indices, shape, sizes, strict=True):
        start = min(max(int(index), 0), extent - size)
        result.append(slice(start, start + size))
    return tuple(result)


def _dynamic_slice(node: Node, arrays: Sequence[Array]) -> Any:
    a, *starts = arrays
    return a[_starts(starts, a.shape, node.attrs["sizes"])]


def _dynamic_update_slice(node: Node, arrays: Sequence[Array]) -> Any:
    a, update, *starts = arrays
    out = a.copy()
    out[_starts(starts, a.shape, update.shape)] = update
    return out


def _gather(node: Node, arrays: Sequence[Array]) -> Any:
    operand, indices = arrays
    at = node.attrs
    out = np.zeros(node.output.shape, operand.dtype)
    rank = len(node.output.shape)
    batch_dims = [d for d in range(rank) if d not in at["offset_dims"]]
    kept = [d for d in range(operand.ndim) if d not in (*at["collapsed"], *at["operand_batching"])]
    for batch in np.ndindex(*(node.output.shape[d] for d in batch_dims)):
        start = [0] * operand.ndim
        for k, d in enumerate(at["start_index_map"]):
            start[d] = int(indices[(*batch, k)])
        for d, b in zip(at["operand_batching"], at["indices_batching"], strict=True):
            start[d] = int(batch[b])
        limit = [operand.shape[d] - at["slice_sizes"][d] for d in range(operand.ndim)]
        inside = all(0 <= s <= m for s, m in zip(start, limit, strict=True))
        start = [min(max(s, 0), m) for s, m in zip(start, limit, strict=True)]
        window = operand[tuple(slice(s, s + n) for s, n in zip(start, at["slice_sizes"], strict=True))]
        where: list[Any] = [slice(None)] * rank
        for d, b in zip(batch_dims, batch, strict=True):
            where[d] = b
        if at["mode"].startswith("FILL") and not inside:
            out[tuple(where)] = at["fill"]
        else:
            out[tuple(where)] = window.reshape([at["slice_sizes"][d] for d in kept])
    return out


def _scatter(node: Node, arrays: Sequence[Array]) -> Any:
    operand, indices, updates = arrays
    at = node.attrs
    out = operand.copy()
    scatter_dims = [d for d in range(updates.ndim) if d not in at["update_window"]]
    window_dims = [d for d in range(operand.ndim) if d not in (*at["inserted"], *at["operand_batching"])]
    sizes = [1] * operand.ndim
    for d, w in zip(window_dims, at["update_window"], strict=True):
        sizes[d] = updates.shape[w]
    for batch in np.ndindex(*(updates.shape[d] for d in scatter_dims)):
        start = [0] * operand.ndim
        for k, d in enumerate(at["scatter_dims"]):
            start[d] = int(indices[(*batch, k)])
        for d, b in zip(at["operand_batching"], at["indices_batching"], strict=True):
            start[d] = int(batch[b])
        if any(s < 0 or s + n > e for s, n, e in zip(start, sizes, operand.shape, strict=True)):
            if at["mode"] != "CLIP":
                continue
            start = [min(max(s, 0), e - n) for s, n, e in zip(start, sizes, operand.shape, strict=True)]
        where: list[Any] = [slice(None)] * updates.ndim
        for d, b in zip(scatter_dims, batch, strict=True):
            where[d] = b
        update = updates[tuple(where)].reshape(sizes)
        target = tuple(slice(s, s + n) for s, n in zip(start, sizes, strict=True))
        out[target] = out[target] + update if node.op == "scatter-add" else update
    return out


def _read_rows(node: Node, arrays: Sequence[Array]) -> Any:
    table, ids = arrays
    return table[np.clip(ids, 0, len(table) - 1)]


RULES: dict[str, Rule] = {
    "read_rows": _read_rows,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter,
}
