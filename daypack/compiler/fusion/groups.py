"""Stored values that share a kernel.

Each stored value starts as a group of its own. Groups merge where one kernel can compute both in one pass and
the order of execution stays possible (no path leaves the merged group and comes back):

- **epilogue**: element-wise values of a contraction's shape that read its result where it is made, and with
  them a second, shallow contraction of that shape that they also read;
- **rows**: reductions over the same trailing axes and element-wise values of the same rows;
- **elementwise**: values of one shape that read each other or a common operand;
- **columns**, **total**: reductions over the same axes with a common operand.

Two kernels that look rows up in different large tables stay apart: together they would need both in memory.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from enum import StrEnum

from daypack.compiler import ops
from daypack.compiler.fusion.places import Places
from daypack.compiler.fusion.roots import Roots
from daypack.compiler.graph import Node, StepGraph, Value


class Kind(StrEnum):
    """The schedule a group is compiled with."""

    ELEMENTWISE = "elementwise"
    ROWS = "rows"
    COLUMNS = "columns"
    TOTAL = "total"
    GENERAL = "general"
    GEMM = "gemm"
    WINDOW = "window"
    SCAN = "scan"
    SCATTER = "scatter"
    CONCATENATE = "concatenate"
    FLASH_ROWS = "flash_rows"  # not a kernel: the engine reads the rows


SHALLOW = 64
"""The longest reduction of a product that is made in another's kernel: the rank of an adapter."""
TABLE_BYTES = 512 * 1024
"""Tables of this size may be read from flash one at a time."""


@dataclass(slots=True)
class Group:
    """Stored values computed together. `domain` is (rows, columns) for rows groups, else (elements, 1)."""

    kind: Kind
    roots: list[int]
    domain: tuple[int, int]
    axes: tuple[int, ...] = ()
    after: set[int] = field(default_factory=set[int])  # groups that read this one
    before: set[int] = field(default_factory=set[int])


def kind_of(node: Node) -> Kind:
    """The schedule of a lone node."""
    if node.op in ops.CONTRACTIONS:
        return Kind.GEMM
    if node.op in ops.WINDOWS:
        return Kind.WINDOW
    if node.op in ops.SCANS:
        return Kind.SCAN
    if node.op in ops.SCATTERS:
        return Kind.SCATTER
    if node.op == "concatenate":
        return Kind.CONCATENATE
    if node.op in ops.FLASH_READS:
        return Kind.FLASH_ROWS
    if node.op in ops.ARG_REDUCTIONS:
        return Kind.GENERAL
    return _reduction_kind(node) if node.op in ops.REDUCTIONS else Kind.ELEMENTWISE


def _reduction_kind(node: Node) -> Kind:
    rank = len(node.inputs[0].shape)
    axes = sorted(node.attrs["axes"])
    if axes == list(range(rank - len(axes), rank)):
        few = node.output.elements < 8 and node.inputs[0].elements > 16 * 1024
        return Kind.TOTAL if node.output.elements == 1 and (few or len(axes) == rank) else Kind.ROWS
    return Kind.COLUMNS if axes == list(range(len(axes))) else Kind.GENERAL


