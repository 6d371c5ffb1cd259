"""Which values are stored, and which are only ever an expression inside the kernels that read them.

Views and generators are never stored, nor is what is decoded from a frozen array (`decoding`). Reductions,
contractions and the other anchors always are. An element-wise value is stored when something needs it in
memory (an output, an operand of an anchor), or when several kernels read it and computing it again would cost
more than reading it: a weight of operations above `RECOMPUTE_WEIGHT`, or more bytes of operands than the
value has itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.compiler import ops
from daypack.compiler.decoding import decoded_values
from daypack.compiler.graph import Node, StepGraph, Value

RECOMPUTE_WEIGHT = 48
"""Operations (an addition is 1) that a second kernel may repeat instead of reading the value."""


def _weighing(weight: int, names: str) -> dict[str, int]:
    return dict.fromkeys(names.split(), weight)


_LIBRARY = _weighing(
    100, "pow atan2 cbrt tan asin acos atan sinh cosh asinh acosh atanh erfc lgamma nextafter"
)
"""Operations that call the C library and so forbid vectors in their kernel: results are always stored."""
_WEIGHTS = {
    **_weighing(12, "exp exp2 log log1p expm1 tanh logistic erf sin cos"),
    **_weighing(4, "div sqrt rsqrt rem"),
    **_weighing(100, "threefry2x32"),
    **_LIBRARY,
}

INLINE = (ops.VIEWS | ops.GENERATORS) - {"concatenate"}
"""Operations that are index maps in the kernels of their readers. A concatenation is a kernel of its own."""
ANCHORS = (
    ops.REDUCTIONS
    | ops.ARG_REDUCTIONS
    | ops.CONTRACTIONS
    | ops.WINDOWS
    | ops.SCANS
    | ops.SCATTERS
    | ops.FLASH_READS
    | {"concatenate"}
)
_NEEDS_MEMORY = ops.CONTRACTIONS | ops.WINDOWS | ops.SCANS | ops.SCATTERS
"""Anchors whose operands are read more than once or out of order."""


@dataclass(frozen=True, slots=True)
class Roots:
    """What is stored, and how everything else is computed from it.

    `stored`: ids of values that get memory; `expression[v]`: positions of the nodes that make v of stored
    values; `leaves[v]`: those stored values.
    """

    stored: frozenset[int]
    expression: dict[int, frozenset[int]]
    leaves: dict[int, frozenset[int]]


class _Decider:
    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self.values: dict[int, Value] = {i.value.id: i.value for i in graph.inputs}
        self.values.update((v.id, v) for node in graph.nodes for v in node.outputs)
        self.position = {id(node): n for n, node in enumerate(graph.nodes)}
        self.stored: set[int] = {i.value.id for i in graph.inputs}
        self.decoded = decoded_values(graph)
        self.expression: dict[int, frozenset[int]] = {}
        self.leaves: dict[int, frozenset[int]] = {}
        self.needed = self._needed()
        self.readers = self._readers()
        self.spread = self._spread()

    def _needed(self) -> set[int]:
        """Values that must be in memory whatever they cost."""
        needed = {out.value.id for out in self.graph.outputs}
        for node in self.graph.nodes:
            if node.op in _NEEDS_MEMORY:
                needed.update(s for v in node.inputs for s in self._behind_views(v))
            elif node.op in ops.FLASH_READS:
                needed.update(v.id for v in node.inputs)  # the engine reads the ids as they lie
        return needed

    def _behind_views(self, value: Value) -> set[int]:
        """The values a chain of views reads its data from; index operands of gathers count too."""
        found: set[int] = set()
        pending = [value]
        while pending:
            v = pending.pop()
            node = self.producers.get(v.id)
            if node is not None and (node.op in INLINE or v.id in self.decoded):
                pending.extend(node.inputs)
            elif node is not None:
                found.add(v.id)
        return found

    def _readers(self) -> dict[int, int]:
        """How many computing nodes read a value, looking through views."""
        readers: dict[int, set[int]] = {}
        for node in self.graph.nodes:
            if node.op in INLINE:
                continue
            for v in node.inputs:
                for source in self._behind_views(v):
                    readers.setdefault(source, set()).add(id(node))
        return {key: len(nodes) for key, nodes in readers.items()}

    def run(self) -> Roots:
        for node in self.graph.nodes:
            expression, leaves = self._gather(node)
            for value in node.outputs:
                self.expression[value.id], self.leaves[value.id] = expression, leaves
                if self._is_stored(node, value, expression, leaves):
                    self.stored.add(value.id)
            if any(v.id in self.stored for v in node.outputs) and len(node.outputs) > 1:
                self.stored.update(v.id for v in node.outputs if self.readers.get(v.id))
        return Roots(frozenset(self.stored), self.expression, self.leaves)

    def _gather(self, node: Node) -> tuple[frozenset[int], frozenset[int]]:
        """(positions of the nodes of the expression, stored values it reads), the node itself included."""
        expression = {self.position[id(node)]}
        leaves: set[int] = set()
        for v in node.inputs:
            if v.id in self.stored:
                leaves.add(v.id)
            else:
                expression |= self.expression[v.id]
                leaves |= self.leaves[v.id]
        return frozenset(expression), frozenset(leaves)

    def _is_stored(
        self, node: Node, value: Value, expression: frozenset[int], leaves: frozenset[int]
    ) -> bool:
        if value.id in self.needed or node.op in ANCHORS or node.op == "store":
            return True
        if node.op in INLINE or value.id in self.decoded:
            return False
        nodes = [self.graph.nodes[n] for n in expression]
        if any(n.op in _LIBRARY for n in nodes):
            return True
        weight = sum(_WEIGHTS.get(n.op, 0 if n.op in INLINE else 1) for n in nodes)
        if self._repeated_by_broadcast(value) and weight > 2:
            return True
        if self.readers.get(value.id, 0) <= 1:
            return False
        read_bytes = sum(self.values[leaf].size_bytes for leaf in leaves)
        return weight > RECOMPUTE_WEIGHT or read_bytes > 1.3 * value.size_bytes + 1024

    def _repeated_by_broadcast(self, value: Value) -> bool:
        """Whether a reader spreads the value over new leading dimensions, and would compute it once a row."""
        return value.id in self.spread

    def _spread(self) -> set[int]:
        """Values that some broadcast repeats before their last dimension."""
        broadcasts = (node for node in self.graph.nodes if node.op == "broadcast_in_dim")
        return {node.inputs[0].id for node in broadcasts if _spreads(node)}


def _spreads(broadcast: Node) -> bool:
    (value,), shape = broadcast.inputs, broadcast.output.shape
    dims: tuple[int, ...] = broadcast.attrs["dims"]
    if value.elements <= 1:
        return False
    last = max((d for d, n in zip(dims, value.shape, strict=True) if n > 1), default=-1)
    spread = [d for d in range(last) if d not in dims or value.shape[dims.index(d)] < shape[d]]
    return any(shape[d] > 1 for d in spread)


def choose_roots(graph: StepGraph) -> Roots:
    """Decide, in node order, what is stored."""
    return _Decider(graph).run()
