# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""The expression of one element of a value inside a kernel, as a chain of named intermediates.

A `Scope` is the body of a loop (or of the whole kernel). Asking it for a value at an index appends the
statements that compute it, once, and returns the name. What does not depend on the scope's own loop is
computed in the enclosing scope, so that row values leave the column loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import PointerType, PrimType, TensorLoad

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.kernels import rules, views
from daypack.compiler.kernels.index import Arithmetic, Index, Ix, flatten, variable
from daypack.compiler.kernels.types import (
    HALVES,
    dtype_of,
    flag,
    memory_dtype,
    rounded,
    to_memory,
    to_register,
)

Access = Callable[[Index], Any]


def is_local(buffer: Any) -> bool:
    """Whether a buffer is an array in registers."""
    return str(buffer.ty.storage_scope) == "local"


class Program:
    """The fused body being lowered: where its leaves are read from, and the counters for names."""

    def __init__(self, body: StepGraph) -> None:
        self.body = body
        self.producers = body.producers()
        self.arithmetic = Arithmetic()
        self.buffers: dict[int, Any] = {}
        self.parameters: list[tuple[Any, Any]] = []
        self._count = 0
        self._computed_from: dict[frozenset[int], frozenset[int]] = {}

    def buffer(self, name: str, elements: int, dtype: str) -> Any:
        """A kernel argument: a flat buffer behind a pointer parameter."""
        pointer = tirx.Var(f"{name}_p", PointerType(PrimType(dtype)))
        declared = tirx.decl_buffer((max(elements, 1),), dtype, name, data=pointer)
        self.parameters.append((pointer, declared))
        return declared

    def argument(self, value: Value, name: str) -> Any:
        """A kernel argument that holds a value of the body."""
        declared = self.buffer(name, value.elements, memory_dtype(value.dtype))
        self.buffers[value.id] = declared
        return declared

    def arguments(self) -> list[Any]:
        """Declare every input and output of the body as an argument, in order; the outputs' buffers."""
        for number, item in enumerate(self.body.inputs):
            self.argument(item.value, f"in{number}")
        return [self.argument(out.value, f"out{number}") for number, out in enumerate(self.body.outputs)]

    def computed_from(self, values: frozenset[int]) -> frozenset[int]:
        """These values and every value that is computed from one of them."""
        known = self._computed_from.get(values)
        if known is None:
            reached = set(values)
            for node in self.body.nodes:
                if any(v.id in reached for v in node.inputs):
                    reached.update(v.id for v in node.outputs)
            known = self._computed_from[values] = frozenset(reached)
        return known

    def loop_variable(self, name: str, extent: int) -> Ix:
        """A fresh int32 loop variable with 0 <= variable < extent."""
        var = tirx.Var(self.fresh(name), "int32")
        self.arithmetic.bound(var, extent)
        return variable(var)

    def fresh(self, name: str) -> str:
        self._count += 1
        return f"{name}_{self._count}"

    @property
    def scalar_only(self) -> bool:
        """Whether some operation calls the C library and so forbids vector loops."""
        return any(rules.calls_libm(node) for node in self.body.nodes)


