"""Common subexpression elimination: equal operations on equal values are computed once."""

from __future__ import annotations

from collections.abc import Hashable

from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.passes.rewrite import Rewriter


def cse(graph: StepGraph) -> StepGraph:
    """Number operations by (operation, operands, attributes, result type); the first of each stands for
    all."""
    seen: dict[Hashable, tuple[Value, ...]] = {}

    def rule(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
        if node.body is not None:
            return None
        attrs = tuple((k, _exact(v)) for k, v in sorted(node.attrs.items()))
        results = tuple((v.shape, v.dtype) for v in node.outputs)
        key = (node.op, tuple(v.id for v in node.inputs), attrs, results)
        if key in seen:
            return seen[key]
        seen[key] = node.outputs
        return None

    return Rewriter(graph).run(rule)


def _exact(value: object) -> object:
    """-0.0 and 0.0, True and 1 compare equal in Python but are different constants."""
    return (type(value).__name__, value.hex()) if isinstance(value, float) else (type(value).__name__, value)
