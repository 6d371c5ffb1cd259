# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Concatenation: each operand is computed straight into its part of the result, one phase an operand."""

from __future__ import annotations

import math

from daypack.compiler.graph import StepGraph, Value
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix, flatten
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, across, lanes_of
from daypack.compiler.kernels.target import KernelTarget


def concatenate(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a lone concatenation and the element-wise expressions of its operands."""
    program = Program(body)
    (buffer,) = program.arguments()
    output = body.outputs[0].value
    node = program.producers[output.id]
    axis = node.attrs["axis"]
    lanes = lanes_of(program, target)
    phases: list[PhaseCode] = []
    start = 0
    for value in node.inputs:
        if value.elements:
            phases.append(_part(program, value, output, buffer, axis, start, lanes))
        start += value.shape[axis]
    return KernelCode(tuple(phases))


def _part(
    program: Program, value: Value, output: Value, buffer: object, axis: int, start: int, lanes: int
) -> PhaseCode:
    rows, columns = math.prod(value.shape[:-1]), value.shape[-1]
    phase = Phase(program, rows)

    def element(scope: Scope, column: Ix, _: object) -> None:
        index = [*program.arithmetic.unflatten(phase.tile if rows > 1 else Ix(0), value.shape[:-1]), column]
        expr = scope.value(value, tuple(index))
        index[axis] = index[axis] + start
        scope.store(buffer, flatten(index, output.shape), expr, output.dtype)

    across(phase.scope, columns, lanes, element)
    return PhaseCode(phase.finish(), phase.tiles)
