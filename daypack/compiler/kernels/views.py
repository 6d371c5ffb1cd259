# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Views: the element of a view is an element of an operand at another index, or a constant.

No view is ever stored on its own: it is an index map inside the kernels that read it. Where an index can fall
outside (padding, concatenation, gathers) it is clamped first and the result selected, so that every load is
legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm import tirx

from daypack.compiler.graph import Node
from daypack.compiler.kernels.index import Index, Ix
from daypack.compiler.kernels.types import constant, register_dtype

if TYPE_CHECKING:
    from daypack.compiler.kernels.emit import Scope


def element(scope: Scope, node: Node, index: Index) -> Any:
    """The element of the node's output at `index`."""
    return _RULES[node.op](scope, node, index)


def _constant(scope: Scope, node: Node, index: Index) -> Any:
    return constant(node.attrs["value"], node.output.dtype)


def _iota(scope: Scope, node: Node, index: Index) -> Any:
    return tirx.Cast(register_dtype(node.output.dtype), index[node.attrs["axis"]].tir())


def _broadcast(scope: Scope, node: Node, index: Index) -> Any:
    (value,) = node.inputs
    dims = node.attrs["dims"]
    inner = tuple(Ix(0) if n == 1 else index[d] for n, d in zip(value.shape, dims, strict=True))
    return scope.value(value, inner)


def _reshape(scope: Scope, node: Node, index: Index) -> Any:
    (value,) = node.inputs
    return scope.value(value, scope.program.arithmetic.reshape(index, node.output.shape, value.shape))


def _transpose(scope: Scope, node: Node, index: Index) -> Any:
    inner: list[Ix] = [Ix(0)] * len(index)
    for out_axis, in_axis in enumerate(node.attrs["permutation"]):
        inner[in_axis] = index[out_axis]
    return scope.value(node.inputs[0], tuple(inner))


def _slice(scope: Scope, node: Node, index: Index) -> Any:
    inner = (
        i * step + start
        for i, start, step in zip(index, node.attrs["start"], node.attrs["strides"], strict=True)
    )
    return scope.value(node.inputs[0], tuple(inner))


def _rev(scope: Scope, node: Node, index: Index) -> Any:
    shape = node.output.shape
    axes = node.attrs["axes"]
    inner = (Ix(n - 1) - i if d in axes else i for d, (i, n) in enumerate(zip(index, shape, strict=True)))
    return scope.value(node.inputs[0], tuple(inner))


def clamped(i: Ix, low: int, high: int) -> Ix:
    """`i` limited to [low, high]."""
    if i.constant is not None:
        return Ix(min(max(i.constant, low), high))
    return Ix(tirx.max(tirx.min(i.expr, high), low), i.deps)


def _inside(i: Ix, low: int, high: int) -> list[Any]:
    """Conditions that low <= i < high."""
    return [tirx.GE(i.tir(), tirx.const(low, "int32")), tirx.LT(i.tir(), tirx.const(high, "int32"))]


def all_of(conditions: list[Any]) -> Any:
    result = conditions[0]
    for condition in conditions[1:]:
        result = tirx.And(result, condition)
    return result


def _pad(scope: Scope, node: Node, index: Index) -> Any:
    value, fill = node.inputs
    arithmetic = scope.program.arithmetic
    conditions: list[Any] = []
    inner: list[Ix] = []
    for i, (low, high, interior), size in zip(index, node.attrs["config"], value.shape, strict=True):
        if (low, high, interior) == (0, 0, 0):
            inner.append(i)
            continue
        shifted = i - low
        position = shifted if interior == 0 else arithmetic.div(shifted, interior + 1)
        if low > 0 or high > 0 or interior:
            conditions += _inside(shifted, 0, (size - 1) * (interior + 1) + 1)
        if interior:
            conditions.append(tirx.EQ(arithmetic.mod(shifted, interior + 1).tir(), tirx.const(0, "int32")))
        inner.append(clamped(position, 0, size - 1))
    loaded = scope.value(value, tuple(inner))
    if not conditions:
        return loaded
    return tirx.Select(all_of(conditions), loaded, scope.value(fill, ()))


