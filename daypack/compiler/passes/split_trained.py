"""Trained matrices that are only read by rows become parts of rows, alike in both graphs of a step.

A trained matrix of which the micro-step reads row ranges that tile it, or looks rows up by id, is cut where
the ranges lie; one that is only looked up, and large, on a grid of its own. Its parts, those of its running
gradient and of each array of the optimizer's state with its shape are inputs and outputs of their own,
`NAME[a:b]`: each can be in memory, or on flash, on its own.

The cut follows from the shapes alone, never from a budget. An array that something reads as a whole (a
product with all of it, a statistic over more than rows) stays whole, with its gradient.
"""

from __future__ import annotations

from daypack.compiler.graph import Node, Role, StepGraph, Value
from daypack.compiler.passes.row_parts import PERSISTENT, Grid, Parted, in_parts
from daypack.compiler.passes.row_reads import is_row_lookup, is_row_range

LARGE_BYTES = 16_000_000
"""A matrix that is only looked up is cut from here on."""
PART_BYTES = 12_000_000
"""About the size of its parts."""
ALIGNED_ROWS = 48
_SUM = "sum/grad/"


def split_trained(micro: StepGraph, update: StepGraph) -> tuple[StepGraph, StepGraph]:
    """Cut what can be cut. What one graph needs whole stays whole in both; that decides anew for the rest."""
    grids = _grids(micro, update)
    while grids:
        parted = [in_parts(graph, grids) for graph in (micro, update)]
        whole = _with_partners(parted)
        if not whole:
            return parted[0].graph, parted[1].graph
        grids = {name: grid for name, grid in grids.items() if name not in whole}
    return micro, update


def _with_partners(parted: list[Parted]) -> frozenset[str]:
    """The arrays that stay whole; a parameter and its gradient do so together."""
    whole = parted[0].whole | parted[1].whole
    return whole | {name.removeprefix(_SUM) for name in whole} | {_SUM + name for name in whole}


def _grids(micro: StepGraph, update: StepGraph) -> dict[str, Grid]:
    """The cut of every persistent array that may be cut: one a shape."""
    shapes: dict[tuple[int, ...], Grid] = {}
    stay: set[str] = set()
    readers = micro.consumers()
    for entry in micro.inputs:
        if entry.role is not Role.TRAINABLE:
            continue
        grid = _grid(entry.value, readers.get(entry.value.id, []))
        if grid is None or shapes.setdefault(entry.value.shape, grid) != grid:
            stay |= {entry.name, _SUM + entry.name}
    return {
        entry.name: shapes[entry.value.shape]
        for graph in (micro, update)
        for entry in graph.inputs
        if entry.role in PERSISTENT and entry.value.shape in shapes and entry.name not in stay
    }


def _grid(value: Value, uses: list[Node]) -> Grid | None:
    """The row ranges that the step reads, if they tile the matrix and all else are lookups."""
    if len(value.shape) != 2 or not all(_takes_rows(node, value) for node in uses):
        return None
    ranges = sorted({(n.attrs["start"][0], n.attrs["limit"][0]) for n in uses if n.op == "slice"})
    if not ranges:
        return _regular(value) if uses and value.size_bytes >= LARGE_BYTES else None
    ends = [0, *(end for _, end in ranges)]
    tiled = ends[:-1] == [first for first, _ in ranges] and ends[-1] == value.shape[0]
    return tuple(ranges) if tiled else None


def _takes_rows(node: Node, value: Value) -> bool:
    if node.op == "slice":
        return is_row_range(node)
    return is_row_lookup(node) and node.inputs[0] is value and node.inputs[1] is not value


def _regular(value: Value) -> Grid:
    """Parts of about PART_BYTES."""
    count = value.shape[0]
    row_bytes = value.size_bytes // count
    rows = max(ALIGNED_ROWS, PART_BYTES // row_bytes // ALIGNED_ROWS * ALIGNED_ROWS)
    return tuple((first, min(first + rows, count)) for first in range(0, count, rows))
