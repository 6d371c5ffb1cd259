"""Which bytes of which file a plan's page-ins and page-outs move.

A plan speaks of values; here each array of a value has a content (the item that stands for it) and copies of
that content in files. A page-in reads the copy of what left. A value that leaves is written only where an
array of it has no copy that is still true and is needed again, or belongs to the next generation of the
state: so the contents decide, not the plan's bookkeeping, and nothing is lost where the two differ. Files:

- weights: read where the array lies;
- state, next: the generation that the step starts from and the one it writes, at the array's place in it;
- swap: a place of its own for each copy of a computed array, laid out as memory is: by lifetimes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from daypack.compiler.project import SOURCES, Projection
from daypack.compiler.window import Origin, Window
from daypack.planners.layout import Buffer, lay_out
from daypack.planners.lifetimes import Lifetimes
from daypack.planners.plan import Op, Plan
from daypack.runtime.plan_file import FileKind

SWAP_ALIGNMENT_BYTES = 4096
"""Copies begin at pages, so that they can be read and written past the system's cache."""


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer of one array between its place in a buffer and a file.

    `part` is the item whose memory the array has. `swap_offset_bytes`: where in the swap, if that is the
    file.
    """

    fetch: bool
    file: FileKind
    part: int
    buffer: int
    copy: int = -1
    swap_offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Moves:
    """`at[time]`: what instruction `time` moves. `after[time]`: what may be written once it ran.

    `stored`: arrays (buffer, part) that are written when their buffer ends.
    """

    at: Mapping[int, tuple[Move, ...]]
    after: Mapping[int, tuple[Move, ...]]
    stored: frozenset[tuple[int, int]]
    swap_bytes: int

    @property
    def pages_state(self) -> bool:
        """Whether the window reads or writes the state's file."""
        return any(move.file in (FileKind.STATE, FileKind.NEXT) for _, move in self._timed())

    def lost_spans(self, end: int) -> tuple[tuple[int, int], ...]:
        """Half-open spans of places at which a stop would lose what a file holds: from the first store of the
        next generation on, and from each store into the swap up to the last fetch of it. A place is the
        number of the instruction that comes next.
        """
        spans: list[tuple[int, int]] = []
        copies: dict[int, list[int]] = {}
        for time, move in self._timed():
            if move.file is FileKind.NEXT and not move.fetch:
                spans.append((time + 1, end + 1))
            elif move.file is FileKind.SWAP:
                copies.setdefault(move.copy, []).append(time)
        spans += [(min(times) + 1, max(times) + 1) for times in copies.values()]
        return tuple(spans)

    def stored_parts(self) -> list[int]:
        """The array of every store."""
        return [move.part for _, move in self._timed() if not move.fetch]

    def _timed(self) -> Iterator[tuple[int, Move]]:
        """Every move and the instruction it stands at."""
        for there in (self.at, self.after):
            for time, moves in there.items():
                yield from ((time, move) for move in moves)


class Memory:
    """Which items share memory: an item that overwrites another has its place, back to the first."""

    def __init__(self, window: Window, projection: Projection) -> None:
        self._below = {new: old for call in window.calls for new, old in call.overwrites.items()}
        self._nodes = projection.problem.nodes
        self._parts = projection.parts
        self.owner = {item: node for node, items in projection.parts.items() for item in items}

    def part(self, item: int) -> int:
        """The first item in the same memory."""
        while item in self._below:
            item = self._below[item]
        return item

    def root(self, node: int) -> int:
        """The node whose memory this one has."""
        while (old := self._nodes[node].overwrites) is not None:
            node = old
        return node

    def parts(self, node: int) -> tuple[int, ...]:
        """The arrays in a node's memory, by their first items."""
        return self._parts.get(self.root(node), ())


@dataclass(slots=True)
class _Copy:
    """A content in the swap: written after one instruction, read last at another."""

    part: int
    written: int
    read: int


