# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Scatters: rows of updates added to (or written over) places named by indices, in the order of the updates.

The result overwrites the operand where that is a stored array; a uniform operand is written first. Tiles
share out the last dimension of the updates, so that two tiles never meet and the order of additions is that
of the updates.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels.elementwise import TILE_ELEMENTS
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix, flatten
from daypack.compiler.kernels.loops import (
    KernelCode,
    Phase,
    PhaseCode,
    across,
    in_parts,
    lanes_of,
    loop,
    sequence,
)
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.views import all_of, clamped

STRIP = 64


def scatter(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a lone `scatter` or `scatter-add`."""
    program = Program(body)
    (buffer,) = program.arguments()
    node = program.producers[body.outputs[0].value.id]
    stored = [n for n, i in enumerate(body.inputs) if i.value.id == node.inputs[0].id]
    phases = [] if stored else [_initial(program, node, buffer)]
    phases.append(_updates(program, node, buffer, lanes_of(program, target)))
    return KernelCode(tuple(phases), overwrites=stored[0] if stored else None)


def _initial(program: Program, node: Node, buffer: Any) -> PhaseCode:
    """Write the operand where it is an expression."""
    operand = node.inputs[0]
    tiles = max(1, -(-operand.elements // TILE_ELEMENTS))
    phase = Phase(program, tiles)
    one = program.loop_variable("i", TILE_ELEMENTS)
    scope = phase.scope.inside(one)
    position = phase.tile * TILE_ELEMENTS + one
    index = program.arithmetic.unflatten(position, operand.shape)
    scope.store(buffer, position, scope.value(operand, index), operand.dtype)
    left = tirx.const(operand.elements, "int32") - (phase.tile * TILE_ELEMENTS).tir()
    count = tirx.min(tirx.const(TILE_ELEMENTS, "int32"), left)
    phase.scope.statements.append(loop(one, count, scope.statements))
    return PhaseCode(phase.finish(), tiles)


def _updates(program: Program, node: Node, buffer: Any, lanes: int) -> PhaseCode:
    operand, _, updates = node.inputs
    at = node.attrs
    window = at["update_window"]
    striped = bool(window) and window[-1] == len(updates.shape) - 1
    width = updates.shape[-1] if striped else 1
    strips = -(-width // STRIP)
    phase = Phase(program, strips)

    def emit(scope: Scope, count: int, start: Ix) -> None:
        scatter_dims = [d for d in range(len(updates.shape)) if d not in window]
        outer_window = [d for d in window if not (striped and d == len(updates.shape) - 1)]
        walked = [*scatter_dims, *outer_window]
        sizes = [updates.shape[d] for d in walked]
        walk = program.loop_variable("u", math.prod(sizes))
        body = scope.inside(walk)
        place: list[Ix] = [Ix(0)] * len(updates.shape)
        for d, ix in zip(walked, program.arithmetic.unflatten(walk, sizes), strict=True):
            place[d] = ix
        starts, conditions = _starts(body, node, [place[d] for d in scatter_dims])
        inner = body.inside()

        def element(cell: Scope, column: Ix, _: Any) -> None:
            own = list(place)
            if striped:
                own[-1] = start + column
            spot = flatten(_target(node, starts, own), operand.shape)
            expr = cell.value(updates, tuple(own))
            if node.op == "scatter-add":
                expr = cell.load(buffer, spot, operand.dtype) + expr
            cell.store(buffer, spot, expr, operand.dtype)

        across(inner, count, lanes, element)
        done = sequence(inner.statements)
        body.statements.append(tirx.IfThenElse(all_of(conditions), done, None) if conditions else done)
        scope.statements.append(loop(walk, math.prod(sizes), body.statements))

    in_parts(phase.scope, phase.tile, strips, STRIP, width, emit)
    return PhaseCode(phase.finish(), strips)


def _window_dims(node: Node) -> list[int]:
    operand = node.inputs[0]
    at = node.attrs
    return [d for d in range(len(operand.shape)) if d not in (*at["inserted"], *at["operand_batching"])]


def _starts(scope: Scope, node: Node, batch: list[Ix]) -> tuple[list[Ix], list[Any]]:
    """(start of the window in the operand, conditions that the window lies inside)."""
    operand, indices, updates = node.inputs
    at = node.attrs
    sizes = [1] * len(operand.shape)
    for d, w in zip(_window_dims(node), at["update_window"], strict=True):
        sizes[d] = updates.shape[w]
    deps = frozenset[str]().union(*(ix.deps for ix in batch)) if batch else frozenset[str]()
    starts: list[Ix] = [Ix(0)] * len(operand.shape)
    conditions: list[Any] = []
    for k, d in enumerate(at["scatter_dims"]):
        home = scope.home(deps)
        raw = home.name(tirx.Cast("int32", scope.value(indices, (*batch, Ix(k)))))
        limit = operand.shape[d] - sizes[d]
        starts[d] = Ix(raw, deps)
        if at["mode"] == "CLIP":
            starts[d] = clamped(starts[d], 0, limit)
        else:  # a promise to stay inside is not trusted: a kernel never writes outside its arrays
            conditions += [tirx.GE(raw, tirx.const(0, "int32")), tirx.LE(raw, tirx.const(limit, "int32"))]
    for d, b in zip(at["operand_batching"], at["indices_batching"], strict=True):
        starts[d] = batch[b]
    return starts, conditions


def _target(node: Node, starts: list[Ix], place: list[Ix]) -> list[Ix]:
    index = list(starts)
    for d, w in zip(_window_dims(node), node.attrs["update_window"], strict=True):
        index[d] = index[d] + place[w]
    return index
