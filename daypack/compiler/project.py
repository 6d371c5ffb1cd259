"""The window → what a planner sees: one node a call, one source an array that exists before the window.

A call with several outputs is one node whose size is their sum, but for the small ones (a row's maximum
beside the row): these stay from their first making to their last use, counted once and for all in the fixed
bytes, and an empty node after the call's stands for them in the order. Running sums are nodes that clear
them.

In-place changes. A call that takes over the memory of an array of its own size says so (`overwrites`). A node
has one such array; what else a call changes in place is either

- private: state that only this call reads, as the moments of one parameter. All of a call's private arrays
  are one source, which is dirty: flash is out of date once it was used; or
- taken over: an empty node before the call's overwrites the array's node, so that whoever reads the old
  content comes earlier and cannot be computed again later; an empty node after it orders those who read the
  new content.

A node with such side effects is computed once. What may be paged: arrays of at least `PAGE_BYTES`, whose copy
is in the weights, in the state or, for what is computed, in scratch on flash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daypack.compiler.window import Call, CallKind, Origin, Window
from daypack.devices import Profile
from daypack.planners.problem import Node, NodeKind, Paging, Problem

ALIGNMENT_BYTES = 64
PAGE_BYTES = 512 * 1024
"""Reads below this waste flash bandwidth; smaller arrays stay."""
SATELLITE_BYTES = 64 * 1024
"""Outputs up to this size beside a larger one stay until their last use."""
SOURCES = (Origin.STATE, Origin.SAVED, Origin.WEIGHTS)


@dataclass(frozen=True, slots=True)
class Projection:
    """`problem`, and what its nodes stand for.

    `call_of`: the call of a node that computes one. `parts`: the items whose memory a node makes, in order; a
    node that takes over another's memory has none. `zeros`: nodes that clear their one part. `node_of`: the
    node in whose memory an item lies when it is made. `satellites`: items that stay from their first making
    to their last use, outside the nodes' sizes.

    `once`: nodes that change something in place, or whose output is changed in place, so that computing them
    again would not give the same: a plan computes each exactly once.
    """

    problem: Problem
    call_of: Mapping[int, int]
    parts: Mapping[int, tuple[int, ...]]
    zeros: frozenset[int]
    node_of: Mapping[int, int]
    once: frozenset[int]
    satellites: frozenset[int]


def padded(size_bytes: int) -> int:
    """A size as it counts in the arena."""
    return size_bytes + -size_bytes % ALIGNMENT_BYTES


def fresh_outputs(window: Window, call: Call) -> tuple[int, ...]:
    """The outputs that need memory of their own within the call's node."""
    beside = satellites_of(window, call)
    return tuple(o for o in call.outputs if o not in call.overwrites and o not in beside)


def satellites_of(window: Window, call: Call) -> tuple[int, ...]:
    """Small outputs that others of the same call dwarf."""
    fresh = [o for o in call.outputs if o not in call.overwrites]
    large = [o for o in fresh if window.items[o].size_bytes > SATELLITE_BYTES]
    return tuple(o for o in fresh if o not in large) if large else ()


def project(
    window: Window,
    costs: Sequence[float],
    workspaces: Sequence[int],
    fixed_bytes: int,
    profile: Profile,
    page_bytes: int = PAGE_BYTES,
) -> Projection:
    """The problem of a window; `costs` and `workspaces` are per call, in seconds and bytes.

    Nothing below `page_bytes` is paged.
    """
    builder = _Builder(window)
    builder.sources()
    for number, call in enumerate(window.calls):
        if call.kind is not CallKind.ZERO:
            builder.add(number, call, costs[number], workspaces[number])
    return builder.projection(fixed_bytes, profile, page_bytes)


