# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Loops, phases and kernels as TIR: what every schedule is written with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx
from tvm.ir import PointerType, PrimType

from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.target import KernelTarget


@dataclass(frozen=True, slots=True)
class PhaseCode:
    """One phase: a function of (arguments…, scratch, stage, begin, end), its number of tiles, its stage."""

    function: Any
    tiles: int
    stage: int = 0


@dataclass(frozen=True, slots=True)
class KernelCode:
    """A kernel before compilation.

    Arguments are the body's inputs, its outputs, then `workspace_bytes` arrays.
    `in_place`: an output may share memory with an input of its size. `overwrites`: the first output must
    share memory with that input.
    """

    phases: tuple[PhaseCode, ...]
    workspace_bytes: tuple[int, ...] = ()
    scratch_bytes: int = 0
    in_place: bool = False
    overwrites: int | None = None
    schedule: str = ""


def sequence(statements: Sequence[Any]) -> Any:
    """One statement out of several."""
    flat = [s for s in statements if s is not None]
    if not flat:
        return tirx.Evaluate(tirx.const(0, "int32"))
    return flat[0] if len(flat) == 1 else tirx.SeqStmt(flat)


def loop(
    var: Ix, extent: Any, body: Sequence[Any], kind: tirx.ForKind = tirx.ForKind.SERIAL, start: Any = 0
) -> Any:
    """`for var in [start, start + extent)`."""
    extent = tirx.const(extent, "int32") if isinstance(extent, int) else extent
    start = tirx.const(start, "int32") if isinstance(start, int) else start
    return tirx.For(var.expr, start, extent, kind, sequence(body))


def across(
    scope: Scope,
    columns: int,
    lanes: int,
    body: Callable[[Scope, Ix, Callable[[int], Ix]], None],
    start: Ix | None = None,
) -> None:
    """Vector loops over `columns` elements of a row, then a scalar tail.

    `body(inner, column, lane)` emits one element; `lane(width)` is the position in the vector, for code that
    keeps one partial result a lane.
    """
    first = start or Ix(0)
    whole = columns // lanes if lanes > 1 else 0
    if whole:
        outer = scope.program.loop_variable("v", whole)
        lane = scope.program.loop_variable("l", lanes)
        inner = scope.inside(outer, lane=lane, width=lanes)
        body(inner, first + outer * lanes + lane, lambda width: lane)
        vector = loop(lane, lanes, inner.statements, tirx.ForKind.VECTORIZED)
        scope.statements.append(loop(outer, whole, [vector]))
    rest = columns - whole * lanes
    if rest:
        tail = scope.program.loop_variable("s", rest)
        inner = scope.inside(tail)
        body(inner, first + tail + whole * lanes, lambda width: tail)
        scope.statements.append(loop(tail, rest, inner.statements))


def in_parts(
    scope: Scope, number: Ix, parts: int, size: int, total: int, emit: Callable[[Scope, int, Ix], None]
) -> None:
    """Part `number` of `parts`, each of `size` items but the last, which holds what is left of `total`.

    `emit(scope, count, start)` is called once for whole parts and, where the last is shorter, once more for
    it: both then have fixed lengths.
    """
    rest = total - (parts - 1) * size
    if parts == 1:
        emit(scope, rest, Ix(0))
    elif rest == size:
        emit(scope, size, number * size)
    else:
        whole, last = scope.inside(), scope.inside()
        emit(whole, size, number * size)
        emit(last, rest, Ix((parts - 1) * size))
        is_whole = tirx.LT(number.tir(), tirx.const(parts - 1, "int32"))
        scope.statements.append(
            tirx.IfThenElse(is_whole, sequence(whole.statements), sequence(last.statements))
        )


@dataclass(slots=True)
class Phase:
    """A phase being written: its tile loop variable and its outermost scope."""

    program: Program
    tiles: int
    tile: Ix = field(init=False)
    scope: Scope = field(init=False)
    stage: Any = field(init=False)

    def __post_init__(self) -> None:
        self.tile = self.program.loop_variable("tile", self.tiles)
        self.scope = Scope(self.program).inside(self.tile)
        self.stage = tirx.Var("stage", "int32")

    def local(self, elements: int, dtype: str = "float32") -> Any:
        """A small array in registers or on the thread's stack."""
        buffer = tirx.decl_buffer((elements,), dtype, self.program.fresh("local"), scope="local")
        self.scope.allocations.append(tirx.AllocBuffer(buffer))
        return buffer

    def finish(self, scratch_elements: int = 0, scratch: Any = None) -> Any:
        """The phase's function; `begin` and `end` limit its tiles. `scratch`: a pointer and
        the buffers that view it, or None.
        """
        begin, end = tirx.Var("begin", "int32"), tirx.Var("end", "int32")
        pointer = scratch[0] if scratch else tirx.Var("scratch_p", PointerType(PrimType("float32")))
        outer = self.scope.parent
        hoisted = outer.statements if outer else []
        tiles = loop(self.tile, end - begin, self.scope.statements, start=begin)
        declared = [tirx.DeclBuffer(buffer, data=p) for p, buffer in self.program.parameters]
        if scratch:
            declared += [tirx.DeclBuffer(buffer, data=scratch[0]) for buffer in scratch[1:]]
        body = sequence([*declared, *self.scope.allocations, *hoisted, tiles])
        parameters = [p for p, _ in self.program.parameters]
        return tirx.PrimFunc([*parameters, pointer, self.stage, begin, end], body)


def scratch_buffer(elements: int) -> tuple[Any, Any]:
    """(pointer, float32 buffer) of the memory private to a thread."""
    pointer = tirx.Var("scratch_p", PointerType(PrimType("float32")))
    return pointer, tirx.decl_buffer((elements,), "float32", "scratch", data=pointer)


def lanes_of(program: Program, target: KernelTarget) -> int:
    """Elements a vector loop handles at once; 1 where an operation calls the C library."""
    return 1 if program.scalar_only else target.lanes
