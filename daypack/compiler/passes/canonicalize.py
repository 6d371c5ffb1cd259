"""Rewrites that leave fewer arrays in memory: transposes into contractions, sums into scatters.

- `transpose(dot(a, b))` that swaps the free dimensions of a and b is `dot(b, a)`: each output is the same sum
  of the same products in the same order, so the bits stay.
- `add(x, scatter-add(0, i, u))` is `scatter-add(x, i, u)`: an embedding's gradient lands on the tied head's.
- chains of transposes, and of reshapes, become one.
- a scalar broadcast that feeds an element-wise operation is read as a scalar.
"""

from __future__ import annotations

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.passes.rewrite import Rewriter


def canonicalize(graph: StepGraph) -> StepGraph:
    """Apply the rewrites of this file once, in node order."""
    readers = {key: len(nodes) for key, nodes in graph.consumers().items()}
    for out in graph.outputs:
        readers[out.value.id] = readers.get(out.value.id, 0) + 1

    def rule(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
        if node.op == "transpose":
            return _transpose(rewriter, node, readers)
        if node.op == "reshape":
            return _reshape(rewriter, node)
        if node.op == "add":
            return _add_into_scatter(rewriter, node, readers)
        if node.op in ops.ELEMENTWISE and len(node.outputs) == 1:
            return _scalars(rewriter, node)
        return None

    return Rewriter(graph).run(rule)


def _transpose(rewriter: Rewriter, node: Node, readers: dict[int, int]) -> tuple[Value, ...] | None:
    (value,) = node.inputs
    order: tuple[int, ...] = node.attrs["permutation"]
    if inner := rewriter.made_by(value, "transpose"):
        combined = tuple(inner.attrs["permutation"][d] for d in order)
        return (
            rewriter.node("transpose", inner.inputs, node.output, {"permutation": combined}, node.source),
        )
    dot = rewriter.made_by(value, "dot_general")
    if dot is not None and readers.get(value.id, 0) <= 1:  # else the product would be computed twice
        swapped = _swap(dot, order)
        if swapped is not None:
            return (rewriter.node("dot_general", dot.inputs[::-1], node.output, swapped, node.source),)
    return None


def _swap(dot: Node, order: tuple[int, ...]) -> dict[str, object] | None:
    """The attributes of the contraction with its operands exchanged, if `order` does just that to the
    result."""
    at = dot.attrs
    lhs, rhs = dot.inputs
    batch = len(at["lhs_batch"])
    left = len(lhs.shape) - batch - len(at["lhs_contract"])
    right = len(rhs.shape) - batch - len(at["rhs_contract"])
    expected = (*range(batch), *range(batch + left, batch + left + right), *range(batch, batch + left))
    if order != expected:
        return None
    return {
        "lhs_contract": at["rhs_contract"],
        "rhs_contract": at["lhs_contract"],
        "lhs_batch": at["rhs_batch"],
        "rhs_batch": at["lhs_batch"],
    }


def _reshape(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
    if inner := rewriter.made_by(node.inputs[0], "reshape"):
        return (rewriter.node("reshape", inner.inputs, node.output, {}, node.source),)
    return None


def _add_into_scatter(rewriter: Rewriter, node: Node, readers: dict[int, int]) -> tuple[Value, ...] | None:
    for value, other in (node.inputs, node.inputs[::-1]):
        scatter = rewriter.made_by(value, "scatter-add")
        if scatter is None or other.shape != node.output.shape or readers.get(value.id, 0) > 1:
            continue
        base, indices, updates = scatter.inputs
        if rewriter.constant_of(base) == 0:
            inputs = (other, indices, updates)
            return (rewriter.node("scatter-add", inputs, node.output, scatter.attrs, scatter.source),)
    return _scalars(rewriter, node)


def _scalars(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
    """Replace broadcasts of rank-0 operands by the operands, keeping one operand of full shape."""
    inputs: list[Value] = []
    for value in node.inputs:
        inner = rewriter.made_by(value, "broadcast_in_dim")
        inputs.append(inner.inputs[0] if inner is not None and inner.inputs[0].shape == () else value)
    full = any(v.shape == node.output.shape for v in inputs)
    if tuple(inputs) == node.inputs or not full:
        return None
    return (rewriter.node(node.op, tuple(inputs), node.output, node.attrs, node.source),)
