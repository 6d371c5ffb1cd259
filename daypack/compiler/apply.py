"""Window + plan → arena offsets and the instruction stream.

The planner speaks of nodes; here every array gets its place. A node's stay in memory is one buffer, which an
overwriting node continues; a node with several arrays has one row of the layout for each, which ends at its
own last use. The layout is made for the shortest lives that the plan allows; then transfers spread in time,
each as far as its place in the arena is free. The layout is judged by `planners.validate` before anything is
emitted. Transfers run beside the kernels: a wait stands before the first instruction that uses what a fetch
fills or changes what a store writes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from daypack.compiler.project import Projection, padded
from daypack.compiler.shards import shard_ends
from daypack.compiler.suspends import Contents, Keeping, Kept, suspends
from daypack.compiler.transfers import Memory, Move, Moves, moves_of
from daypack.compiler.waits import Waits
from daypack.compiler.window import Call, CallKind, Origin, Window
from daypack.planners.cost import clock
from daypack.planners.layout import Buffer, Layout, make_layout, near_load
from daypack.planners.lifetimes import Lifetimes, lifetimes
from daypack.planners.overlap import HEADSTART, fetched_earlier, lean, stored_later
from daypack.planners.plan import Op, Plan
from daypack.planners.room import Room, earliest_fetches, latest_stores
from daypack.planners.validate import validate_layout
from daypack.runtime import plan_file as pf

Key = tuple[int, int, int, int]
"""A row of the layout whatever the order of transfers: kind, two numbers of that kind, how many before it."""

_PART, _SPACE, _SATELLITE = range(3)


@dataclass(frozen=True, slots=True)
class Page:
    """A transfer of one array. `item` says where in the weights or the state; the swap has offsets."""

    fetch: bool
    file: pf.FileKind
    item: int
    offset_bytes: int
    size_bytes: int
    swap_offset_bytes: int

    def instruction(self, places: Mapping[int, int]) -> pf.Fetch | pf.Store:
        """With the array at this place of its file."""
        made = pf.Fetch if self.fetch else pf.Store
        place = self.swap_offset_bytes if self.file is pf.FileKind.SWAP else places[self.item]
        return made(self.file, place, self.offset_bytes, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read rows of a flash item by the ids in the arena."""

    item: int
    row_bytes: int
    row_count: int
    ids_offset_bytes: int
    ids_count: int
    arena_offset_bytes: int

    def instruction(self, places: Mapping[int, int]) -> pf.Rows:
        """With the matrix at this place of the weights file."""
        return pf.Rows(
            pf.FileKind.WEIGHTS,
            places[self.item],
            self.row_bytes,
            self.row_count,
            self.ids_offset_bytes,
            self.ids_count,
            self.arena_offset_bytes,
        )


Streamed = pf.Call | pf.Batch | pf.Zero | pf.EndShard | pf.Wait | pf.Suspend | Page | Lookup


@dataclass(frozen=True, slots=True)
class Applied:
    """`offsets[item]`: arena bytes of what is there when the window begins, and of the results at its end.

    `shard_ends`: one past the last plan instruction of each shard.

    A state item without an offset is paged: the stream reads and writes it. `resident`: weights items that
    the setup loads. `stream` is the window's instructions, in which transfers still lack their place in the
    file; `instructions` gives it to them. `plan` is what they carry out: the plan given, transfers moved.
    """

    plan: Plan
    offsets: Mapping[int, int]
    arena_bytes: int
    max_load_bytes: int
    swap_bytes: int
    resident: frozenset[int]
    stream: tuple[Streamed, ...]
    shard_ends: tuple[int, ...]

    def instructions(self, places: Mapping[int, int]) -> tuple[pf.Instr, ...]:
        """The stream with file offsets: `places[item]` is where an item lies in weights or state."""
        return tuple(i.instruction(places) if isinstance(i, Page | Lookup) else i for i in self.stream)

    @property
    def pages_state(self) -> bool:
        """Whether the stream reads or writes the state's file: it is then saved every step."""
        return any(
            isinstance(i, Page) and i.file in (pf.FileKind.STATE, pf.FileKind.NEXT) for i in self.stream
        )

    def moved_bytes(self, *, fetch: bool) -> int:
        """Bytes that a step's transfers read, or write."""
        return sum(i.size_bytes for i in self.stream if isinstance(i, Page) and i.fetch == fetch)

    @property
    def kept_bytes(self) -> int:
        """What a step writes so that it can go on after a stop."""
        return sum(i.size_bytes for i in self.stream if isinstance(i, pf.Suspend))


