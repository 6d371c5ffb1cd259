"""Signatures of reductions, contractions, windows and cumulative operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from daypack.compiler import ops
from daypack.compiler.graph import Node
from daypack.compiler.signatures.signature import (
    BITS,
    BOOL,
    FLOATS,
    INDEX,
    INT,
    INTS,
    NUMBERS,
    PAIRS,
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


def _kept(node: Node) -> tuple[int, ...]:
    (value,) = node.inputs
    require_axes(node.attrs["axes"], len(value.shape), "axes")
    return without(value.shape, ints(node, "axes"))


def _reduce(allowed: frozenset[str]) -> Callable[[Node], tuple[Type, ...]]:
    def infer(node: Node) -> tuple[Type, ...]:
        require_dtype(node.inputs[0], allowed)
        return (Type(_kept(node), node.inputs[0].dtype),)

    return infer


def _arg(node: Node) -> tuple[Type, ...]:
    require_dtype(node.inputs[0], NUMBERS)
    require_dtype(node.output, INDEX)
    require(len(node.attrs["axes"]) == 1, "one axis", node.attrs["axes"])
    return (Type(_kept(node), node.output.dtype),)


def _dot(node: Node) -> tuple[Type, ...]:
    lhs, rhs = node.inputs
    at = node.attrs
    require_same_dtype(node, node.inputs)
    if "arithmetic" in at:
        require_dtype(lhs, frozenset(("float32",)))
    require_dtype(node.output, frozenset((lhs.dtype, "float32")) if lhs.dtype in FLOATS else NUMBERS)
    for side, value in (("lhs", lhs), ("rhs", rhs)):
        require_axes((*at[f"{side}_batch"], *at[f"{side}_contract"]), len(value.shape), f"{side} dimensions")
    for group in ("batch", "contract"):
        left, right = (
            sizes(lhs.shape, ints(node, f"lhs_{group}")),
            sizes(rhs.shape, ints(node, f"rhs_{group}")),
        )
        require(left == right, f"{group} dimensions of equal sizes", f"{left} and {right}")
    batch = sizes(lhs.shape, ints(node, "lhs_batch"))
    rows = without(lhs.shape, (*ints(node, "lhs_batch"), *ints(node, "lhs_contract")))
    columns = without(rhs.shape, (*ints(node, "rhs_batch"), *ints(node, "rhs_contract")))
    return (Type((*batch, *rows, *columns), node.output.dtype),)


def _positions(
    space: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    inside: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """How many windows fit along each dimension. `inside` and `dilation` spread the data and the window."""
    result: list[int] = []
    for n, w, s, (low, high), base, step in zip(
        space, window, strides, padding, inside, dilation, strict=True
    ):
        whole = low + (n + max(n - 1, 0) * (base - 1)) + high
        reach = (w - 1) * step + 1
        result.append(max((whole - reach) // s + 1, 0))
    return tuple(result)


def _require_positive(at: Any, rank: int, *names: str) -> None:
    for name in names:
        legal = len(at[name]) == rank and all(n >= 1 for n in at[name])
        require(legal, f"{name} to be {rank} numbers of at least 1", at[name])
    require(len(at["padding"]) == rank, f"padding of {rank} dimensions", at["padding"])


def _conv(node: Node) -> tuple[Type, ...]:
    lhs, rhs = node.inputs
    at, rank = node.attrs, len(lhs.shape)
    require_same_dtype(node, node.inputs)
    require_dtype(lhs, FLOATS)
    for name, value in (("lhs_spec", lhs), ("rhs_spec", rhs), ("out_spec", node.output)):
        ordered = len(value.shape) == rank and sorted(at[name]) == list(range(rank))
        require(
            ordered and rank >= 2, f"{name} to order {rank} dimensions", f"{at[name]} of {len(value.shape)}"
        )
    _require_positive(at, rank - 2, "strides", "lhs_dilation", "rhs_dilation")
    batch, features, *space = sizes(lhs.shape, ints(node, "lhs_spec"))
    outputs, inputs, *window = sizes(rhs.shape, ints(node, "rhs_spec"))
    groups: int = at["feature_groups"]
    batch_groups: int = at["batch_groups"]
    require(groups >= 1 and batch_groups >= 1, "at least 1 group", (groups, batch_groups))
    require(groups == 1 or batch_groups == 1, "groups of features or of images", (groups, batch_groups))
    split = (
        features == inputs * groups and outputs % (groups * batch_groups) == 0 and batch % batch_groups == 0
    )
    require(split, "features and images that divide into the groups", f"{lhs.shape} and {rhs.shape}")
    places = _positions(space, window, at["strides"], at["padding"], at["lhs_dilation"], at["rhs_dilation"])
    shape = [0] * rank
    for d, n in zip(ints(node, "out_spec"), (batch // batch_groups, outputs, *places), strict=True):
        shape[d] = n
    return (Type(tuple(shape), lhs.dtype),)


def _window(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    at = node.attrs
    require_dtype(value, NUMBERS)
    _require_positive(at, len(value.shape), "window", "strides", "base_dilation", "window_dilation")
    shape = _positions(
        value.shape, at["window"], at["strides"], at["padding"], at["base_dilation"], at["window_dilation"]
    )
    return (Type(shape, value.dtype),)


def _select_and_scatter(node: Node) -> tuple[Type, ...]:
    source, operand = node.inputs
    at, ones = node.attrs, (1,) * len(operand.shape)
    require_same_dtype(node, node.inputs)
    require_dtype(operand, FLOATS)
    _require_positive(at, len(operand.shape), "window", "strides")
    shape = _positions(operand.shape, at["window"], at["strides"], at["padding"], ones, ones)
    require(source.shape == shape, f"a source of shape {list(shape)}", list(source.shape))
    return (Type(operand.shape, operand.dtype),)


def _scan(node: Node) -> tuple[Type, ...]:
    (value,) = node.inputs
    require_dtype(value, FLOATS if node.op == "cumlogsumexp" else NUMBERS)
    require_axes((node.attrs["axis"],), len(value.shape), "axis")
    return (Type(value.shape, value.dtype),)


_DOT = {"lhs_contract": INTS, "rhs_contract": INTS, "lhs_batch": INTS, "rhs_batch": INTS}
_CONV = {
    **dict.fromkeys(("lhs_spec", "rhs_spec", "out_spec", "strides", "lhs_dilation", "rhs_dilation"), INTS),
    **{"padding": PAIRS, "feature_groups": INT, "batch_groups": INT},
}
_POOL = {"window": INTS, "strides": INTS, "padding": PAIRS}
_NUMERIC = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")

TABLE: dict[str, Signature] = {
    **{op: Signature(1, _reduce(NUMBERS), {"axes": INTS}) for op in _NUMERIC},
    **{op: Signature(1, _reduce(BITS), {"axes": INTS}) for op in ("reduce_and", "reduce_or", "reduce_xor")},
    **{op: Signature(1, _arg, {"axes": INTS}) for op in ops.ARG_REDUCTIONS},
    "dot_general": Signature(2, _dot, _DOT, optional={"arithmetic": one_of("float16")}),
    "conv_general_dilated": Signature(2, _conv, _CONV),
    **{
        op: Signature(1, _window, {**_POOL, "base_dilation": INTS, "window_dilation": INTS})
        for op in ("reduce_window_sum", "reduce_window_max", "reduce_window_min")
    },
    "select_and_scatter_add": Signature(2, _select_and_scatter, _POOL),
    **{op: Signature(1, _scan, {"axis": INT, "reverse": BOOL}) for op in ops.SCANS},
}
