"""Window + plan → arena offsets and the instruction stream.

The planner speaks of nodes; here every array gets its place. A node's stay in memory is one buffer, which an
overwriting node continues; a node with several outputs has one buffer an output, each ending at its own last
use. The layout is judged by `planners.validate` before anything is emitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daypack.compiler.project import Projection, fresh_outputs, padded
from daypack.compiler.window import Call, CallKind, Origin, Window
from daypack.planners.layout import Buffer, lay_out
from daypack.planners.lifetimes import Lifetimes, lifetimes
from daypack.planners.plan import Op, Plan
from daypack.planners.validate import validate_layout
from daypack.runtime import plan_file as pf


@dataclass(frozen=True, slots=True)
class Applied:
    """`offsets[item]`: arena bytes of what is there when the window begins, and of the results at its end.

    `resident`: weights items that the setup loads. `stream` is the window's instructions, in which reads of
    weights still lack their place in the file; `instructions` gives it to them.
    """

    offsets: Mapping[int, int]
    arena_bytes: int
    max_load_bytes: int
    resident: frozenset[int]
    stream: tuple[Streamed, ...]

    def instructions(self, places: Mapping[int, int]) -> tuple[pf.Instr, ...]:
        """The stream with file offsets: `places[item]` is where a weights item lies in weights.bin."""
        return tuple(
            pf.Read(pf.FileKind.WEIGHTS, places[i.item], i.offset_bytes, i.size_bytes)
            if isinstance(i, Page)
            else i.instruction(places[i.item])
            if isinstance(i, Lookup)
            else i
            for i in self.stream
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read rows of a flash item by the ids in the arena."""

    item: int
    row_bytes: int
    row_count: int
    ids_offset_bytes: int
    ids_count: int
    arena_offset_bytes: int

    def instruction(self, file_offset_bytes: int) -> pf.Rows:
        """With the matrix at this place of the weights file."""
        return pf.Rows(
            pf.FileKind.WEIGHTS,
            file_offset_bytes,
            self.row_bytes,
            self.row_count,
            self.ids_offset_bytes,
            self.ids_count,
            self.arena_offset_bytes,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Read a weights item into the arena."""

    item: int
    offset_bytes: int
    size_bytes: int


Streamed = pf.Call | pf.Batch | pf.Zero | pf.EndShard | Page | Lookup


def apply_plan(
    window: Window, projection: Projection, plan: Plan, workspaces: list[tuple[int, ...]]
) -> Applied:
    """Lay the window out in the order of the plan. `workspaces[call]`: sizes of its workspaces, in bytes."""
    return _Placement(window, projection, plan, workspaces, lifetimes(projection.problem, plan)).run()


@dataclass(slots=True)
class _Placement:
    window: Window
    projection: Projection
    plan: Plan
    workspaces: list[tuple[int, ...]]
    lives: Lifetimes
    rows: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    stay: dict[int, int] = field(default_factory=dict[int, int])  # buffer of a stay → row
    part: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])  # + item → row
    space: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    beside: dict[int, int] = field(default_factory=dict[int, int])  # satellite → row
    firsts: dict[int, int] = field(default_factory=dict[int, int])

    def run(self) -> Applied:
        self._trace_firsts()
        self._rows()
        buffers = [Buffer(n, low, high, size) for n, (low, high, size) in enumerate(self.rows)]
        layout = lay_out(buffers)
        validate_layout(buffers, layout)
        stream = self._stream(layout.offsets)
        offsets, resident = self._ends(layout.offsets)
        return Applied(offsets, layout.total_bytes, layout.max_load_bytes, resident, tuple(stream))

    def _trace_firsts(self) -> None:
        for call in self.window.calls:
            for new, old in call.overwrites.items():
                if self.projection.node_of[new] == self.projection.node_of[old]:
                    self.firsts[new] = self._first(old)

    def _call(self, node: int) -> Call:
        return self.window.calls[self.projection.call_of[node]]

    def _first(self, item: int) -> int:
        """The item in whose memory, within a node's, this one lies: the one it overwrote in place."""
        return self.firsts.get(item, item)

    def _split(self, node: int) -> bool:
        """Whether a node's memory is several arrays with lives of their own."""
        return len(fresh_outputs(self.window, self._call(node))) > 1

    def _rows(self) -> None:
        """One row (first, end, bytes) for every buffer of the layout."""
        opened = self._opened()
        last = self._last_reads()
        for number, buffer in enumerate(self.lives.buffers):
            node = opened.get(number)
            if node is None or not self._split(node):
                self.stay[number] = len(self.rows)
                self.rows.append((buffer.lower, buffer.upper, buffer.size_bytes))
                continue
            for item in fresh_outputs(self.window, self._call(node)):
                end = last.get((number, item), buffer.lower + 1)
                self.part[(number, item)] = len(self.rows)
                self.rows.append((buffer.lower, end, padded(self.window.items[item].size_bytes)))
        self._workspace_rows()
        self._satellite_rows()

    def _satellite_rows(self) -> None:
        """Small results live from the first call that makes them to the last that reads them."""
        spans: dict[int, tuple[int, int]] = {}
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is not Op.COMPUTE or value not in self.projection.call_of:
                continue
            call = self._call(value)
            for item in {self._first(i) for i in (*call.inputs, *call.outputs)}:
                if item in self.projection.satellites:
                    spans[item] = (spans.get(item, (time, 0))[0], time + 1)
        for item in self._results():
            if item in spans:
                spans[item] = (spans[item][0], len(self.plan.sequence))
        for item, (first, end) in spans.items():
            self.beside[item] = len(self.rows)
            self.rows.append((first, end, padded(self.window.items[item].size_bytes)))

    def _opened(self) -> dict[int, int]:
        """Buffer → the node whose compute opens it."""
        opened: dict[int, int] = {}
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is Op.COMPUTE and value in self.projection.call_of:
                opened.setdefault(self.lives.operands[time][value], value)
        return opened

    def _last_reads(self) -> dict[tuple[int, int], int]:
        """(buffer, item) → one past the last instruction that reads the item there."""
        last: dict[tuple[int, int], int] = {}
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is Op.COMPUTE and value in self.projection.call_of:
                call = self._call(value)
                for item in (*call.inputs, *call.overwrites.values()):
                    if item not in self.projection.satellites:
                        last[(self._buffer(time, item), self._first(item))] = time + 1
        for item in self._results():
            if item in self.projection.satellites:
                continue
            buffer = self.lives.final[self.projection.node_of[item]]
            last[(buffer, self._first(item))] = len(self.plan.sequence)
        return last

    def _results(self) -> list[int]:
        """What is read after the window: the loss and the weight."""
        return [self.window.loss, self.window.weight]

    def _buffer(self, time: int, item: int) -> int:
        return self.lives.operands[time][self.projection.node_of[item]]

    def _workspace_rows(self) -> None:
        """A node's workspace buffer is replaced by one row for each workspace of its kernel."""
        for time, (op, value) in enumerate(self.plan.sequence):
            number = self.lives.workspace[time]
            if op is not Op.COMPUTE or number is None:
                continue
            sizes = self.workspaces[self.projection.call_of[value]]
            for k, size in enumerate(sizes):
                self.space[(time, k)] = len(self.rows)
                self.rows.append((time, time + 1, padded(size)))
            row = self.stay[number]
            self.rows[row] = (time, time + 1, 0)

    # ---- instructions ----

    def _place(self, offsets: tuple[int, ...], time: int | None, item: int) -> int:
        """The offset of an item at an instruction, or at the end of the plan (None)."""
        first = self._first(item)
        if first in self.beside:
            return offsets[self.beside[first]]
        buffer = self.lives.final[self.projection.node_of[item]] if time is None else self._buffer(time, item)
        row = self.part.get((buffer, first))
        return offsets[self.stay[buffer] if row is None else row]

    def _stream(self, offsets: tuple[int, ...]) -> list[Streamed]:
        stream: list[Streamed] = []
        stream += self._cleared(offsets)
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is Op.PAGE_IN:
                item = self.window.items[self.projection.source_of[value]]
                place = offsets[self.stay[self.lives.operands[time][value]]]
                stream.append(Page(item.id, place, item.size_bytes))
            elif op is Op.COMPUTE and value in self.projection.call_of:
                stream.append(self._instruction(offsets, time, value))
        stream.append(pf.EndShard())
        return stream

    def _cleared(self, offsets: tuple[int, ...]) -> list[pf.Zero]:
        """Running sums start at zero."""
        return [
            pf.Zero(offsets[self.stay[self.lives.initial[node]]], self.window.items[item].size_bytes)
            for node, item in self.projection.source_of.items()
            if self.window.items[item].origin is Origin.ZERO and node in self.lives.initial
        ]

    def _instruction(self, offsets: tuple[int, ...], time: int, node: int) -> pf.Call | pf.Batch | Lookup:
        call = self._call(node)

        def at(item: int) -> int:
            return self._place(offsets, time, item)

        outputs = tuple(at(o) for o in call.outputs)
        if call.kind is CallKind.BATCH:
            return pf.Batch(call.micro, outputs)
        if call.kind is CallKind.ROWS:
            table, ids = self.window.items[call.table], self.window.items[call.inputs[0]]
            rows = table.shape[0]
            size = table.size_bytes // rows
            count = ids.size_bytes // 4
            return Lookup(table.id, size, rows, at(ids.id), count, outputs[0])
        spaces = self.workspaces[self.projection.call_of[node]]
        extra = tuple(offsets[self.space[(time, k)]] for k in range(len(spaces)))
        return pf.Call(call.kernel, (*(at(i) for i in call.inputs), *outputs, *extra))

    def _ends(self, offsets: tuple[int, ...]) -> tuple[dict[int, int], frozenset[int]]:
        """Where persistent arrays lie when the window begins, and its results when it ends."""
        found: dict[int, int] = {}
        resident: set[int] = set()
        for node, item in self.projection.source_of.items():
            if node in self.lives.initial:
                found[item] = offsets[self.stay[self.lives.initial[node]]]
                if self.window.items[item].origin is Origin.WEIGHTS:
                    resident.add(item)
        for item in self._results():
            found[item] = self._place(offsets, None, item)
        return found, frozenset(resident)
