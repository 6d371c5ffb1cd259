"""Constant folding and exact identities.

Only identities that keep every bit of a finite result are applied (x·1, x/1, x+0, reshape to the same shape,
…); x+0 turns −0 into itself where IEEE gives +0, which no later operation of a training step can tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph, Value, numpy_dtype
from daypack.compiler.interpret import apply
from daypack.compiler.passes.rewrite import Rewriter


def fold(graph: StepGraph) -> StepGraph:
    """Evaluate operations on rank-0 constants and drop operations that return an operand unchanged."""
    return Rewriter(graph).run(_rule)


def _rule(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
    if len(node.outputs) != 1 or node.body is not None:
        return None
    if folded := _evaluated(rewriter, node):
        return (folded,)
    if _reduces_nothing(node):
        return (rewriter.node("reshape", node.inputs, node.output, {}, node.source),)
    if (same := _unchanged(rewriter, node)) is not None:
        return (same,)
    if (uniform := _uniform(rewriter, node)) is not None:
        return (uniform,)
    return None


def _reduces_nothing(node: Node) -> bool:
    """A reduction over dimensions of one element moves no data."""
    axes: tuple[int, ...] = node.attrs.get("axes", ())
    return node.op in ops.REDUCTIONS and axes != () and all(node.inputs[0].shape[d] == 1 for d in axes)


def _evaluated(rewriter: Rewriter, node: Node) -> Value | None:
    """A rank-0 result of rank-0 constants."""
    if node.output.shape != () or not node.inputs or node.op not in ops.ELEMENTWISE | {"reshape"}:
        return None
    arrays: list[np.ndarray[Any, Any]] = []
    for value in node.inputs:
        maker = rewriter.made_by(value, "constant")
        if maker is None:
            return None
        arrays.append(np.asarray(maker.attrs["value"], numpy_dtype(value.dtype)))
    with np.errstate(all="ignore"):
        (result,) = apply(node, arrays)
    return rewriter.scalar(np.asarray(result, numpy_dtype(node.output.dtype)).item(), node.output.dtype)


_NEUTRAL = {"mul": (1, 1), "add": (0, 0), "sub": (None, 0), "div": (None, 1), "or": (0, 0)}


def _unchanged(rewriter: Rewriter, node: Node) -> Value | None:
    """The operand that the node returns as it is, if there is one."""
    out = node.output
    first = node.inputs[0] if node.inputs else None
    if first is None:
        return None
    same = first.shape == out.shape and first.dtype == out.dtype
    attrs = node.attrs
    if node.op in ("reshape", "convert_element_type", "broadcast_in_dim", "slice") and same:
        return first
    if node.op == "transpose" and attrs["permutation"] == tuple(range(len(out.shape))):
        return first
    if node.op == "integer_pow" and attrs["y"] == 1:
        return first
    if node.op == "concatenate" and len(node.inputs) == 1:
        return first
    if node.op == "pad" and all(c == (0, 0, 0) for c in attrs["config"]):
        return first
    if node.op.startswith("reduce_") and not attrs.get("axes", True):
        return first
    if node.op in ("max", "min"):
        neutral = -np.inf if node.op == "max" else np.inf
        return _other(rewriter, node, neutral, neutral)
    if node.op in _NEUTRAL:
        return _other(rewriter, node, *_NEUTRAL[node.op])
    return None


def _other(rewriter: Rewriter, node: Node, left: Any, right: Any) -> Value | None:
    a, b = node.inputs
    for value, neutral, kept in ((a, left, b), (b, right, a)):
        if neutral is None or kept.shape != node.output.shape or kept.dtype != node.output.dtype:
            continue
        constant = rewriter.constant_of(value)
        if constant is not None and constant == neutral and not isinstance(constant, bool):
            return kept
    return None


def _uniform(rewriter: Rewriter, node: Node) -> Value | None:
    """An element-wise operation on uniform arrays, done once on the numbers and broadcast."""
    if node.op not in ops.ELEMENTWISE or node.output.shape == () or not node.inputs:
        return None
    constants = [rewriter.constant_of(v) for v in node.inputs]
    if any(c is None for c in constants):
        return None
    arrays = [np.asarray(c, numpy_dtype(v.dtype)) for c, v in zip(constants, node.inputs, strict=True)]
    scalar_node = Node(node.op, node.inputs, (Value(-1, (), node.output.dtype),), node.attrs)
    with np.errstate(all="ignore"):
        (result,) = apply(scalar_node, arrays)
    number = np.asarray(result, numpy_dtype(node.output.dtype)).item()
    scalar = rewriter.scalar(number, node.output.dtype)
    return rewriter.node("broadcast_in_dim", (scalar,), node.output, {"dims": ()}, node.source)
