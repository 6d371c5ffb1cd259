"""Signatures of generators, views, gathers and scatters."""

from __future__ import annotations

from daypack.compiler import ops
from daypack.compiler.graph import Node, Value
from daypack.compiler.signatures.elementwise import CONSTANT
from daypack.compiler.signatures.signature import (
    FLOAT,
    INDEX,
    INT,
    INTS,
    NUMBER,
    NUMBERS,
    TRIPLES,
    Signature,
    Type,
    ints,
    one_of,
    require,
    require_axes,
    require_dtype,
    require_same_dtype,
    sizes,
    without,
)

MODES = one_of(*ops.OUTSIDE)


def _iota(node: Node) -> tuple[Type, ...]:
    require_axes((node.attrs["axis"],), len(node.output.shape), "axis")
    require_dtype(node.output, NUMBERS)
    return (Type(node.output.shape, node.output.dtype),)


def _broadcast(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    shape, dims = node.output.shape, node.attrs["dims"]
    rising = len(dims) == len(value.shape) and list(dims) == sorted(set(dims))
    legal = rising and all(0 <= d < len(shape) for d in dims)
    require(legal, f"dims to be {len(value.shape)} rising dimensions of {len(shape)}", dims)
    fits = all(n in (1, shape[d]) for n, d in zip(value.shape, dims, strict=True))
    require(fits, f"an operand that fits {list(shape)} at dimensions {dims}", list(value.shape))
    return (Type(shape, value.dtype),)


def _reshape(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    require(value.elements == node.output.elements, f"{value.elements} elements", node.output.elements)
    return (Type(node.output.shape, value.dtype),)


def _transpose(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    order = ints(node, "permutation")
    all_of_them = sorted(order) == list(range(len(value.shape)))
    require(all_of_them, f"permutation to order {len(value.shape)} dimensions", order)
    return (Type(sizes(value.shape, order), value.dtype),)


def _slice(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    start, limit, strides = ints(node, "start"), ints(node, "limit"), ints(node, "strides")
    for name in ("start", "limit", "strides"):
        _require_length(node, name, len(value.shape))
    inside = all(0 <= s <= e <= n for s, e, n in zip(start, limit, value.shape, strict=True))
    require(inside, f"0 ≤ start ≤ limit ≤ {list(value.shape)}", f"start {start}, limit {limit}")
    require(all(n >= 1 for n in strides), "strides of at least 1", strides)
    shape = tuple(-(-(e - s) // n) for s, e, n in zip(start, limit, strides, strict=True))
    return (Type(shape, value.dtype),)


def _require_length(node: Node, name: str, length: int) -> None:
    require(len(node.attrs[name]) == length, f"{name} of length {length}", node.attrs[name])


def _rev(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    require_axes(node.attrs["axes"], len(value.shape), "axes")
    return (Type(value.shape, value.dtype),)


def _pad(node: Node) -> tuple[Type, ...]:
    value, fill = node.inputs
    _require_length(node, "config", len(value.shape))
    require_same_dtype(node, node.inputs)
    require(fill.shape == (), "a fill of rank 0", list(fill.shape))
    config = node.attrs["config"]
    require(all(inside >= 0 for _, _, inside in config), "interior padding of at least 0", config)
    spread = (n + max(n - 1, 0) * inside for n, (_, _, inside) in zip(value.shape, config, strict=True))
    shape = tuple(low + n + high for n, (low, high, _) in zip(spread, config, strict=True))
    require(all(n >= 0 for n in shape), "padding that leaves no negative size", config)
    return (Type(shape, value.dtype),)


def _concatenate(node: Node) -> tuple[Type, ...]:
    require(len(node.inputs) >= 1, "at least 1 operand", 0)
    require_same_dtype(node, node.inputs)
    first = node.inputs[0]
    axis: int = node.attrs["axis"]
    require_axes((axis,), len(first.shape), "axis")
    others = {(v.shape[:axis], v.shape[axis + 1 :], len(v.shape)) for v in node.inputs}
    found = ", ".join(str(list(v.shape)) for v in node.inputs)
    require(len(others) == 1, f"operands that differ only in dimension {axis}", found)
    size = sum(v.shape[axis] for v in node.inputs)
    return (Type((*first.shape[:axis], size, *first.shape[axis + 1 :]), first.dtype),)


def _require_starts(starts: tuple[Value, ...], rank: int) -> None:
    require(len(starts) == rank, f"{rank} start positions", len(starts))
    for value in starts:
        require_dtype(value, INDEX)
        require(value.shape == (), f"the start position %{value.id} to have rank 0", list(value.shape))


def _require_fits(sizes: tuple[int, ...], whole: tuple[int, ...], what: str) -> None:
    fits = len(sizes) == len(whole) and all(0 <= n <= m for n, m in zip(sizes, whole, strict=True))
    require(fits, f"{what} within {list(whole)}", list(sizes))


def _dynamic_slice(node: Node) -> tuple[Type, ...]:
    require(len(node.inputs) >= 1, "at least 1 operand", 0)
    value, *starts = node.inputs
    _require_starts(tuple(starts), len(value.shape))
    _require_fits(node.attrs["sizes"], value.shape, "sizes")
    return (Type(node.attrs["sizes"], value.dtype),)


def _dynamic_update_slice(node: Node) -> tuple[Type, ...]:
    require(len(node.inputs) >= 2, "at least 2 operands", len(node.inputs))
    value, update, *starts = node.inputs
    require_same_dtype(node, (value, update))
    _require_starts(tuple(starts), len(value.shape))
    _require_fits(update.shape, value.shape, "an update")
    return (Type(value.shape, value.dtype),)


def _require_indices(node: Node, indices: Value, mapped: tuple[int, ...]) -> None:
    require_dtype(indices, INDEX)
    last = indices.shape[-1] if indices.shape else -1
    require(
        last == len(mapped), f"positions of {len(mapped)} numbers in the last dimension", list(indices.shape)
    )


def _gather(node: Node) -> tuple[Type, ...]:
    """Windows of `slice_sizes`, one an index; its dimensions stand at `offset_dims` of the result."""
    operand, indices = node.inputs
    at = node.attrs
    rank = len(operand.shape)
    _require_indices(node, indices, at["start_index_map"])
    _require_fits(at["slice_sizes"], operand.shape, "slice_sizes")
    for name in ("collapsed", "operand_batching", "start_index_map"):
        require_axes(at[name], rank, name)
    gone = (*at["collapsed"], *at["operand_batching"])
    require(
        all(at["slice_sizes"][d] <= 1 for d in gone), "dimensions that go to have size 1", at["slice_sizes"]
    )
    _require_length(node, "indices_batching", len(at["operand_batching"]))
    window = without(ints(node, "slice_sizes"), gone)
    _require_length(node, "offset_dims", len(window))
    batch = list(indices.shape[:-1])
    require_axes(at["offset_dims"], len(window) + len(batch), "offset_dims")
    shape = [0] * (len(window) + len(batch))
    for d in range(len(shape)):
        shape[d] = window[at["offset_dims"].index(d)] if d in at["offset_dims"] else batch.pop(0)
    return (Type(tuple(shape), operand.dtype),)


def _scatter(node: Node) -> tuple[Type, ...]:
    """Windows of the updates put where the indices say; the rest of the operand stays."""
    operand, indices, updates = node.inputs
    at = node.attrs
    rank = len(operand.shape)
    require_same_dtype(node, (operand, updates))
    _require_indices(node, indices, at["scatter_dims"])
    for name in ("inserted", "operand_batching", "scatter_dims"):
        require_axes(at[name], rank, name)
    require_axes(at["update_window"], len(updates.shape), "update_window")
    _require_length(node, "indices_batching", len(at["operand_batching"]))
    kept = without(operand.shape, (*ints(node, "inserted"), *ints(node, "operand_batching")))
    _require_length(node, "update_window", len(kept))
    _require_fits(sizes(updates.shape, ints(node, "update_window")), kept, "windows of updates")
    batch = without(updates.shape, ints(node, "update_window"))
    require(batch == indices.shape[:-1], f"updates for {list(indices.shape[:-1])} positions", list(batch))
    return (Type(operand.shape, operand.dtype),)


def _read_rows(node: Node) -> tuple[Type, ...]:
    """Rows of a matrix in flash, one an id."""
    table, ids = node.inputs
    require(len(table.shape) == 2, "a matrix", list(table.shape))
    require_dtype(ids, frozenset(("int32",)))
    return (Type((*ids.shape, table.shape[1]), table.dtype),)


_PLACES = {"operand_batching": INTS, "indices_batching": INTS, "mode": MODES}
_GATHER = {
    "offset_dims": INTS,
    "collapsed": INTS,
    "start_index_map": INTS,
    "slice_sizes": INTS,
    "fill": FLOAT,
}
_SCATTER = {"update_window": INTS, "inserted": INTS, "scatter_dims": INTS}

TABLE: dict[str, Signature] = {
    "constant": Signature(0, CONSTANT, {"value": NUMBER}),
    "iota": Signature(0, _iota, {"axis": INT}),
    "broadcast_in_dim": Signature(1, _broadcast, {"dims": INTS}),
    "reshape": Signature(1, _reshape),
    "transpose": Signature(1, _transpose, {"permutation": INTS}),
    "slice": Signature(1, _slice, {"start": INTS, "limit": INTS, "strides": INTS}),
    "rev": Signature(1, _rev, {"axes": INTS}),
    "pad": Signature(2, _pad, {"config": TRIPLES}),
    "concatenate": Signature(None, _concatenate, {"axis": INT}),
    "dynamic_slice": Signature(None, _dynamic_slice, {"sizes": INTS}),
    "dynamic_update_slice": Signature(None, _dynamic_update_slice),
    "gather": Signature(2, _gather, {**_PLACES, **_GATHER}),
    "scatter": Signature(3, _scatter, {**_PLACES, **_SCATTER}),
    "scatter-add": Signature(3, _scatter, {**_PLACES, **_SCATTER}),
    "read_rows": Signature(2, _read_rows),
}
