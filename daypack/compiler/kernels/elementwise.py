# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Element-wise kernels: one pass over memory that computes every output of the group.

All outputs have the same number of elements in the same order. Without views the arrays are walked flat; with
them row by row, the last dimension in vectors. A tile is a run of rows, or of columns when rows are few.
"""

from __future__ import annotations

import math

from daypack.compiler.graph import StepGraph, Value
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Index, Ix, flatten
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, across, lanes_of, loop
from daypack.compiler.kernels.target import KernelTarget

TILE_ELEMENTS = 8192
"""Elements a tile computes: 32 KB of float32, enough to hide the cost of taking a tile."""


def elementwise(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a group of element-wise operations and views."""
    program = Program(body)
    for number, item in enumerate(body.inputs):
        program.argument(item.value, f"in{number}")
    buffers = [program.argument(out.value, f"out{number}") for number, out in enumerate(body.outputs)]
    first = body.outputs[0].value
    shape = first.shape
    flat = all(v.shape in ((), shape) for node in body.nodes for v in node.outputs) and all(
        i.value.shape in ((), shape) for i in body.inputs
    )
    rows, columns = (1, math.prod(shape)) if flat else (math.prod(shape[:-1]), shape[-1] if shape else 1)
    lanes = lanes_of(program, target)

    def element(scope: Scope, row: Ix, column: Ix) -> None:
        for out, buffer in zip(body.outputs, buffers, strict=True):
            index = _index(program, out.value, shape, row, column, flat)
            position = column if flat else flatten(index, out.value.shape)
            scope.store(buffer, position, scope.value(out.value, index), out.value.dtype)

    phase = _tiled(program, rows, columns, lanes, element)
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),), in_place=flat or _pointwise(body, shape))


def _index(program: Program, value: Value, shape: tuple[int, ...], row: Ix, column: Ix, flat: bool) -> Index:
    if not value.shape:
        return ()
    if flat:
        # Every array has this shape, so one index serves all: put the flat position in the last dimension.
        return (*(Ix(0) for _ in shape[:-1]), column)
    index = (*program.arithmetic.unflatten(row, shape[:-1]), column)
    return index if value.shape == shape else program.arithmetic.reshape(index, shape, value.shape)


def _tiled(program: Program, rows: int, columns: int, lanes: int, element: object) -> Phase:
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


def _column_tiles(phase: Phase, columns: int, step: int, per_row: int, lanes: int, element: object) -> None:
    from tvm import tirx

    arithmetic = phase.program.arithmetic
    row, part = arithmetic.div(phase.tile, per_row), arithmetic.mod(phase.tile, per_row)
    rest = columns - (per_row - 1) * step
    full = phase.scope.inside()
    across(full, step, lanes, lambda s, c, _: element(s, row, c), part * step)  # type: ignore[operator]
    if rest == step:
        phase.scope.statements.extend(full.statements)
        return
    last = phase.scope.inside()
    across(last, rest, lanes, lambda s, c, _: element(s, row, c), Ix((per_row - 1) * step))  # type: ignore[operator]
    from daypack.compiler.kernels.loops import sequence

    is_full = tirx.LT(part.tir(), tirx.const(per_row - 1, "int32"))
    phase.scope.statements.append(tirx.IfThenElse(is_full, sequence(full.statements), sequence(last.statements)))


def _row_tiles(phase: Phase, rows: int, columns: int, step: int, lanes: int, element: object) -> None:
    from tvm import tirx

    if step == 1 or rows == 1:
        row_scope = phase.scope
        row = phase.tile if rows > 1 else Ix(0)
        across(row_scope, columns, lanes, lambda s, c, _: element(s, row, c))  # type: ignore[operator]
        return
    inner = phase.program.loop_variable("r", step)
    row = phase.tile * step + inner
    phase.program.arithmetic.bound(inner.expr, step)
    scope = phase.scope.inside(inner)
    across(scope, columns, lanes, lambda s, c, _: element(s, row, c))  # type: ignore[operator]
    left = tirx.const(rows, "int32") - (phase.tile * step).tir()
    count = step if rows % step == 0 else tirx.min(tirx.const(step, "int32"), left)
    phase.scope.statements.append(loop(inner, count, scope.statements))


def _pointwise(body: StepGraph, shape: tuple[int, ...]) -> bool:
    """Whether an output may overwrite an input of its own shape: no view moves elements of such an input."""
    from daypack.compiler import ops

    moved = {v.id for node in body.nodes if node.op in ops.VIEWS for v in node.inputs if v.shape == shape}
    return not moved
