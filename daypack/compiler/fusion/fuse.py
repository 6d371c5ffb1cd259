"""A graph of operations → a graph of fused nodes, each of which becomes one kernel call."""

from __future__ import annotations

from types import MappingProxyType

from daypack.compiler.fusion.groups import Group, form_groups
from daypack.compiler.fusion.roots import ANCHORS, choose_roots
from daypack.compiler.graph import Input, Node, Output, Role, StepGraph


def fuse(graph: StepGraph) -> StepGraph:
    """Every node of the result is `fused`, with a body and the attribute `kind`.

    The body's inputs are the stored values it reads, its outputs those that other kernels or the graph need.
    """
    roots = choose_roots(graph)
    groups = form_groups(graph, roots)
    readers = _read_by(groups, roots.leaves)
    wanted = {out.value.id for out in graph.outputs}
    values = {v.id: v for node in graph.nodes for v in node.outputs}
    values.update((i.value.id, i.value) for i in graph.inputs)
    nodes: list[Node] = []
    for number, group in enumerate(groups):
        positions: set[int] = set()
        leaves: set[int] = set()
        for root in group.roots:
            positions |= roots.expression[root]
            leaves |= roots.leaves[root]
        inside = set(group.roots)
        body_nodes = tuple(graph.nodes[n] for n in sorted(positions))
        inputs = [values[v] for v in _read_order(body_nodes, leaves - inside)]
        kept = [r for r in sorted(group.roots) if r in wanted or readers.get(r, set()) - {number}]
        body = StepGraph(
            f"k{number}",
            tuple(Input(v, Role.ACTIVATION, f"in{n}") for n, v in enumerate(inputs)),
            body_nodes,
            tuple(Output(f"out{n}", values[r]) for n, r in enumerate(kept)),
        )
        attrs = MappingProxyType({"kind": str(group.kind)})
        outputs = tuple(values[r] for r in kept)
        nodes.append(Node("fused", tuple(inputs), outputs, attrs, _source(body_nodes), body))
    return StepGraph(graph.name, graph.inputs, tuple(nodes), graph.outputs, graph.constants)


def _read_by(groups: list[Group], leaves: dict[int, frozenset[int]]) -> dict[int, set[int]]:
    readers: dict[int, set[int]] = {}
    for number, group in enumerate(groups):
        for root in group.roots:
            for leaf in leaves[root]:
                readers.setdefault(leaf, set()).add(number)
    return readers


def _read_order(nodes: tuple[Node, ...], leaves: set[int]) -> list[int]:
    """The leaves in the order of their first use in the body, so that equal bodies list them equally."""
    seen: dict[int, None] = {}
    for node in nodes:
        for v in node.inputs:
            if v.id in leaves:
                seen.setdefault(v.id)
    return list(seen)


def _source(nodes: tuple[Node, ...]) -> str:
    """The line of the node that names the kernel best: its anchor, else its last operation with a line."""
    for node in nodes:
        if node.op in ANCHORS and node.source:
            return node.source
    return next((n.source for n in reversed(nodes) if n.source), "")
