"""Rows of what is decoded from a frozen matrix are decoded from the matrix's rows.

A step that reads a range of rows, or rows by id, of a widened matrix is rewritten to read those rows of the
stored matrix and widen them. Each element is computed by the same operations as before, so the bits stay, and
`split_frozen` finds the stored matrix read by rows::

    %1: float32[9,4] = convert_element_type(%w)       %1: bfloat16[3,4] = slice(%w) {…}
    %2: float32[3,4] = slice(%1) {…}                  %2: float32[3,4] = convert_element_type(%1)
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from daypack.compiler import ops
from daypack.compiler.decoding import decoded_values
from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.passes.rewrite import Rewriter
from daypack.compiler.passes.row_reads import is_row_lookup, is_row_range, leads

Take = Callable[[Value], Value]
"""Rows of a stored matrix, as an added node."""


def decoded_rows(graph: StepGraph) -> StepGraph:
    """Apply the rewrite wherever every operation of the decoding keeps rows apart."""
    decoded = decoded_values(graph)

    def rule(rewriter: Rewriter, node: Node) -> tuple[Value, ...] | None:
        if node.op not in ("slice", "gather") or node.inputs[0].id not in decoded:
            return None
        if not (is_row_range(node) if node.op == "slice" else is_row_lookup(node)):
            return None
        return _Rows(rewriter, node).result()

    return Rewriter(graph).run(rule)


class _Rows:
    """The decoding of some rows. `lead`: the dimensions that stand in the place of the matrix's first."""

    def __init__(self, rewriter: Rewriter, node: Node) -> None:
        self.rewriter = rewriter
        self.read = node
        rows = node.output.shape
        self.lead = rows[:1] if node.op == "slice" else rows[:-1]

    def result(self) -> tuple[Value, ...] | None:
        value = self.read.inputs[0]
        return (self._part(value),) if self._by_rows(value) else None

    def _by_rows(self, value: Value) -> bool:
        """Whether a row of the value is made of the same row of everything it is made of."""
        node = self.rewriter.producer.get(value.id)
        if node is None:
            return len(value.shape) == len(self.read.inputs[0].shape)
        if value.shape == () or node.op in ("constant", "iota"):
            return node.attrs.get("axis") != 0
        if node.op == "broadcast_in_dim":
            (inner,) = node.inputs
            if 0 not in node.attrs["dims"]:
                return inner.shape == ()
            return node.attrs["dims"][0] == 0 and leads(inner, value) and self._by_rows(inner)
        if node.op == "reshape":
            return leads(node.inputs[0], value) and self._by_rows(node.inputs[0])
        return node.op in ops.ELEMENTWISE and all(self._by_rows(v) for v in node.inputs)

    def _part(self, value: Value) -> Value:
        node = self.rewriter.producer.get(value.id)
        if node is None:
            return self._stored(value)
        if value.shape == ():
            return value
        like = Value(-1, (*self.lead, *value.shape[1:]), value.dtype)
        attrs = dict(node.attrs)
        more = len(self.lead) - 1
        inputs = node.inputs
        if node.op == "iota":
            attrs["axis"] += more
        elif node.op == "broadcast_in_dim" and inputs[0].shape != ():
            attrs["dims"] = (*range(more + 1), *(d + more for d in attrs["dims"][1:]))
            inputs = (self._part(inputs[0]),)
        elif node.op != "broadcast_in_dim":
            inputs = tuple(self._part(v) for v in inputs)
        return self.rewriter.node(node.op, inputs, like, attrs, node.source)

    def _stored(self, value: Value) -> Value:
        """These rows of an input: the same slice or look-up, as wide as the input is."""
        read = self.read
        like = Value(-1, (*self.lead, *value.shape[1:]), value.dtype)
        attrs = dict(read.attrs)
        if read.op == "slice":
            attrs["limit"] = (attrs["limit"][0], *value.shape[1:])
        else:
            attrs["slice_sizes"] = (1, *value.shape[1:])
        inputs = (value, *read.inputs[1:])
        return self.rewriter.node(read.op, inputs, like, MappingProxyType(attrs), read.source)
