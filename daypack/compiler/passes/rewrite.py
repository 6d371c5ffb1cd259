"""The walk that every pass shares: copy a graph node by node, replacing some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from daypack.compiler.graph import GraphBuilder, Node, Output, StepGraph, Value

Replace = Callable[["Rewriter", Node], "tuple[Value, ...] | None"]


class Rewriter:
    """A copy in progress. Values keep their numbers; new nodes get numbers above all old ones."""

    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.builder = GraphBuilder(graph.name, graph.next_id())
        self.builder.inputs = list(graph.inputs)
        self.builder.constants = dict(graph.constants)
        self.producer: dict[int, Node] = {}
        self._renamed: dict[int, Value] = {}

    def node(
        self,
        op: str,
        inputs: tuple[Value, ...],
        like: Value,
        attrs: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> Value:
        """A new node whose output has the shape and element type of `like`."""
        value = self.builder.node(op, inputs, like.shape, like.dtype, attrs, source)
        self.producer[value.id] = self.builder.nodes[-1]
        return value

    def scalar(self, value: Any, dtype: str) -> Value:
        """A rank-0 constant."""
        return self.node("constant", (), Value(-1, (), dtype), {"value": value})

    def run(self, rule: Replace) -> StepGraph:
        """Copy the graph; where `rule` returns values they stand for the node's outputs."""
        for old in self.graph.nodes:
            node = replace(old, inputs=tuple(self._renamed.get(v.id, v) for v in old.inputs))
            values = rule(self, node)
            if values is None:
                self.builder.nodes.append(node)
                self.producer.update((v.id, node) for v in node.outputs)
            else:
                for before, after in zip(node.outputs, values, strict=True):
                    self._renamed[before.id] = after
        outputs = (Output(o.name, self._renamed.get(o.value.id, o.value)) for o in self.graph.outputs)
        return self.builder.build(outputs)

    def made_by(self, value: Value, *ops: str) -> Node | None:
        """The node that makes a value, if it is one of these operations."""
        node = self.producer.get(value.id)
        return node if node is not None and node.op in ops else None

    def constant_of(self, value: Value) -> Any:
        """The number a value holds everywhere, looking through broadcasts; None if it is not one number."""
        node = self.producer.get(value.id)
        while node is not None and node.op in ("broadcast_in_dim", "reshape"):
            node = self.producer.get(node.inputs[0].id)
        return node.attrs["value"] if node is not None and node.op == "constant" else None


def with_nodes(graph: StepGraph, nodes: tuple[Node, ...]) -> StepGraph:
    """The graph with other nodes, its inputs, outputs and constants kept."""
    return StepGraph(graph.name, graph.inputs, nodes, graph.outputs, MappingProxyType(dict(graph.constants)))
