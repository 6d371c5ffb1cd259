"""The window → what a planner sees: one node a call, one source an array that exists before the window.

A call with several outputs is one node whose size is their sum. A call that takes over the memory of one
array of
its own size says so (`overwrites`); an optimizer kernel that updates several arrays overwrites the first and
lists the others as changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daypack.compiler.window import Call, Origin, Window
from daypack.planners.problem import Node, NodeKind, Problem

ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Projection:
    """`problem` with, for each node, the call (index) or the item (source) that it stands for."""

    problem: Problem
    call_of: dict[int, int]
    source_of: dict[int, int]


def padded(size_bytes: int) -> int:
    """A size as it counts in the arena."""
    return size_bytes + -size_bytes % ALIGNMENT_BYTES


def project(
    window: Window, costs: Sequence[float], workspaces: Sequence[int], fixed_bytes: int
) -> Projection:
    """The problem of a window; `costs` and `workspaces` are per call, in seconds and bytes."""
    nodes: list[Node] = []
    node_of: dict[int, int] = {}  # item → the node that holds its present content
    call_of: dict[int, int] = {}
    source_of: dict[int, int] = {}
    for item in window.items:
        if item.origin in (Origin.STATE, Origin.WEIGHTS):
            node_of[item.id] = len(nodes)
            source_of[len(nodes)] = item.id
            size = padded(item.size_bytes)
            nodes.append(Node(len(nodes), item.name, 0.0, size, kind=NodeKind.SOURCE))
    taken: set[int] = set()
    for number, call in enumerate(window.calls):
        node = _node(nodes, window, call, node_of, taken, costs[number], workspaces[number])
        if node.overwrites is not None:
            taken.add(node.overwrites)
        call_of[node.id] = number
        node_of.update((out, node.id) for out in call.outputs)
        node_of.update((old, node.id) for old in call.overwrites.values())
        nodes.append(node)
    final = {node_of[item] for _, item in window.state.values()}
    final |= {node_of[window.loss], node_of[window.weight]}
    final |= {n for n in source_of if n not in taken}
    return Projection(Problem(tuple(nodes), frozenset(final), fixed_bytes), call_of, source_of)


def _node(
    nodes: list[Node],
    window: Window,
    call: Call,
    node_of: dict[int, int],
    taken: set[int],
    cost: float,
    workspace: int,
) -> Node:
    size = sum(padded(window.items[o].size_bytes) for o in call.outputs if o not in call.overwrites)
    overwritten = [node_of[old] for old in call.overwrites.values()]
    inputs = dict.fromkeys([*(node_of[i] for i in call.inputs), *overwritten])
    overwrites = None
    if size == 0 and overwritten and overwritten[0] not in taken:
        own = padded(window.items[next(iter(call.overwrites))].size_bytes)
        if nodes[overwritten[0]].size_bytes == own:
            overwrites, size = overwritten[0], own
    name = call.source or str(call.kind)
    return Node(len(nodes), name, cost, size, workspace, tuple(inputs), overwrites=overwrites)