def apply_plan(
    window: Window,
    projection: Projection,
    plan: Plan,
    workspaces: list[tuple[int, ...]],
    capacity_bytes: int | None = None,
    memory_bytes: int | None = None,
    store_headstart: float = HEADSTART,
    keeping: Keeping | None = None,
) -> Applied:
    """Lay the window out in the order of the plan. `workspaces[call]`: sizes of its workspaces, in bytes.

    A layout near the load and within `capacity_bytes` is searched for; the arena may be larger all the same.
    Transfers spread within the arena and over `memory_bytes`, counted as the problem counts; None: not
    at all. `store_headstart`: how far page-outs move down (`overlap.stored_later`). Every source that is
    resident at the start of the plan stays where it is to the end (`planners.overlap` makes it so).
    `keeping`: what it costs to keep a window that is under way; None: it is not kept.
    """
    leanest = lean(projection.problem, plan)
    placement = _Placement.of(window, projection, leanest, workspaces)
    buffers = placement.buffers()
    layout = near_load(buffers, capacity_bytes=capacity_bytes)
    validate_layout(buffers, layout)
    if memory_bytes is not None and (capacity_bytes is None or layout.total_bytes <= capacity_bytes):
        placement, layout = _spread(placement, layout, memory_bytes, store_headstart)
        validate_layout(placement.buffers(), layout)
    return placement.applied(layout, keeping)


def _spread(
    placement: _Placement, layout: Layout, memory_bytes: int, store_headstart: float
) -> tuple[_Placement, Layout]:
    """Page-ins earlier and page-outs later, with every array where it is."""
    problem = placement.projection.problem
    earliest = earliest_fetches(placement.plan, placement.lives, placement.room(layout))
    earlier = placement.with_plan(fetched_earlier(problem, placement.plan, memory_bytes, earliest))
    layout = earlier.same_places(placement, layout)
    latest = latest_stores(earlier.plan, earlier.lives, earlier.room(layout))
    later = earlier.with_plan(stored_later(problem, earlier.plan, memory_bytes, latest, store_headstart))
    return later, later.same_places(earlier, layout)