class Grouping:
    """Groups while they merge."""

    def __init__(self, graph: StepGraph, roots: Roots) -> None:
        self.graph = graph
        self.roots = roots
        self.producers = graph.producers()
        self.order = {v.id: n for n, node in enumerate(graph.nodes) for v in node.outputs}
        self.values = {v.id: v for node in graph.nodes for v in node.outputs}
        self.values.update((i.value.id, i.value) for i in graph.inputs)
        self.group_of: dict[int, int] = {}
        self.groups: dict[int, Group] = {}
        self._access: dict[int, dict[int, set[str]]] = {}
        self._tables: dict[int, frozenset[int]] = {}
        self._places = Places(self.groups, ())
        self._large_readers: dict[int, list[int]] = {}

    def run(self) -> list[Group]:
        self._singles()
        self._places = Places(self.groups, list(self.groups))
        for value_id in self.group_of:
            for leaf in self._large_leaves(value_id):
                self._large_readers.setdefault(leaf, []).append(value_id)
        for value_id in sorted(self.group_of, key=self.order.__getitem__):
            self._try_merges(value_id)
        return self._ordered()

    def _singles(self) -> None:
        for node in self.graph.nodes:
            made = [v.id for v in node.outputs if v.id in self.roots.stored]
            if not made:
                continue
            number = len(self.groups)
            self.groups[number] = Group(kind_of(node), made, self._domain(node), _axes(node))
            self.group_of.update((v, number) for v in made)
        for number, group in self.groups.items():
            for root in group.roots:
                for leaf in self.roots.leaves[root]:
                    if leaf in self.group_of:
                        group.before.add(self.group_of[leaf])
                        self.groups[self.group_of[leaf]].after.add(number)

    def _domain(self, node: Node) -> tuple[int, int]:
        if _is_rows(node):
            columns = math.prod(node.inputs[0].shape[d] for d in _axes(node))
            return node.output.elements, columns
        if node.op in ops.REDUCTIONS:
            return node.inputs[0].elements, 1
        return node.outputs[0].elements, 1

    # ---- merging ----

    def _try_merges(self, value_id: int) -> None:
        """Merge a value's group with groups it reads from, nearest first, then with its operands' readers."""
        leaves = sorted(
            (x for x in self.roots.leaves[value_id] if x in self.group_of), key=self.order.__getitem__
        )
        for leaf in reversed(leaves):
            self._merge_if_possible(self.group_of[leaf], self.group_of[value_id])
        if self.groups[self.group_of[value_id]].kind is Kind.GEMM:
            return
        for sibling in self._siblings(value_id):
            self._merge_if_possible(self.group_of[sibling], self.group_of[value_id])

    def _siblings(self, value_id: int) -> list[int]:
        """Earlier stored values that read a large operand of this one."""
        readers = (self._large_readers.get(leaf, ()) for leaf in self._large_leaves(value_id))
        earlier = {v for found in readers for v in found if self.order[v] < self.order[value_id]}
        return sorted(earlier, key=lambda v: (-self.order[v], v))

    def _large_leaves(self, value_id: int) -> frozenset[int]:
        node = self.producers[value_id]
        size = max(node.outputs[0].elements, node.inputs[0].elements if node.op in ops.REDUCTIONS else 0)
        if node.op not in ops.REDUCTIONS and node.op not in ops.ELEMENTWISE:
            return frozenset()
        return frozenset(
            x for x in self.roots.leaves[value_id] if self.values[x].elements == size and size > 1
        )

    def _merge_if_possible(self, first: int, second: int) -> None:
        if first == second:
            return
        a, b = self.groups[first], self.groups[second]
        merged = self._merged_kind(a, b)
        if merged is None or not self._accesses_allowed(a, b, merged):
            return
        if merged[0] is Kind.ROWS and not self._share_a_row(a, b, merged[1]):
            return
        if self._tables_of(a) and self._tables_of(b) and self._tables_of(a) != self._tables_of(b):
            return
        if self._places.path_around(first, second):
            return
        self._places.merge(first, second)
        kind, domain, axes = merged
        self.groups[first] = Group(
            kind,
            a.roots + b.roots,
            domain,
            axes,
            (a.after | b.after) - {first, second},
            (a.before | b.before) - {first, second},
        )
        del self.groups[second]
        self.group_of.update((root, first) for root in b.roots)
        for number in b.after | b.before:
            for links in (self.groups[number].after, self.groups[number].before):
                if second in links:
                    links.discard(second)
                    links.add(first)
        self.groups[first].after.discard(first)
        self.groups[first].before.discard(first)

    def _share_a_row(self, a: Group, b: Group, domain: tuple[int, int]) -> bool:
        """Whether the merged kernel reads no more full arrays at once than the two need apart.

        Kernels that meet only in one number a row (the maxima of two blocks) would keep all their full arrays
        alive together.
        """
        full = domain[0] * domain[1]
        wide = [
            {
                v
                for root in g.roots
                for v in (root, *self.roots.leaves[root])
                if self.values[v].elements == full
            }
            for g in (a, b)
        ]
        return not wide[0] or not wide[1] or bool(wide[0] & wide[1])

    def _tables_of(self, group: Group) -> frozenset[int]:
        """The large stored arrays that a group's expressions gather from."""
        return frozenset[int]().union(*(self._tables_of_root(root) for root in group.roots))

    def _tables_of_root(self, root: int) -> frozenset[int]:
        if root not in self._tables:
            nodes = (self.graph.nodes[n] for n in self.roots.expression[root])
            tables = [n.inputs[0] for n in nodes if n.op == "gather"]
            self._tables[root] = frozenset(
                leaf
                for table in tables
                if table.size_bytes >= TABLE_BYTES
                for leaf in (
                    self.roots.leaves[table.id] if table.id not in self.roots.stored else (table.id,)
                )
            )
        return self._tables[root]

    def _merged_kind(self, a: Group, b: Group) -> tuple[Kind, tuple[int, int], tuple[int, ...]] | None:
        kinds = {a.kind, b.kind}
        if kinds == {Kind.ELEMENTWISE}:
            return (Kind.ELEMENTWISE, a.domain, ()) if a.domain == b.domain else None
        if a.kind is Kind.GEMM and b.kind is Kind.ELEMENTWISE:
            return (Kind.GEMM, a.domain, ()) if a.domain == b.domain and b.domain[0] > 1 else None
        if kinds == {Kind.ROWS}:
            return (Kind.ROWS, a.domain, ()) if a.domain == b.domain else None
        if kinds == {Kind.ROWS, Kind.ELEMENTWISE}:
            wide, narrow = (a, b) if a.kind is Kind.ROWS else (b, a)
            rows, columns = wide.domain
            fits = narrow.domain[0] in (rows, rows * columns) and rows > 1
            return (Kind.ROWS, wide.domain, ()) if fits else None
        if kinds == {Kind.GEMM}:
            return (Kind.GEMM, a.domain, ()) if self._adds_a_shallow_product(a, b) else None
        if a.kind is b.kind and a.kind in (Kind.COLUMNS, Kind.TOTAL):
            same = a.domain == b.domain and a.axes == b.axes and self._input_shape(a) == self._input_shape(b)
            return (a.kind, a.domain, a.axes) if same else None
        return None

    def _adds_a_shallow_product(self, a: Group, b: Group) -> bool:
        """Whether two products, each alone in its group, have results of one shape, and one is shallow."""
        both = [[n for n in map(self.producers.get, g.roots) if n and n.op == "dot_general"] for g in (a, b)]
        if [len(found) for found in both] != [1, 1]:
            return False
        (first,), (second,) = both
        if "arithmetic" in min(first, second, key=depth_of).attrs:
            return False
        return product_shape(first) == product_shape(second) and min(
            depth_of(first), depth_of(second)
        ) <= SHALLOW < max(depth_of(first), depth_of(second))

    def _input_shape(self, group: Group) -> tuple[int, ...]:
        return self.producers[group.roots[0]].inputs[0].shape

    def _accesses_allowed(
        self, a: Group, b: Group, merged: tuple[Kind, tuple[int, int], tuple[int, ...]]
    ) -> bool:
        """Members may read each other only at the element, or the row, being computed."""
        kind, domain, _ = merged
        for readers, read in ((a, b), (b, a)):
            for root in readers.roots:
                for leaf in self.roots.leaves[root] & set(read.roots):
                    if kind in (Kind.COLUMNS, Kind.TOTAL):
                        return False
                    if not self._how_read(root).get(leaf, set()) <= self._legal(kind, domain, leaf):
                        return False
        return True

    def _legal(self, kind: Kind, domain: tuple[int, int], leaf: int) -> set[str]:
        if kind is not Kind.ROWS:
            return {"point"}
        elements = self.values[leaf].elements
        if elements == domain[0] * domain[1] and domain[1] > 1:
            return {"point"}
        return {"point", "row"} if elements == domain[0] else set()

    def _how_read(self, root: int) -> dict[int, set[str]]:
        """How a stored value's expression reads each stored operand: `point`, `row`, or `other`."""
        if root not in self._access:
            found: dict[int, set[str]] = {}
            node = self.producers[root]
            for v in node.inputs:
                own = "point" if node.op in ops.REDUCTIONS else _through(node, v, "point")
                self._walk(v, own, found, set())
            self._access[root] = found
        return self._access[root]

    def _walk(self, value: Value, how: str, found: dict[int, set[str]], seen: set[tuple[int, str]]) -> None:
        if (value.id, how) in seen:
            return
        seen.add((value.id, how))
        if value.id in self.roots.stored:
            found.setdefault(value.id, set()).add(how)
            return
        node = self.producers[value.id]
        for operand in node.inputs:
            self._walk(operand, _through(node, operand, how), found, seen)

    def _ordered(self) -> list[Group]:
        """A valid order that follows the original one."""
        waiting = {n: len(g.before) for n, g in self.groups.items()}
        rank = {n: max(self.order[r] for r in g.roots) for n, g in self.groups.items()}
        ready = [(rank[n], n) for n, count in waiting.items() if count == 0]
        heapq.heapify(ready)
        result: list[Group] = []
        while ready:
            _, number = heapq.heappop(ready)
            result.append(self.groups[number])
            for following in self.groups[number].after:
                waiting[following] -= 1
                if waiting[following] == 0:
                    heapq.heappush(ready, (rank[following], following))
        return result


