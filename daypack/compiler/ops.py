"""The operation set of a step graph, and how a JAX primitive's parameters become attributes.

| kind | operations | law |
|---|---|---|
| element-wise | `add` … `select_n`, `threefry2x32` | operands have the output's shape or rank 0 |
| view | `broadcast_in_dim`, `reshape`, `transpose`, … | every output element is one input element or a
constant |
| reduction | `reduce_sum`, … `argmax` | removes `axes` |
| contraction | `dot_general`, `conv_general_dilated` | sums of products |
| window, scan, scatter | `reduce_window_*`, `cum*`, `scatter*`, … | one kernel each |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def names(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


UNARY = names(
    "neg exp exp2 log log1p expm1 tanh logistic sqrt rsqrt cbrt sin cos tan asin acos atan sinh cosh asinh "
    "acosh atanh abs sign floor ceil round erf erfc is_finite not square store integer_pow "
    "convert_element_type bitcast_convert_type population_count clz erf_inv lgamma"
)
BINARY = names(
    "add sub mul div rem max min pow atan2 and or xor shift_left shift_right_logical shift_right_arithmetic "
    "eq ne lt le gt ge nextafter"
)
TERNARY = names("select_n clamp")
ELEMENTWISE = UNARY | BINARY | TERNARY | {"threefry2x32"}
GENERATORS = names("constant iota")
VIEWS = names(
    "broadcast_in_dim reshape transpose slice rev pad concatenate dynamic_slice dynamic_update_slice gather"
)
REDUCTIONS = names("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor")
ARG_REDUCTIONS = names("argmax argmin")
CONTRACTIONS = names("dot_general conv_general_dilated")
WINDOWS = names("reduce_window_sum reduce_window_max reduce_window_min select_and_scatter_add")
SCANS = names("cumsum cumprod cummax cummin cumlogsumexp")
SCATTERS = names("scatter scatter-add")
OUTSIDE = ("CLIP", "FILL_OR_DROP", "PROMISE_IN_BOUNDS")
"""What a gather or scatter does with places outside: move them in, leave them out, promise there are none."""
FLASH_READS = frozenset(("read_rows",))
ALL = (
    ELEMENTWISE
    | GENERATORS
    | VIEWS
    | REDUCTIONS
    | ARG_REDUCTIONS
    | CONTRACTIONS
    | WINDOWS
    | SCANS
    | SCATTERS
    | FLASH_READS
    | {"fused"}
)

_RENAMED = {"add_any": "add"}
PRIMITIVES = (ALL - FLASH_READS - {"fused", "constant", "reshape", "store"}) | {"squeeze", *_RENAMED}
"""JAX primitives that are one operation each. (Constants and stores have none; a reshape may be two.)"""

Params = Mapping[str, Any]


def from_primitive(name: str, params: Params) -> tuple[str, dict[str, Any]] | None:
    """The operation and attributes of a JAX primitive, or None where there is none.

    Attributes are plain Python: ints, floats, strings and tuples of them, so that they print and parse.
    """
    if name not in PRIMITIVES:
        return None
    if name == "squeeze":
        return "reshape", {}
    op = _RENAMED.get(name, name)
    convert = _ATTRS.get(op)
    if convert is None:
        return op, {}
    attrs = convert(params)
    return None if attrs is None else (op, attrs)


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _pairs(values: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(_ints(v) for v in values)


def _dot(p: Params) -> dict[str, Any]:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = p["dimension_numbers"]
    return {
        "lhs_contract": _ints(lhs_contract),
        "rhs_contract": _ints(rhs_contract),
        "lhs_batch": _ints(lhs_batch),
        "rhs_batch": _ints(rhs_batch),
    }


def _conv(p: Params) -> dict[str, Any]:
    numbers = p["dimension_numbers"]
    return {
        "lhs_spec": _ints(numbers.lhs_spec),
        "rhs_spec": _ints(numbers.rhs_spec),
        "out_spec": _ints(numbers.out_spec),
        "strides": _ints(p["window_strides"]),
        "padding": _pairs(p["padding"]),
        "lhs_dilation": _ints(p["lhs_dilation"]),
        "rhs_dilation": _ints(p["rhs_dilation"]),
        "feature_groups": int(p["feature_group_count"]),
        "batch_groups": int(p["batch_group_count"]),
    }


def _window(p: Params) -> dict[str, Any] | None:
    ones = (1,) * len(p["window_dimensions"])
    base = _ints(p.get("base_dilation", ones))
    dilation = _ints(p.get("window_dilation", ones))
    return {
        "window": _ints(p["window_dimensions"]),
        "strides": _ints(p["window_strides"]),
        "padding": _pairs(p["padding"]),
        "base_dilation": base,
        "window_dilation": dilation,
    }


def _select_and_scatter(p: Params) -> dict[str, Any] | None:
    if p["select_prim"].name != "ge":
        return None
    return {
        "window": _ints(p["window_dimensions"]),
        "strides": _ints(p["window_strides"]),
        "padding": _pairs(p["padding"]),
    }


def _mode(p: Params) -> str:
    return str(p["mode"]).rsplit(".", maxsplit=1)[-1]


def _gather(p: Params) -> dict[str, Any] | None:
    d = p["dimension_numbers"]
    fill = p.get("fill_value")
    if _mode(p) not in OUTSIDE:
        return None
    return {
        "offset_dims": _ints(d.offset_dims),
        "collapsed": _ints(d.collapsed_slice_dims),
        "start_index_map": _ints(d.start_index_map),
        "operand_batching": _ints(d.operand_batching_dims),
        "indices_batching": _ints(d.start_indices_batching_dims),
        "slice_sizes": _ints(p["slice_sizes"]),
        "mode": _mode(p),
        "fill": float("nan") if fill is None else float(fill),
    }


def _scatter(p: Params) -> dict[str, Any] | None:
    d = p["dimension_numbers"]
    if _mode(p) not in OUTSIDE:
        return None
    return {
        "update_window": _ints(d.update_window_dims),
        "inserted": _ints(d.inserted_window_dims),
        "scatter_dims": _ints(d.scatter_dims_to_operand_dims),
        "operand_batching": _ints(d.operand_batching_dims),
        "indices_batching": _ints(d.scatter_indices_batching_dims),
        "mode": _mode(p),
    }


def _cumulative(p: Params) -> dict[str, Any]:
    return {"axis": int(p["axis"]), "reverse": bool(p["reverse"])}


def _slice(p: Params) -> dict[str, Any]:
    start = _ints(p["start_indices"])
    return {
        "start": start,
        "limit": _ints(p["limit_indices"]),
        "strides": _ints(p["strides"]) if p["strides"] is not None else (1,) * len(start),
    }


def _round(p: Params) -> dict[str, Any]:
    return {"to_even": int(p["rounding_method"]) == 1}


_ATTRS: dict[str, Callable[[Params], dict[str, Any] | None]] = {
    "integer_pow": lambda p: {"y": int(p["y"])},
    "round": _round,
    "iota": lambda p: {"axis": int(p["dimension"])},
    "broadcast_in_dim": lambda p: {"dims": _ints(p["broadcast_dimensions"])},
    "transpose": lambda p: {"permutation": _ints(p["permutation"])},
    "slice": _slice,
    "rev": lambda p: {"axes": _ints(p["dimensions"])},
    "pad": lambda p: {"config": _pairs(p["padding_config"])},
    "concatenate": lambda p: {"axis": int(p["dimension"])},
    "dynamic_slice": lambda p: {"sizes": _ints(p["slice_sizes"])},
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter,
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "reduce_window_sum": _window,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "select_and_scatter_add": _select_and_scatter,
    "argmax": lambda p: {"axes": _ints(p["axes"])},
    "argmin": lambda p: {"axes": _ints(p["axes"])},
    **dict.fromkeys(REDUCTIONS, lambda p: {"axes": _ints(p["axes"])}),
    **dict.fromkeys(SCANS, _cumulative),
}