@dataclass(slots=True)
class _Placement:
    window: Window
    projection: Projection
    plan: Plan
    workspaces: list[tuple[int, ...]]
    lives: Lifetimes
    memory: Memory
    moves: Moves
    rows: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    part: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])  # buffer, part → row
    space: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    beside: dict[int, int] = field(default_factory=dict[int, int])  # satellite → row
    at_time: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])

    @classmethod
    def of(
        cls, window: Window, projection: Projection, plan: Plan, workspaces: list[tuple[int, ...]]
    ) -> _Placement:
        """The rows of a plan."""
        lives, memory = lifetimes(projection.problem, plan), Memory(window, projection)
        made = cls(window, projection, plan, workspaces, lives, memory, Moves({}, {}, frozenset(), 0))
        uses = made._last_uses()
        made.moves = moves_of(window, projection, plan, lives, memory, uses)
        made._rows(uses, made.moves)
        return made

    def with_plan(self, plan: Plan) -> _Placement:
        """The rows of another order of the same transfers."""
        return _Placement.of(self.window, self.projection, plan, self.workspaces)

    def applied(self, layout: Layout, keeping: Keeping | None) -> Applied:
        """The instructions with everything in its place."""
        shards = shard_ends(self.projection.problem, self.plan.sequence)
        kept = {} if keeping is None else self._suspends(layout.offsets, shards, keeping)
        stream = _Stream(self, layout.offsets, self.moves, frozenset(shards), kept).run()
        offsets, resident = self._ends(layout.offsets)
        return Applied(
            self.plan,
            offsets,
            layout.total_bytes,
            layout.max_load_bytes,
            self.moves.swap_bytes,
            resident,
            tuple(stream),
            shards,
        )

    def _suspends(
        self, offsets: tuple[int, ...], shards: tuple[int, ...], keeping: Keeping
    ) -> dict[int, Kept]:
        """Where the window is kept, by the instruction that comes next: nowhere in a plan with transfers."""
        if self.moves.at or self.moves.after:
            return {}
        seconds = [done for done, _ in clock(self.projection.problem, self.plan.sequence)]
        items = self.window.items
        resident = {part for value in self.lives.initial for part in self.memory.parts(value)}
        saved = sum(items[first].size_bytes for first, _ in self.window.state.values() if first in resident)
        stored = self.moves.stored_parts()
        keeping = replace(
            keeping,
            saves_each=keeping.saves_each or self.moves.pages_state,
            already_bytes=saved + sum(items[part].size_bytes for part in stored),
        )
        return suspends(self._contents(offsets), shards, seconds, keeping)

    def _contents(self, offsets: tuple[int, ...]) -> Contents:
        """The rows, and which of them a file has too."""
        initial = {buffer for buffer in self.lives.initial.values()}
        changed: dict[int, int] = {}
        for time, call in self._calls():
            for item in call.overwrites.values():
                changed.setdefault(self.row(time, item), time)
        fetched = {
            self.part[(move.buffer, move.part)]
            for moves in self.moves.at.values()
            for move in moves
            if move.fetch and move.file in (pf.FileKind.WEIGHTS, pf.FileKind.STATE)
        }
        return Contents(
            self.rows,
            offsets,
            frozenset(row for (buffer, _), row in self.part.items() if buffer in initial),
            frozenset(fetched),
            changed,
            self.moves.lost_spans(len(self.plan.sequence)),
        )

    def buffers(self) -> list[Buffer]:
        """The rows as a layout wants them."""
        return [Buffer(n, low, high, size) for n, (low, high, size) in enumerate(self.rows)]

    def room(self, layout: Layout) -> Room:
        """Where the rows lie, and which of them belong to a stay."""
        rows_of: dict[int, list[int]] = {}
        for (buffer, _), row in self.part.items():
            rows_of.setdefault(buffer, []).append(row)
        return Room(self.rows, layout.offsets, rows_of)

    def same_places(self, other: _Placement, layout: Layout) -> Layout:
        """The layout of another order of the same transfers, with every row where it was there."""
        places = dict(zip(other.keys(), layout.offsets, strict=True))
        return make_layout(self.buffers(), [places[key] for key in self.keys()])

    def keys(self) -> list[Key]:
        """A name for each row that does not depend on when transfers are done."""
        opened = self._opened()
        named = {
            row: (_PART, self.memory.root(opened[buffer]), part) for (buffer, part), row in self.part.items()
        }
        named |= {row: (_SPACE, self.plan.sequence[time].id, k) for (time, k), row in self.space.items()}
        named |= {row: (_SATELLITE, item, 0) for item, row in self.beside.items()}
        seen: Counter[tuple[int, int, int]] = Counter()
        keys: list[Key] = []
        for row in range(len(self.rows)):
            keys.append((*named[row], seen[named[row]]))
            seen[named[row]] += 1
        return keys

    def call(self, node: int) -> Call:
        return self.window.calls[self.projection.call_of[node]]

    # ---- rows of the layout ----

    def _rows(self, uses: Mapping[tuple[int, int], int], moves: Moves) -> None:
        """One row (first, end, bytes) for every array of every stay, workspace and small result."""
        for number, node in self._opened().items():
            buffer = self.lives.buffers[number]
            parts = self.memory.parts(node)
            whole = len(parts) == 1 or self.projection.problem.is_source(self.memory.root(node))
            for part in parts:
                end = buffer.upper if whole else uses.get((number, part))
                if (number, part) in moves.stored:
                    end = buffer.upper
                if end is None:  # computed and never used, or not read back
                    end = buffer.lower + 1
                self.part[(number, part)] = len(self.rows)
                self.rows.append((buffer.lower, end, padded(self.window.items[part].size_bytes)))
        self._workspace_rows()
        self._satellite_rows()

    def _opened(self) -> dict[int, int]:
        """Buffer → the node whose value opens it."""
        opened = {buffer: node for node, buffer in self.lives.initial.items()}
        for time, (op, value) in enumerate(self.plan.sequence):
            if op in (Op.COMPUTE, Op.PAGE_IN):
                opened.setdefault(self.lives.operands[time][value], value)
        return opened

    def _workspace_rows(self) -> None:
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is Op.COMPUTE and value in self.projection.call_of:
                for k, size in enumerate(self.workspaces[self.projection.call_of[value]]):
                    self.space[(time, k)] = len(self.rows)
                    self.rows.append((time, time + 1, padded(size)))

    def _satellite_rows(self) -> None:
        """Small results live from the first call that makes them to the last that reads them."""
        spans: dict[int, tuple[int, int]] = {}
        for time, call in self._calls():
            for item in {self.memory.part(i) for i in (*call.inputs, *call.outputs)}:
                if item in self.projection.satellites:
                    spans[item] = (spans.get(item, (time, 0))[0], time + 1)
        for item in self._results():
            if item in spans:
                spans[item] = (spans[item][0], len(self.plan.sequence))
        for item, (first, end) in spans.items():
            self.beside[item] = len(self.rows)
            self.rows.append((first, end, padded(self.window.items[item].size_bytes)))

    def _calls(self) -> list[tuple[int, Call]]:
        return [
            (time, self.call(value))
            for time, (op, value) in enumerate(self.plan.sequence)
            if op is Op.COMPUTE and value in self.projection.call_of
        ]

    def _last_uses(self) -> dict[tuple[int, int], int]:
        """(buffer, part) → one past the last instruction that uses the array there."""
        last: dict[tuple[int, int], int] = {}
        for time, call in self._calls():
            for item in (*call.inputs, *call.overwrites.values()):
                part = self.memory.part(item)
                if part not in self.projection.satellites:
                    last[(self._buffer(time, part), part)] = time + 1
        for item in self._results():
            part = self.memory.part(item)
            if part not in self.projection.satellites:
                last[(self._buffer(None, part), part)] = len(self.plan.sequence)
        return last

    def _results(self) -> list[int]:
        """What is read after the window: the loss and the weight."""
        return [self.window.loss, self.window.weight]

    # ---- places ----

    def _buffer(self, time: int | None, part: int) -> int:
        """The buffer of an array at an instruction, or at the end of the plan (None)."""
        key = -1 if time is None else time
        if key not in self.at_time:
            found = self.lives.final if time is None else self.lives.operands[time]
            self.at_time[key] = {self.memory.root(node): buffer for node, buffer in found.items()}
        return self.at_time[key][self.memory.owner[part]]

    def row(self, time: int | None, item: int) -> int:
        """The row of an item's memory at an instruction, or at the end of the plan (None)."""
        part = self.memory.part(item)
        return self.beside[part] if part in self.beside else self.part[(self._buffer(time, part), part)]

    def _ends(self, offsets: tuple[int, ...]) -> tuple[dict[int, int], frozenset[int]]:
        """Where persistent arrays lie when the window begins, and its results when it ends."""
        found: dict[int, int] = {}
        resident: set[int] = set()
        kept = {self.memory.root(value): buffer for value, buffer in self.lives.final.items()}
        for node, buffer in self.lives.initial.items():
            if kept.get(node, buffer) != buffer:
                raise ValueError(
                    f"{self.projection.problem.nodes[node].name}: it does not end where it began"
                )
            for part in self.memory.parts(node):
                found[part] = offsets[self.part[(buffer, part)]]
                if self.window.items[part].origin is Origin.WEIGHTS:
                    resident.add(part)
        for item in self._results():
            found[item] = offsets[self.row(None, item)]
        return found, frozenset(resident)