def _concatenate(scope: Scope, node: Node, index: Index) -> Any:
    axis = node.attrs["axis"]
    at = index[axis]
    result, start = None, 0
    for value in node.inputs:
        size = value.shape[axis]
        if size == 0:
            continue
        position = clamped(at - start, 0, size - 1)
        loaded = scope.value(value, (*index[:axis], position, *index[axis + 1 :]))
        after = tirx.GE(at.tir(), tirx.const(start, "int32"))
        result = loaded if result is None else tirx.Select(after, loaded, result)
        start += size
    return result


def _loaded_index(scope: Scope, expr: Any, deps: frozenset[str], limit: int) -> tuple[Ix, Any]:
    """(clamped index, raw int32) of a start position held in memory."""
    home = scope.home(deps)
    raw = home.name(tirx.Cast("int32", expr))
    bounded = home.name(tirx.max(tirx.min(raw, tirx.const(limit, "int32")), tirx.const(0, "int32")))
    return Ix(bounded, deps), raw


def _starts(scope: Scope, node: Node, first: int, limits: list[int]) -> list[Ix]:
    return [
        _loaded_index(scope, scope.value(v, ()), frozenset(), limit)[0]
        for v, limit in zip(node.inputs[first:], limits, strict=True)
    ]


def _dynamic_slice(scope: Scope, node: Node, index: Index) -> Any:
    value = node.inputs[0]
    limits = [n - s for n, s in zip(value.shape, node.attrs["sizes"], strict=True)]
    starts = _starts(scope, node, 1, limits)
    return scope.value(value, tuple(i + s for i, s in zip(index, starts, strict=True)))


def _dynamic_update_slice(scope: Scope, node: Node, index: Index) -> Any:
    value, update = node.inputs[:2]
    limits = [n - s for n, s in zip(value.shape, update.shape, strict=True)]
    starts = _starts(scope, node, 2, limits)
    conditions: list[Any] = []
    inner: list[Ix] = []
    for i, start, size in zip(index, starts, update.shape, strict=True):
        offset = i - start
        conditions += _inside(offset, 0, size)
        inner.append(clamped(offset, 0, size - 1))
    kept = scope.value(value, index)
    if not conditions:
        return scope.value(update, ())
    return tirx.Select(all_of(conditions), scope.value(update, tuple(inner)), kept)


def _gather(scope: Scope, node: Node, index: Index) -> Any:
    operand, indices = node.inputs
    at = node.attrs
    batch = [index[d] for d in range(len(index)) if d not in at["offset_dims"]]
    kept = [d for d in range(len(operand.shape)) if d not in (*at["collapsed"], *at["operand_batching"])]
    inner: list[Ix] = [Ix(0)] * len(operand.shape)
    for d, out_dim in zip(kept, at["offset_dims"], strict=True):
        inner[d] = index[out_dim]
    for d, b in zip(at["operand_batching"], at["indices_batching"], strict=True):
        inner[d] = batch[b]
    deps = frozenset[str]().union(*(ix.deps for ix in batch))
    conditions: list[Any] = []
    for k, d in enumerate(at["start_index_map"]):
        limit = operand.shape[d] - at["slice_sizes"][d]
        expr = scope.value(indices, (*batch, Ix(k)))
        start, raw = _loaded_index(scope, expr, deps, limit)
        inner[d] = inner[d] + start
        conditions += _inside(Ix(raw, deps), 0, limit + 1)
    loaded = scope.value(operand, tuple(inner))
    if not at["mode"].startswith("FILL"):
        return loaded
    fill = at["fill"] if register_dtype(operand.dtype) == "float32" else int(at["fill"])
    return tirx.Select(all_of(conditions), loaded, constant(fill, operand.dtype))


_RULES = {
    "constant": _constant,
    "iota": _iota,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "rev": _rev,
    "pad": _pad,
    "concatenate": _concatenate,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
}
