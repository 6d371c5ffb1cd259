"""A step graph run in numpy, one operation at a time: the readable oracle for every later stage.

`run(graph, arrays)` takes the inputs by name and returns the outputs by name. Every operation is written for
plainness, not speed; numpy's float32 arithmetic is used except where noted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from daypack.compiler.graph import Node, StepGraph, Value
from daypack.errors import TraceError

Array = np.ndarray[Any, Any]
Rule = Callable[[Node, Sequence[Array]], Any]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy element type of a value's dtype."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def run(graph: StepGraph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The graph's outputs, by name, for inputs by name.

    Raises:
        TraceError: an input is missing or has another shape.
    """
    env: dict[int, Array] = {}
    for item in graph.inputs:
        array = graph.constants.get(item.name)
        if array is None:
            array = arrays.get(item.name)
        if array is None:
            raise TraceError(f"graph {graph.name!r}: input {item.name!r} was not given")
        array = np.asarray(array)
        if array.shape != item.value.shape:
            raise TraceError(
                f"graph {graph.name!r}: input {item.name!r} has shape {array.shape}, expected {item.value.shape}"
            )
        env[item.value.id] = array
    with np.errstate(all="ignore"):
        evaluate(graph.nodes, env)
    return {out.name: env[out.value.id] for out in graph.outputs}


def evaluate(nodes: Sequence[Node], env: dict[int, Array]) -> None:
    """Compute each node's outputs into `env` (value id → array)."""
    for node in nodes:
        arrays = [env[v.id] for v in node.inputs]
        results = _fused(node, arrays) if node.body is not None else apply(node, arrays)
        for value, result in zip(node.outputs, results, strict=True):
            env[value.id] = np.asarray(result, numpy_dtype(value.dtype)).reshape(value.shape)


def _fused(node: Node, arrays: Sequence[Array]) -> list[Array]:
    body = node.body
    if body is None:
        return []
    env = {item.value.id: array for item, array in zip(body.inputs, arrays, strict=True)}
    evaluate(body.nodes, env)
    return [env[out.value.id] for out in body.outputs]


def apply(node: Node, arrays: Sequence[Array]) -> Sequence[Array]:
    """One operation's results."""
    rule = _RULES.get(node.op)
    if rule is None:
        raise TraceError(f"the interpreter has no operation {node.op!r}")
    result = rule(node, arrays)
    return result if isinstance(result, tuple) else (result,)


# ---- element-wise ----


def _f32(function: Callable[..., Any]) -> Rule:
    """A numpy function evaluated in float64 and rounded once: the closest float32 there is."""

    def rule(node: Node, arrays: Sequence[Array]) -> Any:
        return function(*(np.asarray(a, np.float64) for a in arrays))

    return rule


def _plain(function: Callable[..., Any]) -> Rule:
    return lambda node, arrays: function(*arrays)


def _div(node: Node, arrays: Sequence[Array]) -> Any:
    a, b = arrays
    if a.dtype.kind == "f":
        return a / b
    quotient = np.abs(a.astype(np.int64)) // np.maximum(np.abs(b.astype(np.int64)), 1)
    return (np.sign(a.astype(np.int64)) * np.sign(b.astype(np.int64)) * quotient).astype(a.dtype)


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _erfc(x: Array) -> Array:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def _select(node: Node, arrays: Sequence[Array]) -> Any:
    which, *cases = arrays
    shape = node.output.shape
    cases = [np.broadcast_to(c, shape) for c in cases]
    which = np.broadcast_to(which, shape).astype(np.int64)
    result = cases[-1].copy()
    for number, case in enumerate(cases[:-1]):
        result = np.where(which == number, case, result)
    return result


