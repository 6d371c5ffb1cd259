# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Element-wise kernels: one pass over memory that computes every output of the group.

All outputs have the same number of elements in the same order. Without views the arrays are walked flat; with
them row by row, the last dimension in vectors. A tile is a run of rows, or of columns when rows are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Index, Ix, flatten
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, across, in_parts, lanes_of, loop
from daypack.compiler.kernels.target import KernelTarget

Element = Callable[[Scope, Ix, Ix], None]
"""Emits the outputs at (row, column) into a scope."""
TILE_ELEMENTS = 8192
"""Elements a tile computes: 32 KB of float32, enough to hide the cost of taking a tile."""


def elementwise(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a group of element-wise operations and views."""
    program = Program(body)
    buffers = program.arguments()
    first = body.outputs[0].value
    shape = first.shape
    flat = _is_flat(body, shape)
    rows, columns = (1, math.prod(shape)) if flat else (math.prod(shape[:-1]), shape[-1] if shape else 1)
    lanes = lanes_of(program, target)

    def element(scope: Scope, row: Ix, column: Ix) -> None:
        # Everything is read before anything is written: an output may lie on an input.
        indices = [_index(program, out.value, shape, row, column, flat) for out in body.outputs]
        results = [scope.value(out.value, index) for out, index in zip(body.outputs, indices, strict=True)]
        for out, buffer, index, result in zip(body.outputs, buffers, indices, results, strict=True):
            position = column if flat else flatten(index, out.value.shape)
            scope.store(buffer, position, result, out.value.dtype)

    phase = _tiled(program, rows, columns, lanes, element)
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),), in_place=flat or _pointwise(body, shape))


def _is_flat(body: StepGraph, shape: tuple[int, ...]) -> bool:
    """Whether every array has one element a position, or one element at all, and no view moves elements."""

    def plain(node: Node) -> bool:
        if node.op == "broadcast_in_dim":
            return node.inputs[0].shape == ()
        return node.op in ops.ELEMENTWISE or node.op == "constant"

    values = [i.value for i in body.inputs] + [v for node in body.nodes for v in node.outputs]
    return all(map(plain, body.nodes)) and all(v.shape in ((), shape) for v in values)


def _index(program: Program, value: Value, shape: tuple[int, ...], row: Ix, column: Ix, flat: bool) -> Index:
    if not value.shape:
        return ()
    if flat:
        # Every array has this shape, so one index serves all: the flat position stands in the innermost
        # dimension that has more than one element (the others do not count).
        inner = max((d for d, n in enumerate(shape) if n > 1), default=0)
        return tuple(column if d == inner else Ix(0) for d in range(len(shape)))
    index = (*program.arithmetic.unflatten(row, shape[:-1]), column)
    return index if value.shape == shape else program.arithmetic.reshape(index, shape, value.shape)


def _tiled(program: Program, rows: int, columns: int, lanes: int, element: Element) -> Phase:
    wide = columns > 2 * TILE_ELEMENTS
    step = TILE_ELEMENTS if wide else max(1, TILE_ELEMENTS // max(columns, 1))
    per_row = -(-columns // step) if wide else 1
    tiles = rows * per_row if wide else -(-rows // step)
    phase = Phase(program, max(tiles, 1))
    if wide:
        _column_tiles(phase, columns, step, per_row, lanes, element)
    else:
        _row_tiles(phase, rows, columns, step, lanes, element)
    return phase


def _column_tiles(phase: Phase, columns: int, step: int, per_row: int, lanes: int, element: Element) -> None:
    arithmetic = phase.program.arithmetic
    row, part = arithmetic.div(phase.tile, per_row), arithmetic.mod(phase.tile, per_row)

    def run(scope: Scope, count: int, start: Ix) -> None:
        across(scope, count, lanes, lambda s, c, _: element(s, row, c), start)

    in_parts(phase.scope, part, per_row, step, columns, run)


def _row_tiles(phase: Phase, rows: int, columns: int, step: int, lanes: int, element: Element) -> None:
    if step == 1 or rows == 1:
        row = phase.tile if rows > 1 else Ix(0)
        across(phase.scope, columns, lanes, lambda s, c, _: element(s, row, c))
        return
    inner = phase.program.loop_variable("r", step)
    row = phase.tile * step + inner
    scope = phase.scope.inside(inner)
    across(scope, columns, lanes, lambda s, c, _: element(s, row, c))
    left = tirx.const(rows, "int32") - (phase.tile * step).tir()
    count = step if rows % step == 0 else tirx.min(tirx.const(step, "int32"), left)
    phase.scope.statements.append(loop(inner, count, scope.statements))


def _pointwise(body: StepGraph, shape: tuple[int, ...]) -> bool:
    """Whether an output may overwrite an input of its own shape: no view moves elements of such an input."""
    moved = {v.id for node in body.nodes if node.op in ops.VIEWS for v in node.inputs if v.shape == shape}
    return not moved
