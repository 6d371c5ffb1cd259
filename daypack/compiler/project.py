"""The window → what a planner sees: one node a call, one source an array that exists before the window.

A call with several outputs is one node whose size is their sum, but for the small ones (a row's maximum
beside the
row): these stay from their first making to their last use, counted once and for all in the fixed bytes, and
an empty node after the call's stands for them in the order. A call that takes over the memory of an
array of
its own size says so (`overwrites`); what else it changes in place keeps its node. Running sums are sources:
they are cleared when the window begins. Only frozen weights may be paged: their copy on flash never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daypack.compiler.window import Call, CallKind, Origin, Window
from daypack.devices import Profile
from daypack.planners.problem import Node, NodeKind, Paging, Problem

ALIGNMENT_BYTES = 64
PAGE_BYTES = 512 * 1024
"""Reads below this waste flash bandwidth; smaller weights stay."""
SATELLITE_BYTES = 64 * 1024
"""Outputs up to this size beside a larger one stay until their last use."""
SOURCES = (Origin.STATE, Origin.WEIGHTS, Origin.ZERO)


@dataclass(frozen=True, slots=True)
class Projection:
    """`problem`; the call or the item (source) of each node; the node that holds an item when it is first
    made.

    `satellites`: items that stay from their first making to their last use, outside the nodes' sizes.

    `once`: nodes that change something in place, or whose output is changed in place, so that computing them
    again would not give the same: a plan computes each exactly once.
    """

    problem: Problem
    call_of: Mapping[int, int]
    source_of: Mapping[int, int]
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
    window: Window, costs: Sequence[float], workspaces: Sequence[int], fixed_bytes: int, profile: Profile
) -> Projection:
    """The problem of a window; `costs` and `workspaces` are per call, in seconds and bytes."""
    builder = _Builder(window)
    for number, call in enumerate(window.calls):
        if call.kind is not CallKind.ZERO:
            builder.add(number, call, costs[number], workspaces[number])
    final = {builder.holder[item] for _, item in window.state.values()}
    final |= {builder.holder[window.loss], builder.holder[window.weight]}
    final |= {n for n in builder.source_of if n not in builder.taken}
    fixed_bytes += sum(padded(window.items[i].size_bytes) for i in builder.satellites)
    problem = Problem(
        tuple(builder.nodes), frozenset(final), fixed_bytes, _paging(window, builder.source_of, profile)
    )
    return Projection(
        problem,
        builder.call_of,
        builder.source_of,
        builder.node_of,
        frozenset(builder.once),
        frozenset(builder.satellites),
    )


def _paging(window: Window, source_of: Mapping[int, int], profile: Profile) -> Paging:
    pageable = {
        node
        for node, item in source_of.items()
        if window.items[item].origin is Origin.WEIGHTS and window.items[item].size_bytes >= PAGE_BYTES
    }
    read = profile.flash.read_bytes_per_s
    write = profile.flash.write_bytes_per_s
    rates = (read.value if read else 1e9, write.value if write else 0.5e9)
    return Paging(*rates, PAGE_BYTES, frozenset(pageable))


class _Builder:
    def __init__(self, window: Window) -> None:
        self.window = window
        self.nodes: list[Node] = []
        self.holder: dict[int, int] = {}  # item → the node that holds its present content
        self.node_of: dict[int, int] = {}  # item → the node in whose memory it lies when it is made
        self.call_of: dict[int, int] = {}
        self.source_of: dict[int, int] = {}
        self.taken: set[int] = set()
        self.once: set[int] = set()
        self.satellites: list[int] = []
        for item in window.items:
            if item.origin in SOURCES:
                number = len(self.nodes)
                self.holder[item.id] = self.node_of[item.id] = number
                self.source_of[number] = item.id
                self.nodes.append(Node(number, item.name, 0.0, padded(item.size_bytes), kind=NodeKind.SOURCE))

    def add(self, number: int, call: Call, cost: float, workspace: int) -> None:
        """One call as a node."""
        items = self.window.items
        size = sum(padded(items[o].size_bytes) for o in fresh_outputs(self.window, call))
        overwritten = [self.holder[old] for old in call.overwrites.values()]
        read = [n for i in call.inputs for n in (self.holder[i], self.node_of[i]) if n not in self.taken]
        inputs = dict.fromkeys([*read, *overwritten])
        overwrites = self._takes_over(call, size)
        if overwrites is not None:
            size = self.nodes[overwrites].size_bytes
            self.taken.add(overwrites)
        node = Node(
            len(self.nodes),
            call.source or str(call.kind),
            cost,
            size,
            workspace,
            tuple(inputs),
            overwrites=overwrites,
        )
        self.nodes.append(node)
        self.call_of[node.id] = number
        self._place(call, node.id, overwrites)
        beside = satellites_of(self.window, call)
        if beside:
            self.satellites += beside
            marker = Node(len(self.nodes), f"{node.name} (small results)", 0.0, 0, 0, (node.id,))
            self.nodes.append(marker)
            for output in beside:
                self.holder[output] = self.node_of[output] = marker.id

    def _takes_over(self, call: Call, size: int) -> int | None:
        """The node whose memory becomes this call's own, if one can say so."""
        if size or not call.overwrites:
            return None
        new, old = next(iter(call.overwrites.items()))
        holder = self.holder[old]
        same = self.nodes[holder].size_bytes == padded(self.window.items[new].size_bytes)
        return holder if same and holder not in self.taken else None

    def _place(self, call: Call, node: int, overwrites: int | None) -> None:
        for output in call.outputs:
            self.holder[output] = self.node_of[output] = node
        for position, (new, old) in enumerate(call.overwrites.items()):
            before = self.holder[old]
            self.holder[old] = node
            if position == 0 and overwrites is not None:
                continue
            self.node_of[new] = self.node_of[old]
            self.once.add(node)
            if before not in self.source_of:
                self.once.add(before)


def computed_once(projection: Projection, computes: Sequence[int]) -> int | None:
    """A node that the plan computes more than once although it must not, or None."""
    seen: set[int] = set()
    for node in computes:
        if node in projection.once and node in seen:
            return node
        seen.add(node)
    return None
