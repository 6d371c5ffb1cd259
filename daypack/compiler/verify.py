"""What is legal at each stage of the compiler, checked at every boundary.

| stage | nodes | made by |
|---|---|---|
| `traced` | every operation but those below | `trace.py` |
| `optimized` | also `read_rows` | the passes |
| `fused` | `fused` only; bodies are graphs of the operations of `optimized` | `fusion/` |

At every stage: one definition a value, before its uses; names of their own for the inputs of one role (a
batch leaf and a parameter may share one) and for outputs; constants with their arrays; each node with the
operands, attributes and result types of its signature (`signatures/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from daypack.compiler import ops
from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import DTYPE_BYTES, Node, Role, StepGraph, Value, numpy_dtype
from daypack.compiler.signatures import elementwise, sums, views
from daypack.compiler.signatures.signature import Illegal, Signature, require, type_of
from daypack.errors import TraceError


class Stage(StrEnum):
    """How far a graph has come."""

    TRACED = "traced"
    OPTIMIZED = "optimized"
    FUSED = "fused"


SIGNATURES: Mapping[str, Signature] = MappingProxyType({**elementwise.TABLE, **views.TABLE, **sums.TABLE})

LEGAL: Mapping[Stage, frozenset[str]] = MappingProxyType(
    {
        Stage.TRACED: ops.ALL - ops.FLASH_READS - {"fused"},
        Stage.OPTIMIZED: ops.ALL - {"fused"},
        Stage.FUSED: frozenset(("fused",)),
    }
)
"""Operations a graph may hold at each stage."""

ANCHORS: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.ELEMENTWISE: frozenset(),
        Kind.ROWS: ops.REDUCTIONS,
        Kind.COLUMNS: ops.REDUCTIONS,
        Kind.TOTAL: ops.REDUCTIONS,
        Kind.GENERAL: ops.REDUCTIONS | ops.ARG_REDUCTIONS,
        Kind.GEMM: ops.CONTRACTIONS,
        Kind.WINDOW: ops.WINDOWS,
        Kind.SCAN: ops.SCANS,
        Kind.SCATTER: ops.SCATTERS,
        Kind.CONCATENATE: frozenset(("concatenate",)),
        Kind.FLASH_ROWS: ops.FLASH_READS,
    }
)
"""The operations that give a kernel its kind. Besides them a body holds element-wise operations and views."""
SINGLE = frozenset(Kind) - {Kind.ELEMENTWISE, Kind.ROWS, Kind.COLUMNS, Kind.TOTAL}
"""Kinds whose bodies hold exactly one of these operations; a product's may hold a shallow one besides."""
_PLAIN = ops.ELEMENTWISE | ops.GENERATORS | (ops.VIEWS - {"concatenate"})


def verify(graph: StepGraph, stage: Stage) -> None:
    """Check a graph.

    Raises:
        TraceError: something is not legal; the message names the stage, the graph, the node, its source line,
        what was expected and what was found.
    """
    _Verifier(graph, f"graph {graph.name!r} at stage {stage}").run(LEGAL[stage])


