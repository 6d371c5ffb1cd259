"""Matrix products computed in float16: which ones of a graph, marked before fusion.

A marked `dot_general` has the attribute `arithmetic = "float16"`, whose law is in `reference/half.py`. Thin
products (of low-rank adapters) stay in float32: they are bound by memory, and they are few operations.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from daypack.compiler.graph import Node, StepGraph

THINNEST = 32
"""Rows, columns and depth that a product needs at least."""


def half_products(graph: StepGraph) -> StepGraph:
    """The graph with every float32 product of enough rows, columns and depth marked."""
    nodes = tuple(_marked(node) if _is_wide(node) else node for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _marked(node: Node) -> Node:
    return replace(node, attrs=MappingProxyType({**node.attrs, "arithmetic": "float16"}))


def _is_wide(node: Node) -> bool:
    if node.op != "dot_general" or any(v.dtype != "float32" for v in (*node.inputs, node.output)):
        return False
    lhs, rhs = (v.shape for v in node.inputs)
    contracted: tuple[int, ...] = node.attrs["lhs_contract"]
    batched: tuple[int, ...] = node.attrs["lhs_batch"]
    depth, batch = (math.prod(lhs[d] for d in dims) for dims in (contracted, batched))
    rows, columns = (math.prod(shape) // max(1, batch * depth) for shape in (lhs, rhs))
    return min(rows, columns, depth) >= THINNEST
