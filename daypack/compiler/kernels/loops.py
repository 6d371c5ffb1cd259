# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Loops, phases and kernels as TIR: what every schedule is written with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx

from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix, variable
from daypack.compiler.kernels.target import KernelTarget


@dataclass(frozen=True, slots=True)
class PhaseCode:
    """One phase: a function of (arguments…, scratch, stage, begin, end), how many tiles it has, and its stage."""

    function: Any
    tiles: int
    stage: int = 0


@dataclass(frozen=True, slots=True)
class KernelCode:
    """A kernel before compilation.

    Arguments are the body's inputs, its outputs, then `workspace_bytes` arrays. 
    `in_place`: an output may share memory with an input of its size. `overwrites`: the first output must share memory
    with that input.
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


def loop(var: Ix, extent: Any, body: Sequence[Any], kind: tirx.ForKind = tirx.ForKind.SERIAL, start: Any = 0) -> Any:
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

    `body(inner, column, lane)` emits one element; `lane(width)` is the position in the vector, for code that keeps
    one partial result a lane.
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
        """The phase's function; `begin` and `end` limit its tiles. `scratch` is a float32 buffer or None."""
        from tvm.ir import PointerType, PrimType

        begin, end = tirx.Var("begin", "int32"), tirx.Var("end", "int32")
        pointer = scratch[0] if scratch else tirx.Var("scratch_p", PointerType(PrimType("float32")))
        outer = self.scope.parent
        hoisted = outer.statements if outer else []
        tiles = loop(self.tile, end - begin, self.scope.statements, start=begin)
        declared = [tirx.DeclBuffer(buffer, data=p) for p, buffer in self.program.parameters]
        if scratch:
            declared.append(tirx.DeclBuffer(scratch[1], data=scratch[0]))
        body = sequence([*declared, *self.scope.allocations, *hoisted, tiles])
        parameters = [p for p, _ in self.program.parameters]
        return tirx.PrimFunc([*parameters, pointer, self.stage, begin, end], body)


def scratch_buffer(elements: int) -> tuple[Any, Any]:
    """(pointer, float32 buffer) of the memory private to a thread."""
    from tvm.ir import PointerType, PrimType

    pointer = tirx.Var("scratch_p", PointerType(PrimType("float32")))
    return pointer, tirx.decl_buffer((elements,), "float32", "scratch", data=pointer)


def tile_size(total: int, preferred: int) -> int:
    """How many of `total` items a tile takes: near `preferred`, but at least 8 tiles where there is the work."""
    return max(1, min(total, preferred, max(1, -(-total // 8)) if total > preferred else total))


def lanes_of(program: Program, target: KernelTarget) -> int:
    return 1 if program.scalar_only else target.lanes


__all__ = [
    "KernelCode",
    "Phase",
    "PhaseCode",
    "across",
    "lanes_of",
    "loop",
    "scratch_buffer",
    "sequence",
    "tile_size",
    "variable",
]
