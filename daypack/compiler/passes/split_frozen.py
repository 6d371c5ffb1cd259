"""Frozen matrices that are only read in parts become those parts.

A frozen matrix of which the step reads whole rows [a, b) becomes one input a range, `NAME[a:b]`: each can be
in
memory, or on flash, on its own. Rows that the step gathers by id are read from flash by the engine: the
matrix becomes an input of the role `flash`, which is never in memory, and the gather a `read_rows`.

A matrix that is also read in any other way stays as it is, and so do small ones.
"""

from __future__ import annotations

from dataclasses import replace

from daypack.compiler.graph import Input, Node, Output, Role, StepGraph, Value
from daypack.compiler.passes.row_reads import is_row_lookup, is_row_range

SMALL_BYTES = 512 * 1024
"""Below this a matrix is one read anyway."""
ROW_UNIT_BYTES = 4
"""The engine reads rows of whole multiples of this."""


def split_frozen(graph: StepGraph) -> StepGraph:
    """Split what can be split; row ranges that overlap without being equal are left whole."""
    split = _Split(graph)
    for entry in graph.inputs:
        split.entry(entry)
    nodes = tuple(new for node in graph.nodes for new in split.node(node))
    outputs = tuple(Output(o.name, split.values.get(o.value.id, o.value)) for o in graph.outputs)
    return StepGraph(graph.name, tuple(split.inputs), nodes, outputs, graph.constants)


class _Split:
    """`values` maps the result of a slice to the part that takes its place; `tables` a matrix to its
    flash input.
    """

    def __init__(self, graph: StepGraph) -> None:
        self.readers = graph.consumers()
        self.producers = graph.producers()
        self.outputs = {out.value.id for out in graph.outputs}
        self.inputs: list[Input] = []
        self.values: dict[int, Value] = {}
        self.tables: dict[int, Value] = {}
        self._next = graph.next_id()

    def _fresh(self, shape: tuple[int, ...], dtype: str) -> Value:
        self._next += 1
        return Value(self._next - 1, shape, dtype)

    def entry(self, entry: Input) -> None:
        """Keep an input, or put its parts in its place."""
        uses = self.readers.get(entry.value.id, [])
        if not _splits(entry, uses, self.outputs):
            self.inputs.append(entry)
            return
        parts: dict[tuple[int, int], Value] = {}
        for node in (n for n in uses if n.op == "slice"):
            first, end = node.attrs["start"][0], node.attrs["limit"][0]
            if (first, end) not in parts:
                parts[(first, end)] = self._fresh(node.output.shape, entry.value.dtype)
                self.inputs.append(Input(parts[(first, end)], Role.FROZEN, f"{entry.name}[{first}:{end}]"))
            self.values[node.output.id] = parts[(first, end)]
        if any(n.op == "gather" for n in uses):
            self.tables[entry.value.id] = self._fresh(entry.value.shape, entry.value.dtype)
            self.inputs.append(Input(self.tables[entry.value.id], Role.FLASH, entry.name))

    def node(self, node: Node) -> tuple[Node, ...]:
        """What stands for a node."""
        if any(v.id in self.values for v in node.outputs):
            return ()
        inputs = tuple(self.values.get(v.id, v) for v in node.inputs)
        if node.op != "gather" or node.inputs[0].id not in self.tables:
            return (replace(node, inputs=inputs),)
        table = self.tables[node.inputs[0].id]
        before = self._spread(node.inputs[1])
        if before is not None:
            ids = self.values.get(before.id, before)
            return (Node("read_rows", (table, ids), node.outputs, source=node.source),)
        ids = self._fresh(inputs[1].shape[:-1], inputs[1].dtype)
        return (
            Node("reshape", (inputs[1],), (ids,), source=node.source),
            Node("read_rows", (table, ids), node.outputs, source=node.source),
        )

    def _spread(self, indices: Value) -> Value | None:
        """The ids that the indices of a gather are, with a dimension of size 1 behind; None if they are not.

        Read where they are first made, they need not be made a second time.
        """
        node = self.producers.get(indices.id)
        if node is None or node.op not in ("reshape", "broadcast_in_dim"):
            return None
        (value,) = node.inputs
        in_order = node.op == "reshape" or node.attrs["dims"] == tuple(range(len(value.shape)))
        return value if in_order and value.shape == indices.shape[:-1] else None


def _splits(entry: Input, uses: list[Node], outputs: set[int]) -> bool:
    """Whether every reader takes rows, by range or by id, and the ranges do not overlap."""
    value = entry.value
    if entry.role is not Role.FROZEN or value.size_bytes < SMALL_BYTES or value.id in outputs or not uses:
        return False
    if len(value.shape) != 2 or value.size_bytes // value.shape[0] % ROW_UNIT_BYTES:
        return False
    if not all(_by_rows(node, value) for node in uses):
        return False
    ranges = sorted({(n.attrs["start"][0], n.attrs["limit"][0]) for n in uses if n.op == "slice"})
    return all(first[1] <= second[0] for first, second in zip(ranges, ranges[1:], strict=False))


def _by_rows(node: Node, value: Value) -> bool:
    """A range of rows, or rows by ids whose range the data checks have bounded."""
    return is_row_range(node) if node.op == "slice" else is_row_lookup(node) and node.inputs[0] is value
