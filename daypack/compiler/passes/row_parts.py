"""A graph whose arrays of many rows are held as parts of rows: the rewriting behind `split_trained`.

What is computed element by element, or row by row, is computed part by part. A reduction over the rows is one
reduction a part, and the results combined in the order of the parts. A lookup of rows by id goes over the
parts with a running result: `y = part[id - first]` where the id lies at or behind the part's first row, else
the `y` so far. So one part is in memory at a time, and each element of the result is copied, never computed.
Rows that are added to places by id go to each part, which drops those outside it.

Worked example, an array `w` of 5 rows in the parts [0, 3) and [3, 5)::

    %1: float32[5,2] = mul(%w, %s)           %3: float32[3,2] = mul(%w[0:3], %s)
                                             %4: float32[2,2] = mul(%w[3:5], %s)
    %2: float32[] = reduce_sum(%1)           %5: float32[] = reduce_sum(%3)
                                             %6: float32[] = reduce_sum(%4)
                                             %7: float32[] = add(%5, %6)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daypack.compiler import ops
from daypack.compiler.graph import GraphBuilder, Input, Node, Output, Role, StepGraph, Value
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.row_reads import by_rows, is_row_lookup, is_row_range, leads, scatters_rows
from daypack.compiler.step import persists_as

Rows = tuple[int, int]
"""A range [first, end)."""
Grid = tuple[Rows, ...]
"""Ranges that follow each other from row 0 to the last."""
PERSISTENT = (Role.TRAINABLE, Role.STATE, Role.GRADIENT)
_COMBINE = {
    "reduce_sum": "add",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "mul",
    "reduce_and": "and",
    "reduce_or": "or",
    "reduce_xor": "xor",
}


@dataclass(frozen=True, slots=True)
class Parted:
    """`graph` with the arrays in parts, unless `whole` names some that something reads as a whole."""

    graph: StepGraph
    whole: frozenset[str]


def in_parts(graph: StepGraph, grids: Mapping[str, Grid]) -> Parted:
    """Hold the persistent arrays of these names in parts: inputs, and the outputs that carry them on.

    Parts are called `NAME[first:end]`. The graph is of use only where `whole` is empty.
    """
    return _Parts(graph, grids).run()


class _Parts:
    """The new graph in progress. Values that are not in parts keep their numbers, unless `renamed`."""

    def __init__(self, graph: StepGraph, grids: Mapping[str, Grid]) -> None:
        self.graph = graph
        self.grids = grids
        self.builder = GraphBuilder(graph.name, graph.next_id())
        self.builder.constants = dict(graph.constants)
        self.producers = graph.producers()
        self.parts: dict[int, tuple[Value, ...]] = {}
        self.grid_of: dict[int, Grid] = {}
        self.names: dict[int, frozenset[str]] = {}  # of a value in parts: the arrays it is made of
        self.renamed: dict[int, Value] = {}
        self.whole: set[str] = set()
        self._rows: dict[tuple[int, Rows], Value] = {}
        self._places: dict[tuple[int, Grid, int], list[Value]] = {}
        self._copies = False

    def run(self) -> Parted:
        for entry in self.graph.inputs:
            self._input(entry)
        for node in self.graph.nodes:
            self._node(node)
        outputs = [new for out in self.graph.outputs for new in self._output(out)]
        return Parted(dce(self.builder.build(outputs)), frozenset(self.whole))

    # ---- the walk ----

    def _input(self, entry: Input) -> None:
        grid = self.grids.get(entry.name) if entry.role in PERSISTENT else None
        if grid is None:
            self.builder.inputs.append(entry)
            return
        value = entry.value
        parts = tuple(
            self.builder.input(_shape(value, rows), value.dtype, entry.role, part_name(entry.name, rows))
            for rows in grid
        )
        self._keep(value, grid, parts, frozenset((entry.name,)))

    def _keep(self, value: Value, grid: Grid, parts: tuple[Value, ...], names: frozenset[str]) -> None:
        self.grid_of[value.id], self.parts[value.id], self.names[value.id] = grid, parts, names

    def _node(self, node: Node) -> None:
        read = [v for v in node.inputs if v.id in self.parts]
        if not read:
            self._copy(node)
            return
        grids = {self.grid_of[v.id] for v in read}
        names = frozenset[str]().union(*(self.names[v.id] for v in read))
        if len(grids) == 1 and by_rows(node, read[0]):
            grid = grids.pop()
            parts = [self._of_rows(node, rows) for rows in grid]
            if all(parts):
                self._keep(node.output, grid, tuple(p for p in parts if p is not None), names)
                return
        result = self._read_at_once(node) if len(read) == 1 else None
        if result is None:
            self._copy(node)
        else:
            self.renamed[node.output.id] = result

    def _copy(self, node: Node) -> None:
        self.builder.nodes.append(replace(node, inputs=tuple(self._new(v) for v in node.inputs)))

    def _new(self, value: Value) -> Value:
        """The value in the new graph, in one piece. One number a row is put together, more is not."""
        if value.id not in self.parts:
            return self.renamed.get(value.id, value)
        if value.elements > value.shape[0]:
            self.whole |= self.names[value.id]
            return value
        self.renamed[value.id] = self._joined(self.parts[value.id], value)
        parts = self.parts.pop(value.id)
        for rows, part in zip(self.grid_of[value.id], parts, strict=True):
            self._rows[(value.id, rows)] = part
        return self.renamed[value.id]

    def _output(self, out: Output) -> Iterable[Output]:
        grid = self.grids.get(persists_as(out.name) or "")
        if grid is None:
            return (Output(out.name, self._new(out.value)),)
        self._copies = False
        parts = [Output(part_name(out.name, rows), self._part(out.value, rows)) for rows in grid]
        if self._copies:
            self.whole.add(persists_as(out.name) or "")
        return parts

    # ---- rows of a value ----

    def _part(self, value: Value, rows: Rows) -> Value:
        """Rows [first, end) of a value, made from rows of what it is made of where that is possible."""
        key = (value.id, rows)
        if key not in self._rows:
            self._rows[key] = self._made(value, rows)
        return self._rows[key]

    def _made(self, value: Value, rows: Rows) -> Value:
        if rows == (0, value.shape[0]) and value.id not in self.parts:
            return self._new(value)
        if value.id in self.parts:
            pieces = list(zip(self.parts[value.id], self.grid_of[value.id], strict=True))
            return self._cover(pieces, rows, value)
        node = self.producers.get(value.id)
        made = self._of_rows(node, rows) if node is not None and len(node.outputs) == 1 else None
        return self._slice(value, rows) if made is None else made

    def _slice(self, value: Value, rows: Rows) -> Value:
        self._copies |= value.elements > value.shape[0]
        attrs = {
            "start": (rows[0], *(0 for _ in value.shape[1:])),
            "limit": (rows[1], *value.shape[1:]),
            "strides": (1,) * len(value.shape),
        }
        return self.builder.node("slice", (self._new(value),), _shape(value, rows), value.dtype, attrs)

    def _cover(self, pieces: Sequence[tuple[Value, Rows]], rows: Rows, like: Value) -> Value:
        """Rows [first, end) of pieces that follow each other."""
        found: list[Value] = []
        for value, (first, end) in pieces:
            low, high = max(first, rows[0]), min(end, rows[1])
            if low < high:
                found.append(
                    value if (low, high) == (first, end) else self._part(value, (low - first, high - first))
                )
        return self._joined(found, like)

    def _joined(self, values: Sequence[Value], like: Value) -> Value:
        if len(values) == 1:
            return values[0]
        shape = (sum(v.shape[0] for v in values), *like.shape[1:])
        return self.builder.node("concatenate", values, shape, like.dtype, {"axis": 0})

    def _of_rows(self, node: Node, rows: Rows) -> Value | None:
        """A node that makes rows [first, end) of what `node` makes, or None where it cannot be."""
        if node.op in ops.ELEMENTWISE and len(node.outputs) == 1:
            operands = [self._part(v, rows) if v.shape else self._new(v) for v in node.inputs]
            return self._like(node, rows, operands)
        if node.op == "concatenate" and node.attrs["axis"] == 0:
            return self._of_concatenation(node, rows)
        if node.op == "broadcast_in_dim":
            (value,) = node.inputs
            rowwise = node.attrs["dims"][:1] == (0,) and leads(value, node.output)
            return self._like(node, rows, [self._part(value, rows) if rowwise else self._new(value)])
        if node.op in ("scatter", "scatter-add"):
            return self._of_scatter(node, rows)
        keeps_rows = node.op in ops.REDUCTIONS and 0 not in node.attrs["axes"]
        if keeps_rows or (node.op == "reshape" and leads(node.inputs[0], node.output)):
            return self._like(node, rows, [self._part(node.inputs[0], rows)])
        return None

    def _like(
        self, node: Node, rows: Rows, operands: Sequence[Value], attrs: Mapping[str, Any] | None = None
    ) -> Value:
        shape = _shape(node.output, rows)
        return self.builder.node(
            node.op, operands, shape, node.output.dtype, node.attrs if attrs is None else attrs, node.source
        )

    def _of_concatenation(self, node: Node, rows: Rows) -> Value:
        pieces: list[tuple[Value, Rows]] = []
        first = 0
        for value in node.inputs:
            pieces.append((self._new(value), (first, first + value.shape[0])))
            first += value.shape[0]
        return self._cover(pieces, rows, node.output)

    def _of_scatter(self, node: Node, rows: Rows) -> Value | None:
        """The updates whose place lies in the rows; the others are dropped."""
        operand, indices, updates = node.inputs
        if not scatters_rows(node) or indices.id in self.parts or updates.id in self.parts:
            return None
        grid = self.grid_of.get(operand.id) or self._grid_with(rows, operand)
        if grid is None:
            return None
        clip = node.attrs["mode"] == "CLIP"
        place = self._place(self._new(indices), grid, clip)[grid.index(rows)]
        inputs = (self._part(operand, rows), place, self._new(updates))
        return self._like(node, rows, inputs, {**node.attrs, "mode": "FILL_OR_DROP"})

    def _grid_with(self, rows: Rows, value: Value) -> Grid | None:
        return next((g for g in self.grids.values() if rows in g and g[-1][1] == value.shape[0]), None)

    def _place(self, indices: Value, grid: Grid, clip: bool) -> list[Value]:
        """Where each index lies as seen from each part's first row.

        Each is made of the one before and kept in memory, so that all parts of one size share their kernels.
        """
        key = (indices.id, grid, int(clip))
        if key not in self._places:
            place = self._clamped(indices, grid[-1][1] - 1) if clip else indices
            place = self.builder.node("store", (place,), place.shape, place.dtype)
            places = [place]
            for first, end in grid[:-1]:
                step = self.builder.node("constant", (), (), place.dtype, {"value": end - first})
                moved = self.builder.node("sub", (place, step), place.shape, place.dtype)
                place = self.builder.node("store", (moved,), place.shape, place.dtype)
                places.append(place)
            self._places[key] = places
        return self._places[key]

    def _clamped(self, indices: Value, last: int) -> Value:
        low = self.builder.node("constant", (), (), indices.dtype, {"value": 0})
        high = self.builder.node("constant", (), (), indices.dtype, {"value": last})
        return self.builder.node("clamp", (low, indices, high), indices.shape, indices.dtype)

    # ---- readers of all parts ----

    def _read_at_once(self, node: Node) -> Value | None:
        """What a node makes of an array in parts: rows of it, or something that the parts combine to."""
        value = node.inputs[0]
        if value.id not in self.parts:
            return None
        if node.op == "slice" and is_row_range(node):
            return self._part(value, (node.attrs["start"][0], node.attrs["limit"][0]))
        if node.op in _COMBINE and 0 in node.attrs["axes"]:
            return self._reduced(node, self.parts[value.id])
        return self._looked_up(node) if is_row_lookup(node) else None

    def _reduced(self, node: Node, parts: Sequence[Value]) -> Value:
        out = node.output
        results = [
            self.builder.node(node.op, (part,), out.shape, out.dtype, node.attrs, node.source)
            for part in parts
        ]
        total = results[0]
        for more in results[1:]:
            total = self.builder.node(
                _COMBINE[node.op], (total, more), out.shape, out.dtype, source=node.source
            )
        return total

    def _looked_up(self, node: Node) -> Value:
        table, indices = node.inputs
        places = self._place(self._new(indices), self.grid_of[table.id], True)
        out = node.output
        zero = self.builder.node("constant", (), (), indices.dtype, {"value": 0})
        result: Value | None = None
        for part, place in zip(self.parts[table.id], places, strict=True):
            rows = self._out_of(node, "gather", (part, place), {**node.attrs, "mode": "CLIP"})
            if result is not None:
                here = self.builder.node("ge", (place, zero), place.shape, "bool")
                flat = self.builder.node("reshape", (here,), place.shape[:-1], "bool")
                dims = tuple(range(len(place.shape) - 1))
                spread = self.builder.node("broadcast_in_dim", (flat,), out.shape, "bool", {"dims": dims})
                rows = self._out_of(node, "select_n", (spread, result, rows), {})
            result = self._out_of(node, "store", (rows,), {})
        if result is None:
            raise ValueError("an array without parts")
        return result

    def _out_of(self, node: Node, op: str, inputs: tuple[Value, ...], attrs: Mapping[str, Any]) -> Value:
        return self.builder.node(op, inputs, node.output.shape, node.output.dtype, attrs, node.source)


def part_name(name: str, rows: Rows) -> str:
    """The published name of a part."""
    return f"{name}[{rows[0]}:{rows[1]}]"


def _shape(value: Value, rows: Rows) -> tuple[int, ...]:
    return (rows[1] - rows[0], *value.shape[1:])