def _is_rows(node: Node) -> bool:
    return node.op in ops.REDUCTIONS and _reduction_kind(node) is Kind.ROWS


def depth_of(node: Node) -> int:
    """The length of a product's reduction."""
    contracted: tuple[int, ...] = node.attrs["lhs_contract"]
    return math.prod(node.inputs[0].shape[d] for d in contracted)


def product_shape(node: Node) -> tuple[object, ...]:
    """The result's shape, and which of its axes are the batch, the rows, the columns."""
    lhs = len(node.inputs[0].shape) - len(node.attrs["lhs_contract"])
    return node.output.shape, len(node.attrs["lhs_batch"]), lhs


def _axes(node: Node) -> tuple[int, ...]:
    return tuple(sorted(node.attrs["axes"])) if node.op in ops.REDUCTIONS else ()


def _through(node: Node, operand: Value, how: str) -> str:
    """How an operand is read when its node is read `how`."""
    if how == "other":
        return "other"
    if node.op in ops.ELEMENTWISE:
        return how if operand.shape == node.outputs[0].shape else "other"
    if node.op == "reshape":
        return how
    if node.op == "broadcast_in_dim":
        shape = node.output.shape
        dims: tuple[int, ...] = node.attrs["dims"]
        kept = [d for d, n in zip(dims, operand.shape, strict=True) if n > 1]
        rows = math.prod(shape[: len(kept)])
        if kept == list(range(len(kept))) and operand.elements == rows:
            return "row" if operand.elements < node.output.elements else how
        # dimensions of size one between the kept ones do not change the order either
        big = [d for d, n in enumerate(shape) if n > 1]
        if kept == big[: len(kept)] and operand.elements == math.prod(shape[d] for d in kept):
            return "row" if operand.elements < node.output.elements else how
    return "other"


def form_groups(graph: StepGraph, roots: Roots) -> list[Group]:
    """Merge as described above; the result is in a valid order."""
    return Grouping(graph, roots).run()
