# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""`dot_general` and `conv_general_dilated` as one matrix product: batch × (M, K) · (K, N).

A `Geometry` says how long each direction is and how a position in it becomes an index of the operands and the
result. A convolution is the product of its patches (gathered on the fly, zero where they leave the image)
with its filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from daypack.compiler.graph import Node
from daypack.compiler.kernels.emit import Scope
from daypack.compiler.kernels.index import Arithmetic, Index, Ix
from daypack.compiler.kernels.views import all_of, clamped

Element = Callable[[Scope, Ix, Ix, Ix], Any]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of the product; `left(scope, b, m, k)`, `right(scope, b, k, n)` are elements of the operands."""

    batch: int
    rows: int
    columns: int
    depth: int
    left: Element
    right: Element
    result: Callable[[Ix, Ix, Ix], Index]


def geometry(node: Node, arithmetic: Arithmetic) -> Geometry:
    """The product a contraction node stands for."""
    return _dot(node, arithmetic) if node.op == "dot_general" else _conv(node, arithmetic)


def _place(rank: int, *groups: tuple[Sequence[int], Sequence[Ix]]) -> Index:
    index: list[Ix] = [Ix(0)] * rank
    for dims, values in groups:
        for d, ix in zip(dims, values, strict=True):
            index[d] = ix
    return tuple(index)


def _dot(node: Node, arithmetic: Arithmetic) -> Geometry:
    lhs, rhs = node.inputs
    at = node.attrs
    lhs_free = [d for d in range(len(lhs.shape)) if d not in (*at["lhs_batch"], *at["lhs_contract"])]
    rhs_free = [d for d in range(len(rhs.shape)) if d not in (*at["rhs_batch"], *at["rhs_contract"])]
    batch = [lhs.shape[d] for d in at["lhs_batch"]]
    rows = [lhs.shape[d] for d in lhs_free]
    columns = [rhs.shape[d] for d in rhs_free]
    depth = [lhs.shape[d] for d in at["lhs_contract"]]
    split = arithmetic.unflatten

    def left(scope: Scope, b: Ix, m: Ix, k: Ix) -> Any:
        index = _place(
            len(lhs.shape),
            (at["lhs_batch"], split(b, batch)),
            (lhs_free, split(m, rows)),
            (at["lhs_contract"], split(k, depth)),
        )
        return scope.value(lhs, index)

    def right(scope: Scope, b: Ix, k: Ix, n: Ix) -> Any:
        index = _place(
            len(rhs.shape),
            (at["rhs_batch"], split(b, batch)),
            (rhs_free, split(n, columns)),
            (at["rhs_contract"], split(k, depth)),
        )
        return scope.value(rhs, index)

    def result(b: Ix, m: Ix, n: Ix) -> Index:
        return (*split(b, batch), *split(m, rows), *split(n, columns))

    sizes = (math.prod(batch), math.prod(rows), math.prod(columns), math.prod(depth))
    return Geometry(*sizes, left, right, result)


def _conv(node: Node, arithmetic: Arithmetic) -> Geometry:
    """Rows are (image, output position), columns output features of a group, depth (input feature, tap)."""
    lhs, rhs = node.inputs
    at = node.attrs
    groups = max(at["feature_groups"], at["batch_groups"])
    by_batch = at["batch_groups"] > 1
    images, features = (lhs.shape[d] for d in at["lhs_spec"][:2])
    outputs, inputs = (rhs.shape[d] for d in at["rhs_spec"][:2])
    taps = [rhs.shape[d] for d in at["rhs_spec"][2:]]
    space = [lhs.shape[d] for d in at["lhs_spec"][2:]]
    positions = [node.output.shape[d] for d in at["out_spec"][2:]]
    group_images = images // at["batch_groups"]
    group_features = features // at["feature_groups"]
    group_outputs = outputs // groups
    split = arithmetic.unflatten

    def left(scope: Scope, b: Ix, m: Ix, k: Ix) -> Any:
        image, *place = split(m, [group_images, *positions])
        feature, *tap = split(k, [inputs, *taps])
        image = image + b * group_images if by_batch else image
        feature = feature if by_batch else feature + b * group_features
        conditions: list[Any] = []
        spots: list[Ix] = []
        for d, (o, t) in enumerate(zip(place, tap, strict=True)):
            spot, inside = _tap(arithmetic, at, d, o, t, space[d])
            spots.append(spot)
            conditions += inside
        loaded = scope.value(lhs, _place(len(lhs.shape), (at["lhs_spec"], [image, feature, *spots])))
        if not conditions:
            return loaded
        return tirx.Select(all_of(conditions), loaded, tirx.const(0.0, "float32"))

    def right(scope: Scope, b: Ix, k: Ix, n: Ix) -> Any:
        feature, *tap = split(k, [inputs, *taps])
        return scope.value(
            rhs, _place(len(rhs.shape), (at["rhs_spec"], [n + b * group_outputs, feature, *tap]))
        )

    def result(b: Ix, m: Ix, n: Ix) -> Index:
        image, *place = split(m, [group_images, *positions])
        return _place(len(node.output.shape), (at["out_spec"], [image, n + b * group_outputs, *place]))

    sizes = (groups, group_images * math.prod(positions), group_outputs, inputs * math.prod(taps))
    return Geometry(*sizes, left, right, result)


def _tap(arithmetic: Arithmetic, at: Any, d: int, o: Ix, t: Ix, size: int) -> tuple[Ix, list[Any]]:
    """(input position, conditions that it exists) of output position o, tap t, in spatial dimension d."""
    low, high = at["padding"][d]
    dilation = at["lhs_dilation"][d]
    spot = o * at["strides"][d] + t * at["rhs_dilation"][d] - low
    zero = tirx.const(0, "int32")
    conditions: list[Any] = []
    if low > 0 or high > 0 or dilation > 1:
        last = (size - 1) * dilation
        conditions += [tirx.GE(spot.tir(), zero), tirx.LE(spot.tir(), tirx.const(last, "int32"))]
    if dilation > 1:
        conditions.append(tirx.EQ(arithmetic.mod(spot, dilation).tir(), zero))
        spot = arithmetic.div(spot, dilation)
    return clamped(spot, 0, size - 1) if conditions else spot, conditions