class _Verifier:
    """One graph, or the body of a fused node; `where` begins every message."""

    def __init__(self, graph: StepGraph, where: str) -> None:
        self._graph = graph
        self._where = where
        self._values: dict[int, Value] = {}

    def run(self, legal: frozenset[str]) -> None:
        self._inputs()
        for number, node in enumerate(self._graph.nodes):
            where = f"{self._where}, node {number}, {_shown(node)}"
            try:
                self._node(node, legal, where)
            except Illegal as illegal:
                raise TraceError(f"{where}: {illegal}") from None
        self._outputs()

    def _inputs(self) -> None:
        names = Counter((i.role, i.name) for i in self._graph.inputs)
        for item in self._graph.inputs:
            where = f"{self._where}, input {item.name!r}"
            try:
                self._define(item.value)
                same = names[item.role, item.name]
                require(same == 1, "a name of its own", f"{same} such inputs")
                given = item.name in self._graph.constants
                is_constant = item.role is Role.CONSTANT
                require(given or not is_constant, "an array for a constant", "none")
                require(is_constant or not given, f"no array for the role {item.role}", "one")
                if given:
                    self._constant(item.name, item.value)
            except Illegal as illegal:
                raise TraceError(f"{where}: {illegal}") from None
        unknown = sorted(set(self._graph.constants) - {name for _, name in names})
        if unknown:
            raise TraceError(f"{self._where}: expected an input for each array, found arrays of {unknown}")

    def _constant(self, name: str, value: Value) -> None:
        array = self._graph.constants[name]
        same = array.shape == value.shape and array.dtype == numpy_dtype(value.dtype)
        require(same, f"an array of {type_of(value)}", f"{array.dtype}{list(array.shape)}")

    def _outputs(self) -> None:
        names = Counter(o.name for o in self._graph.outputs)
        for out in self._graph.outputs:
            try:
                require(names[out.name] == 1, "a name of its own", f"{names[out.name]} such outputs")
                self._read(out.value)
            except Illegal as illegal:
                raise TraceError(f"{self._where}, output {out.name!r}: {illegal}") from None

    def _define(self, value: Value) -> None:
        require(value.id not in self._values, "one definition a value", f"a second one of %{value.id}")
        require(value.dtype in DTYPE_BYTES, f"an element type, one of {', '.join(DTYPE_BYTES)}", value.dtype)
        sizes = all(type(n) is int and n >= 0 for n in value.shape)
        require(sizes, f"%{value.id} to have sizes of at least 0", value.shape)
        self._values[value.id] = value

    def _read(self, value: Value) -> None:
        known = self._values.get(value.id)
        require(known is not None, f"%{value.id} to be defined before it is read", "no definition")
        if known is not None:
            require(known == value, f"%{value.id} as it is defined, {type_of(known)}", type_of(value))

    def _node(self, node: Node, legal: frozenset[str], where: str) -> None:
        require(node.op in ops.ALL, "an operation of daypack.compiler.ops", repr(node.op))
        require(node.op in legal, "an operation of this stage", repr(node.op))
        for value in node.inputs:
            self._read(value)
        if node.op == "fused":
            self._fused(node, where)
        else:
            require(node.body is None, f"no body in {node.op}", "one")
            SIGNATURES[node.op].check(node)
        for value in node.outputs:
            self._define(value)

    def _fused(self, node: Node, where: str) -> None:
        require(set(node.attrs) == {"kind"}, "the attribute kind", ", ".join(sorted(node.attrs)) or "none")
        kind = node.attrs["kind"]
        require(kind in Kind.__members__.values(), f"kind to be one of {', '.join(Kind)}", repr(kind))
        body = node.body
        if body is None:
            raise Illegal("a body", "none")
        require(len(node.outputs) >= 1, "at least 1 result", 0)
        given, taken = [*map(type_of, node.inputs)], [type_of(i.value) for i in body.inputs]
        require(given == taken, f"a body that takes {_types(given)}", _types(taken))
        made, wanted = [type_of(o.value) for o in body.outputs], [*map(type_of, node.outputs)]
        require(made == wanted, f"a body that gives {_types(wanted)}", _types(made))
        self._anchors(Kind(kind), body)
        _Verifier(body, f"{where}, body {body.name!r}").run(LEGAL[Stage.OPTIMIZED])

    def _anchors(self, kind: Kind, body: StepGraph) -> None:
        allowed = ANCHORS[kind]
        anchors = [n.op for n in body.nodes if n.op not in _PLAIN]
        strange = sorted(set(anchors) - allowed)
        require(not strange, f"a body of kind {kind}", ", ".join(strange))
        if kind is not Kind.ELEMENTWISE:
            most = 2 if kind is Kind.GEMM else 1
            count = 1 <= len(anchors) <= most if kind in SINGLE else len(anchors) >= 1
            number = ("exactly one" if most == 1 else "one or two") if kind in SINGLE else "at least one"
            require(count, f"{number} of {', '.join(sorted(allowed))}", f"{len(anchors)} of them")


def _types(types: Sequence[object]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _shown(node: Node) -> str:
    left = ", ".join(f"%{v.id}" for v in node.outputs)
    args = ", ".join(f"%{v.id}" for v in node.inputs)
    made = f" made at {node.source}" if node.source else ""
    return f"{left} = {node.op}({args}){made}"