@dataclass(slots=True)
class _Stream:
    """The instructions, each after the waits it needs."""

    placement: _Placement
    offsets: tuple[int, ...]
    moves: Moves
    shard_ends: frozenset[int]
    kept: Mapping[int, Kept]
    fetches: dict[int, int] = field(default_factory=dict[int, int])  # row → where its fetch stands
    waits: Waits = field(default_factory=Waits)
    stream: list[Streamed] = field(default_factory=list[Streamed])

    def run(self) -> list[Streamed]:
        projection = self.placement.projection
        for time, (op, value) in enumerate(self.placement.plan.sequence):
            self._transfers(self.moves.at.get(time, ()))
            if op is Op.COMPUTE and value in projection.call_of:
                self._call(time, value)
            elif op is Op.COMPUTE and value in projection.zeros:
                (item,) = projection.parts[value]
                place, size = self._at(time, item)
                self._wait([], [(place, size)])
                self.stream.append(pf.Zero(place, size))
            self._transfers(self.moves.after.get(time, ()))
            if time + 1 in self.kept:
                self._suspend(self.kept[time + 1])
            if time + 1 in self.shard_ends:
                self.stream.append(pf.EndShard())
        return self.stream

    def _transfers(self, moves: tuple[Move, ...]) -> None:
        for move in moves:
            place = self.offsets[self.placement.part[(move.buffer, move.part)]]
            size = self.placement.window.items[move.part].size_bytes
            if size:
                self.waits.begin(place, place + size, fetch=move.fetch)
                if move.fetch:
                    self.fetches[self.placement.part[(move.buffer, move.part)]] = len(self.stream)
                self.stream.append(
                    Page(move.fetch, move.file, move.part, place, size, move.swap_offset_bytes)
                )

    def _suspend(self, kept: Kept) -> None:
        self._wait(list(kept.ranges), [])
        fetches = sorted(self.fetches[row] for row in kept.fetched_rows if row in self.fetches)
        self.stream.append(pf.Suspend(kept.ranges, tuple(fetches)))

    def _at(self, time: int, item: int) -> tuple[int, int]:
        """(offset, bytes) of an item."""
        offset = self.offsets[self.placement.row(time, item)]
        return offset, self.placement.window.items[item].size_bytes

    def _wait(self, reads: list[tuple[int, int]], writes: list[tuple[int, int]]) -> None:
        transfers = self.waits.needed(reads, writes)
        if transfers:
            self.stream.append(pf.Wait(transfers))

    def _call(self, time: int, node: int) -> None:
        placement = self.placement
        call = placement.call(node)
        inputs = [self._at(time, i) for i in call.inputs]
        outputs = [self._at(time, o) for o in call.outputs]
        sizes = placement.workspaces[placement.projection.call_of[node]]
        spaces = [(self.offsets[placement.space[(time, k)]], size) for k, size in enumerate(sizes)]
        self._wait(inputs, [*outputs, *spaces])
        self.stream.append(self._instruction(call, inputs, outputs, spaces))

    def _instruction(
        self,
        call: Call,
        inputs: list[tuple[int, int]],
        outputs: list[tuple[int, int]],
        spaces: list[tuple[int, int]],
    ) -> pf.Call | pf.Batch | Lookup:
        if call.kind is CallKind.BATCH:
            return pf.Batch(call.micro, tuple(offset for offset, _ in outputs))
        if call.kind is CallKind.ROWS:
            table = self.placement.window.items[call.table]
            (ids, ids_bytes), (place, _) = inputs[0], outputs[0]
            rows = table.shape[0]
            return Lookup(table.id, table.size_bytes // rows, rows, ids, ids_bytes // 4, place)
        return pf.Call(call.kernel, tuple(offset for offset, _ in (*inputs, *outputs, *spaces)))