def _shift(function: Callable[[Array, Array], Array], view: str | None) -> Rule:
    def rule(node: Node, arrays: Sequence[Array]) -> Any:
        a, b = arrays
        bits = a.dtype.itemsize * 8
        work = a.view(np.dtype(view + str(a.dtype.itemsize))) if view else a
        shifted = function(work, np.minimum(b.astype(work.dtype), bits - 1))
        over = b.astype(np.uint32) >= bits
        if view == "i":
            return shifted.view(a.dtype)
        return np.where(over, 0, shifted).astype(work.dtype).view(a.dtype)

    return rule


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(node: Node, arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011), as JAX defines its keys and counters."""
    shape = node.outputs[0].shape
    k0, k1, x0, x1 = (np.broadcast_to(a, shape).astype(np.uint32) for a in arrays)
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    x0, x1 = x0 + k0, x1 + k1
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
            x1 = x0 ^ x1
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _convert(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    target = numpy_dtype(node.output.dtype)
    if target.kind in "iu" and a.dtype.kind == "f":
        info = np.iinfo(target)
        clipped = np.clip(np.nan_to_num(a.astype(np.float64), nan=0.0), info.min, info.max)
        return clipped.astype(np.int64).astype(target)
    return a.astype(target)


def _round(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    if node.attrs["to_even"]:
        return np.rint(a)
    return np.sign(a) * np.floor(np.abs(a) + 0.5)


def _clamp(node: Node, arrays: Sequence[Array]) -> Any:
    low, x, high = arrays
    return np.minimum(np.maximum(x, low), high)


# ---- views ----


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


def _pad(node: Node, arrays: Sequence[Array]) -> Any:
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


def _iota(node: Node, arrays: Sequence[Array]) -> Any:
    value = node.output
    axis = node.attrs["axis"]
    shape = [1] * len(value.shape)
    shape[axis] = value.shape[axis]
    return np.broadcast_to(np.arange(value.shape[axis], dtype=value.dtype).reshape(shape), value.shape)


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


# ---- reductions, contractions, windows, scans ----


def _reduce(function: Callable[..., Any]) -> Rule:
    return lambda node, arrays: function(arrays[0], axis=node.attrs["axes"])


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
    wide = np.float32 if left.dtype.kind in "fV" else left.dtype
    return np.matmul(left.astype(wide), right.astype(wide)).reshape(node.output.shape)


def _spread(
    a: Array, dims: Sequence[int], padding: Sequence[Sequence[int]], dilation: Sequence[int], fill: Any
) -> Array:
    """Dilate and pad the spatial dimensions `dims` (negative padding crops)."""
    config = [(0, 0, 0)] * a.ndim
    for d, (low, high), step in zip(dims, padding, dilation, strict=True):
        config[d] = (int(low), int(high), int(step) - 1)
    shape = tuple(s + max(s - 1, 0) * i + lo + hi for s, (lo, hi, i) in zip(a.shape, config, strict=True))
    node = Node("pad", (), (Value(0, shape, str(a.dtype)),), {"config": tuple(config)})
    return _pad(node, (a, np.asarray(fill, a.dtype)))


def _conv(node: Node, arrays: Sequence[Array]) -> Any:
    lhs, rhs = arrays
    at = node.attrs
    lhs = lhs.transpose(at["lhs_spec"])
    rhs = rhs.transpose(at["rhs_spec"])
    spatial = range(2, lhs.ndim)
    lhs = _spread(lhs, spatial, at["padding"], at["lhs_dilation"], 0)
    rhs = _spread(rhs, spatial, [(0, 0)] * len(at["strides"]), at["rhs_dilation"], 0)
    groups, batch_groups = at["feature_groups"], at["batch_groups"]
    out_shape = [node.output.shape[d] for d in at["out_spec"]]
    out = np.zeros(out_shape, np.float32)
    features = rhs.shape[0] // max(groups, batch_groups)
    for g in range(max(groups, batch_groups)):
        weights = rhs[g * features : (g + 1) * features]
        if batch_groups > 1:
            rows = lhs.shape[0] // batch_groups
            data = lhs[g * rows : (g + 1) * rows]
        else:
            channels = lhs.shape[1] // groups
            data = lhs[:, g * channels : (g + 1) * channels]
        for tap in np.ndindex(*rhs.shape[2:]):
            where = tuple(
                slice(t, t + (n - 1) * s + 1, s)
                for t, n, s in zip(tap, out_shape[2:], at["strides"], strict=True)
            )
            part = np.tensordot(
                data[(slice(None), slice(None), *where)],
                weights[(slice(None), slice(None), *tap)],
                ([1], [1]),
            )
            out[:, g * features : (g + 1) * features] += np.moveaxis(part, -1, 1)
    return np.transpose(out, np.argsort(at["out_spec"]))


_IDENTITY = {"reduce_window_sum": 0.0, "reduce_window_max": -np.inf, "reduce_window_min": np.inf}
_COMBINE = {"reduce_window_sum": np.add, "reduce_window_max": np.maximum, "reduce_window_min": np.minimum}


def _reduce_window(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    at = node.attrs
    a = _spread(a, range(a.ndim), at["padding"], at["base_dilation"], _IDENTITY[node.op])
    out = np.full(node.output.shape, _IDENTITY[node.op], a.dtype)
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
    padded = _spread(operand, range(operand.ndim), at["padding"], ones, -np.inf)
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


_RULES: dict[str, Rule] = {
    "constant": lambda node, arrays: np.asarray(node.attrs["value"], numpy_dtype(node.output.dtype)),
    "neg": _plain(np.negative),
    "exp": _f32(np.exp),
    "exp2": _f32(np.exp2),
    "log": _f32(np.log),
    "log1p": _f32(np.log1p),
    "expm1": _f32(np.expm1),
    "tanh": _f32(np.tanh),
    "logistic": _f32(lambda x: 1 / (1 + np.exp(-x))),
    "sqrt": _plain(np.sqrt),
    "rsqrt": _f32(lambda x: 1 / np.sqrt(x)),
    "cbrt": _f32(np.cbrt),
    "sin": _f32(np.sin),
    "cos": _f32(np.cos),
    "tan": _f32(np.tan),
    "asin": _f32(np.arcsin),
    "acos": _f32(np.arccos),
    "atan": _f32(np.arctan),
    "sinh": _f32(np.sinh),
    "cosh": _f32(np.cosh),
    "asinh": _f32(np.arcsinh),
    "acosh": _f32(np.arccosh),
    "atanh": _f32(np.arctanh),
    "abs": _plain(np.abs),
    "sign": _plain(np.sign),
    "floor": _plain(np.floor),
    "ceil": _plain(np.ceil),
    "round": _round,
    "erf": _f32(_erf),
    "erfc": _f32(_erfc),
    "is_finite": _plain(np.isfinite),
    "not": lambda node, arrays: (
        np.logical_not(arrays[0]) if arrays[0].dtype == bool else np.invert(arrays[0])
    ),
    "square": _plain(np.square),
    "integer_pow": lambda node, arrays: (
        np.power(arrays[0].astype(np.float64), node.attrs["y"])
        if arrays[0].dtype.kind == "f"
        else arrays[0] ** node.attrs["y"]
    ),
    "convert_element_type": _convert,
    "bitcast_convert_type": lambda node, arrays: np.ascontiguousarray(arrays[0]).view(
        numpy_dtype(node.output.dtype)
    ),
    "population_count": _plain(np.bitwise_count),
    "add": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _div,
    "rem": _plain(np.fmod),
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "pow": _f32(np.power),
    "atan2": _f32(np.arctan2),
    "nextafter": _plain(np.nextafter),
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "shift_left": _shift(np.left_shift, None),
    "shift_right_logical": _shift(np.right_shift, "u"),
    "shift_right_arithmetic": _shift(np.right_shift, "i"),
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "gt": _plain(np.greater),
    "ge": _plain(np.greater_equal),
    "select_n": _select,
    "clamp": _clamp,
    "threefry2x32": _threefry,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda node, arrays: arrays[0].reshape(node.output.shape),
    "transpose": lambda node, arrays: arrays[0].transpose(node.attrs["permutation"]),
    "slice": _slice,
    "rev": lambda node, arrays: np.flip(arrays[0], node.attrs["axes"]),
    "pad": _pad,
    "concatenate": lambda node, arrays: np.concatenate(arrays, node.attrs["axis"]),
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "iota": _iota,
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter,
    "reduce_sum": _reduce(np.sum),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod),
    "reduce_and": _reduce(np.all),
    "reduce_or": _reduce(np.any),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "dot_general": _dot,
    "conv_general_dilated": _conv,
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
