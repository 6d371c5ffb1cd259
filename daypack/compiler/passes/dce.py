"""Dead code elimination: keep the nodes an output needs."""

from __future__ import annotations

from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.passes.rewrite import with_nodes


def dce(graph: StepGraph) -> StepGraph:
    """Walk the nodes backwards from the outputs and drop the rest. Inputs stay: they are the interface."""
    live = {out.value.id for out in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.id in live for v in node.outputs):
            kept.append(node)
            live.update(v.id for v in node.inputs)
    return with_nodes(graph, tuple(reversed(kept)))