@dataclass(slots=True)
class _Walk:
    window: Window
    projection: Projection
    plan: Plan
    lives: Lifetimes
    memory: Memory
    uses: Mapping[tuple[int, int], int]
    content: dict[int, dict[int, int]] = field(
        default_factory=dict[int, dict[int, int]]
    )  # value → part → item
    changed: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    in_next: dict[int, int] = field(default_factory=dict[int, int])  # part → content in the next generation
    in_swap: dict[int, int] = field(default_factory=dict[int, int])  # content → copy
    copies: list[_Copy] = field(default_factory=list[_Copy])
    at: dict[int, list[Move]] = field(default_factory=dict[int, list[Move]])
    after: dict[int, list[Move]] = field(default_factory=dict[int, list[Move]])
    stored: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    events: dict[int, list[tuple[int, Op]]] = field(default_factory=dict[int, list[tuple[int, Op]]])

    def run(self) -> Moves:
        for time, (op, value) in enumerate(self.plan.sequence):
            self.events.setdefault(value, []).append((time, op))
        for node in self.projection.problem.nodes:
            if self.projection.problem.is_source(node.id):
                self.content[node.id] = {part: part for part in self.memory.parts(node.id)}
        for time, (op, value) in enumerate(self.plan.sequence):
            if op is Op.COMPUTE:
                self._compute(time, value)
            elif op is Op.PAGE_IN:
                self._page_in(time, value)
            else:
                self._leave(time, value)
        return self._moves()

    def _compute(self, time: int, value: int) -> None:
        node = self.projection.problem.nodes[value]
        if node.overwrites is None:
            self.content[value] = {part: part for part in self.projection.parts.get(value, ())}
        else:
            self.content[value] = dict(self.content[node.overwrites])
        buffer = self.lives.operands[time].get(value)
        if buffer is not None:
            self.changed.update(((buffer, part), time) for part in self.content[value])
        if value not in self.projection.call_of:
            return
        call = self.window.calls[self.projection.call_of[value]]
        for new in call.overwrites:
            part = self.memory.part(new)
            holder = self.projection.node_of[new]
            if part in self.content.get(holder, {}):
                self.content[holder][part] = new
                self.changed[(self.lives.operands[time][holder], part)] = time

    def _origin(self, part: int) -> Origin:
        return self.window.items[part].origin

    # ---- in ----

    def _page_in(self, time: int, value: int) -> None:
        buffer = self.lives.operands[time][value]
        for part, content in self.content[value].items():
            if self._is_source(part) or (buffer, part) in self.uses:
                self.at.setdefault(time, []).append(self._fetch(time, part, content, buffer))

    def _is_source(self, part: int) -> bool:
        return self._origin(part) in SOURCES

    def _fetch(self, time: int, part: int, content: int, buffer: int) -> Move:
        if self._origin(part) is Origin.WEIGHTS:
            return Move(True, FileKind.WEIGHTS, part, buffer)
        if self._origin(part) is Origin.SAVED:
            return Move(True, FileKind.STATE, part, buffer)
        if self._origin(part) is Origin.STATE:
            if content == part:
                return Move(True, FileKind.STATE, part, buffer)
            if self.in_next.get(part) != content:
                raise ValueError(f"{self.window.items[part].name}: read back before it was written")
            return Move(True, FileKind.NEXT, part, buffer)
        copy = self.in_swap[content]
        self.copies[copy].read = time
        return Move(True, FileKind.SWAP, part, buffer, copy)

    # ---- out ----

    def _leave(self, time: int, value: int) -> None:
        buffer = self.lives.operands[time][value]
        returns = self._returns(time, value)
        for part, content in self.content[value].items():
            store = self._store(part, content, buffer, returns)
            if store is None:
                continue
            self.stored.add((buffer, part))
            ready = self.changed.get((buffer, part))
            if store.file is FileKind.SWAP:
                self.in_swap[content] = len(self.copies)
                store = replace(store, copy=len(self.copies))
                self.copies.append(_Copy(part, time if ready is None else ready, time))
            else:
                self.in_next[part] = content
            moves = self.at if ready is None else self.after
            moves.setdefault(time if ready is None else ready, []).append(store)

    def _returns(self, time: int, value: int) -> list[int]:
        """The buffers into which the value comes back from flash before it is computed again."""
        buffers: list[int] = []
        for later, op in self.events[value]:
            if later > time and op is Op.COMPUTE:
                break
            if later > time and op is Op.PAGE_IN:
                buffers.append(self.lives.operands[later][value])
        return buffers

    def _store(self, part: int, content: int, buffer: int, returns: list[int]) -> Move | None:
        origin = self._origin(part)
        if origin in (Origin.WEIGHTS, Origin.SAVED):
            return None
        if origin is Origin.STATE:
            unchanged = content == part
            there = self.in_next.get(part) == content or (unchanged and bool(returns))
            return None if there else Move(False, FileKind.NEXT, part, buffer)
        needed = any((later, part) in self.uses for later in returns)
        return Move(False, FileKind.SWAP, part, buffer) if needed and content not in self.in_swap else None

    # ---- the whole ----

    def _moves(self) -> Moves:
        sizes = [self.window.items[copy.part].size_bytes for copy in self.copies]
        buffers = [
            Buffer(n, copy.written, copy.read + 1, size + -size % SWAP_ALIGNMENT_BYTES)
            for n, (copy, size) in enumerate(zip(self.copies, sizes, strict=True))
        ]
        layout = lay_out(buffers, alignment_bytes=SWAP_ALIGNMENT_BYTES)

        def placed(moves: dict[int, list[Move]]) -> dict[int, tuple[Move, ...]]:
            return {
                time: tuple(
                    replace(move, swap_offset_bytes=layout.offsets[move.copy]) if move.copy >= 0 else move
                    for move in found
                )
                for time, found in moves.items()
            }

        return Moves(placed(self.at), placed(self.after), frozenset(self.stored), layout.total_bytes)


def moves_of(
    window: Window,
    projection: Projection,
    plan: Plan,
    lives: Lifetimes,
    memory: Memory,
    uses: Mapping[tuple[int, int], int],
) -> Moves:
    """The transfers of a valid plan. `uses[buffer, part]`: one past the last instruction that uses it."""
    return _Walk(window, projection, plan, lives, memory, uses).run()