class Scope:
    """The statements of one loop body, with memory of what they have computed."""

    def __init__(
        self,
        program: Program,
        parent: Scope | None = None,
        loops: Sequence[Ix] = (),
        lane: Ix | None = None,
        width: int = 1,
    ) -> None:
        self.program = program
        self.parent = parent
        self.loops = frozenset(name for ix in loops for name in ix.deps)
        self.statements: list[Any] = []
        self.allocations: list[Any] = parent.allocations if parent else []
        self.lane, self.width = lane or Ix(0), width
        self.bound: dict[int, Access] = parent.bound.copy() if parent else {}
        self._memo: dict[Any, tuple[Any, Index]] = {}
        self._chains: set[tuple[int, ...]] = set()

    def inside(self, *loops: Ix, lane: Ix | None = None, width: int = 1) -> Scope:
        """The scope of loops nested in this one; `lane` is the variable of a vector loop of `width`."""
        return Scope(self.program, self, loops if lane is None else (*loops, lane), lane, width)

    def home(self, deps: frozenset[str]) -> Scope:
        """The outermost scope in which an expression of these loop variables can be computed."""
        scope = self
        while scope.parent is not None and not deps & scope.loops:
            scope = scope.parent
        return scope

    def name(self, expr: Any) -> Any:
        """Give an intermediate a name so that it is computed once.

        The name is an element of a local array, which LLVM keeps in a register. It is not a `Bind`: TVM's
        simplifier substitutes bound expressions back into their uses, and a chain in which each is used twice
        (a threefry round) then grows exponentially.
        """
        if isinstance(expr, (tirx.Var, tirx.IntImm, tirx.FloatImm)):
            return expr
        if isinstance(expr, TensorLoad) and is_local(expr.source):
            return expr
        if dtype_of(expr) == "bool":
            return self._name_bool(expr)
        local = tirx.decl_buffer((self.width,), dtype_of(expr), self.program.fresh("t"), scope="local")
        self.allocations.append(tirx.AllocBuffer(local))
        at = [self.lane.tir()]
        self.statements.append(tirx.BufferStore(local, expr, at))
        return tirx.BufferLoad(local, at)

    def _name_bool(self, expr: Any) -> Any:
        """A bool is held as int32 0 or 1.

        Not for its own sake: TVM's simplifier turns `not (a >= b)` into `a < b` and `a < b or a >= b` into
        true, which is wrong where one is NaN. It does not see through the number.
        """
        if isinstance(expr, tirx.NE) and isinstance(expr.a, TensorLoad) and is_local(expr.a.source):
            return expr
        return flag(self.name(tirx.Select(expr, tirx.const(1, "int32"), tirx.const(0, "int32"))))

    def store(self, buffer: Any, offset: Ix, expr: Any, dtype: str) -> None:
        """Write one element."""
        if dtype in HALVES:
            expr = self.name(expr)
        self.statements.append(tirx.BufferStore(buffer, to_memory(expr, dtype), [offset.tir()]))

    def load(self, buffer: Any, offset: Ix, dtype: str) -> Any:
        """Read one element."""
        raw = self.name(tirx.BufferLoad(buffer, [offset.tir()]))
        return to_register(raw, dtype)

    def value(self, value: Value, index: Index) -> Any:
        """The element of a value at an index."""
        own = self.bound.get(value.id)
        if own is not None:
            return own(index)
        if self.parent is not None and self._is_invariant(self.parent, value, index):
            return self.parent.value(value, index)
        key = _key(value, index)
        if key not in self._memo:
            self._memo[key] = (self.name(self._compute(value, index)), index)
        return self._memo[key][0]

    def _compute_chain(self, node: Node, index: Index) -> None:
        """Compute the element-wise operations behind a node first to last.

        A chain of them may be longer than Python's stack is deep.
        """
        key = _parts(index)
        if key in self._chains:
            return
        self._chains.add(key)
        producers, found, pending = self.program.producers, set[int](), list(node.inputs)
        while pending:
            value = pending.pop()
            maker = producers.get(value.id)
            known = value.id in found or value.id in self.bound or _key(value, index) in self._memo
            if maker is not None and maker.op in ops.ELEMENTWISE and not known:
                found.add(value.id)
                pending.extend(maker.inputs)
        for earlier in self.program.body.nodes if found else ():
            for value in earlier.outputs:
                if value.id in found:
                    self.value(value, _own(value, index))
        self._chains.discard(key)

    def _is_invariant(self, parent: Scope, value: Value, index: Index) -> bool:
        """Whether an element needs neither this scope's loops nor what is known only here."""
        if any(ix.deps & self.loops for ix in index):
            return False
        here = self.bound.keys() - parent.bound.keys()
        return not here or value.id not in self.program.computed_from(frozenset(here))

    def _compute(self, value: Value, index: Index) -> Any:
        node = self.program.producers.get(value.id)
        if node is None:
            return self.load(self.program.buffers[value.id], flatten(index, value.shape), value.dtype)
        if node.op in ops.VIEWS or node.op in ops.GENERATORS:
            return views.element(self, node, index)
        self._compute_chain(node, index)
        operands = [self.value(v, _own(v, index)) for v in node.inputs]
        result = rules.expression(node, operands, self.name)
        if len(node.outputs) == 1:
            dtype = node.output.dtype
            return rounded(self.name(result), dtype) if dtype in HALVES else result
        for output, part in zip(node.outputs, result, strict=True):
            self._memo[_key(output, index)] = (self.name(part), index)
        return self._memo[_key(value, index)][0]


def _own(value: Value, index: Index) -> Index:
    """The index of an element-wise operand: that of the result, or none where it is one number."""
    return () if value.shape == () else index


def _parts(index: Index) -> tuple[int, ...]:
    """Index expressions count as equal when they are the same object; whoever keeps this keeps them alive."""
    return tuple(ix.expr if isinstance(ix.expr, int) else id(ix.expr) for ix in index)


def _key(value: Value, index: Index) -> tuple[int, tuple[int, ...]]:
    return value.id, _parts(index)