@dataclass(slots=True)
class _Builder:
    window: Window
    nodes: list[Node] = field(default_factory=list[Node])
    parts: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    node_of: dict[int, int] = field(default_factory=dict[int, int])
    now: dict[int, int] = field(default_factory=dict[int, int])  # item → the node that holds its content now
    after: dict[int, int] = field(
        default_factory=dict[int, int]
    )  # item → the empty node that comes before readers
    call_of: dict[int, int] = field(default_factory=dict[int, int])
    zeros: set[int] = field(default_factory=set[int])
    taken: set[int] = field(default_factory=set[int])
    once: set[int] = field(default_factory=set[int])
    shared: set[int] = field(
        default_factory=set[int]
    )  # nodes of several outputs, one of them changed in place
    dirty: set[int] = field(default_factory=set[int])
    satellites: list[int] = field(default_factory=list[int])
    readers: dict[int, list[int]] = field(default_factory=dict[int, list[int]])  # item → nodes so far

    # ---- sources ----

    def sources(self) -> None:
        """One node for every array that exists before the window, or for a call's private arrays."""
        group = {item: items for items in self._private() for item in items}
        for item in self.window.items:
            if item.origin not in SOURCES or item.id in self.node_of:
                continue
            items = group.get(item.id, (item.id,))
            names = " and ".join(self.window.items[i].name for i in items)
            size = sum(padded(self.window.items[i].size_bytes) for i in items)
            node = self._node(names, size, kind=NodeKind.SOURCE)
            self.parts[node] = items
            if item.id in group:
                self.dirty.add(node)
            for i in items:
                self.node_of[i] = self.now[i] = node

    def _private(self) -> list[tuple[int, ...]]:
        """For each call, the state that it changes in place, that nothing else reads before or after."""
        used: dict[int, int] = {}
        for call in self.window.calls:
            for item in {*call.inputs, *call.overwrites.values()}:
                used[item] = used.get(item, 0) + 1
        groups: list[tuple[int, ...]] = []
        for call in self.window.calls:
            state = [
                (new, old)
                for new, old in call.overwrites.items()
                if self.window.items[old].origin is Origin.STATE
            ]
            private = [old for new, old in state if used[old] == 1 and new not in used]
            fresh = fresh_outputs(self.window, call)
            if not fresh and len(private) == len(call.overwrites):
                private = private[1:]  # one is the node's own
            if private:
                groups.append(tuple(private))
        return groups

    def _node(
        self,
        name: str,
        size_bytes: int,
        inputs: Sequence[int] = (),
        *,
        cost: float = 0.0,
        workspace_bytes: int = 0,
        overwrites: int | None = None,
        kind: NodeKind = NodeKind.COMPUTE,
    ) -> int:
        number = len(self.nodes)
        unique = tuple(dict.fromkeys(inputs))
        self.nodes.append(
            Node(number, name, cost, size_bytes, workspace_bytes, unique, kind=kind, overwrites=overwrites)
        )
        if overwrites is not None:
            self.taken.add(overwrites)
        return number

    # ---- calls ----

    def add(self, number: int, call: Call, cost: float, workspace: int) -> None:
        """One call as a node, with the empty ones that its side effects need."""
        for item in (*call.inputs, *call.overwrites.values()):
            self._cleared(item)
        fresh = fresh_outputs(self.window, call)
        size = sum(padded(self.window.items[o].size_bytes) for o in fresh)
        own = None if fresh else self._own(call)
        beside = {new: old for new, old in call.overwrites.items() if new != own}
        earlier = [n for old in beside.values() for n in self._take_over(old, call)]
        overwrites = self.now[call.overwrites[own]] if own is not None else None
        reads = (*call.inputs, *call.overwrites.values())
        inputs = [n for i in reads for n in (self.now[i], self.after.get(i)) if n is not None]
        name = call.source or str(call.kind)
        size = size if overwrites is None else self.nodes[overwrites].size_bytes
        node = self._node(
            name, size, [*inputs, *earlier], cost=cost, workspace_bytes=workspace, overwrites=overwrites
        )
        self.call_of[node] = number
        if fresh:
            self.parts[node] = fresh
        for item in call.inputs:
            self.readers.setdefault(item, []).append(node)
        for output in (*fresh, *([own] if own is not None else ())):
            self.node_of[output] = self.now[output] = node
        self._changed(node, beside)
        self._satellites(node, name, call)

    def _cleared(self, item: int) -> None:
        """A running sum is cleared when it is first needed."""
        if item in self.node_of or self.window.items[item].origin is not Origin.ZERO:
            return
        found = self.window.items[item]
        node = self._node(f"{found.name} (cleared)", padded(found.size_bytes))
        self.parts[node] = (item,)
        self.zeros.add(node)
        self.node_of[item] = self.now[item] = node

    def _own(self, call: Call) -> int | None:
        """The output whose place is the node's own: one that it takes over whole from a node it can."""
        for new, old in call.overwrites.items():
            if self._whole(old) and self.now[old] not in self.dirty:
                return new
        return None

    def _whole(self, item: int) -> bool:
        """Whether the node that holds an item holds nothing else, so that it can be taken over."""
        node = self.now[item]
        return node not in self.taken and len(self._parts_of(node)) == 1

    def _parts_of(self, node: int) -> tuple[int, ...]:
        while (below := self.nodes[node].overwrites) is not None:
            node = below
        return self.parts[node]

    def _root_is_source(self, node: int) -> bool:
        while (below := self.nodes[node].overwrites) is not None:
            node = below
        return self.nodes[node].kind is NodeKind.SOURCE

    def _take_over(self, old: int, call: Call) -> list[int]:
        """Prepare an item to be changed in place; nodes that must come before the change."""
        node = self.now[old]
        if node in self.dirty:
            return []
        if self._whole(old):
            marker = self.after.get(old)
            taken = self._node(
                f"{self.nodes[node].name} (taken over)",
                self.nodes[node].size_bytes,
                () if marker is None else (marker,),
                overwrites=node,
            )
            if not self._root_is_source(node):
                self.once.add(taken)
            self.now[old] = taken
            return []
        self.shared.add(node)
        readers = [n for n in self.readers.get(old, []) if n not in self.taken]
        self.once.update((node, *readers))
        return readers

    def _changed(self, node: int, beside: Mapping[int, int]) -> None:
        """New content in the places of other nodes."""
        marker: int | None = None
        for new, old in beside.items():
            self.once.add(node)
            self.node_of[new] = self.now[new] = self.now[old]
            if self.now[old] in self.dirty:
                continue
            if marker is None:
                marker = self._node(f"{self.nodes[node].name} (done)", 0, (node,))
            self.after[new] = marker

    def _satellites(self, node: int, name: str, call: Call) -> None:
        beside = satellites_of(self.window, call)
        if beside:
            self.satellites += beside
            marker = self._node(f"{name} (small results)", 0, (node,))
            for output in beside:
                self.node_of[output] = self.now[output] = marker

    # ---- the whole ----

    def projection(self, fixed_bytes: int, profile: Profile, page_bytes: int) -> Projection:
        """Everything added so far as a problem."""
        window = self.window
        kept = {
            self.now[item]
            for item in (*(last for _, last in window.state.values()), window.loss, window.weight)
        }
        kept |= {n.id for n in self.nodes if n.kind is NodeKind.SOURCE and n.id not in self.taken}
        fixed_bytes += sum(padded(window.items[i].size_bytes) for i in self.satellites)
        once = frozenset(self.once)
        return Projection(
            Problem(tuple(self.nodes), frozenset(kept), fixed_bytes, self._paging(profile, page_bytes), once),
            self.call_of,
            self.parts,
            frozenset(self.zeros),
            self.node_of,
            once,
            frozenset(self.satellites),
        )

    def _paging(self, profile: Profile, page_bytes: int) -> Paging:
        pageable = frozenset(n.id for n in self.nodes if n.size_bytes >= page_bytes and self._may_leave(n.id))
        read = profile.flash.read_bytes_per_s
        write = profile.flash.write_bytes_per_s
        rates = (read.value if read else 1e9, write.value if write else 0.5e9)
        return Paging(*rates, page_bytes, pageable, pageable & self.dirty)

    def _may_leave(self, node: int) -> bool:
        call = self.call_of.get(node)
        again = call is not None and self.window.calls[call].kind is CallKind.BATCH  # read again for nothing
        return node not in self.shared and not again
