# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Reductions that are not along rows: over leading axes, over everything, over any axes, and arg-reductions.

Every reduction node of a group is an output; what precedes it is element-wise and computed on the fly.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, across, in_parts, lanes_of, loop
from daypack.compiler.kernels.partials import (
    PARTIALS,
    accumulate_dtype,
    across_partials,
    combine,
    fill,
    reduction_of,
)
from daypack.compiler.kernels.target import KernelTarget

CHUNK = 16384
"""Elements whose sum is one partial result of a total."""


def _setup(body: StepGraph) -> tuple[Program, list[Node], list[Any]]:
    program = Program(body)
    buffers = program.arguments()
    nodes = [program.producers[out.value.id] for out in body.outputs]
    return program, nodes, buffers


def _stored(scope: Scope, buffer: Any, at: Ix, expr: Any, node: Node) -> None:
    if node.output.dtype == "bool":
        expr = tirx.NE(expr, tirx.const(0, "int32"))
    scope.store(buffer, at, expr, node.output.dtype)


def total(body: StepGraph, target: KernelTarget) -> KernelCode:
    """Reductions over all axes: chunks of 16,384 elements in parallel, then one tile over their results."""
    program, nodes, buffers = _setup(body)
    lanes = lanes_of(program, target)
    elements = nodes[0].inputs[0].elements
    chunks = max(1, -(-elements // CHUNK))
    plans = [reduction_of(n.op, n.inputs[0].dtype) for n in nodes]
    spaces = [program.buffer(f"space{n}", chunks, plan.dtype) for n, plan in enumerate(plans)]
    first = Phase(program, chunks)
    locals_ = [first.local(PARTIALS, plan.dtype) for plan in plans]
    shape = nodes[0].inputs[0].shape

    def reduce_chunk(scope: Scope, count: int, start: Ix) -> None:
        for plan, local in zip(plans, locals_, strict=True):
            fill(scope, local, plan, lanes)

        def element(inner: Scope, position: Ix, partial: Ix) -> None:
            index = program.arithmetic.unflatten(position, shape)
            for node, plan, local in zip(nodes, plans, locals_, strict=True):
                expr = accumulate_dtype(inner.value(node.inputs[0], index), plan)
                both = plan.combine(tirx.BufferLoad(local, [partial.tir()]), expr)
                inner.statements.append(tirx.BufferStore(local, both, [partial.tir()]))

        across_partials(scope, count, lanes, element, start)
        for plan, local, space in zip(plans, locals_, spaces, strict=True):
            result = combine(scope, local, plan, lanes)
            scope.statements.append(tirx.BufferStore(space, result, [first.tile.tir()]))

    in_parts(first.scope, first.tile, chunks, CHUNK, elements, reduce_chunk)
    second = Phase(program, 1)
    seconds = [second.local(PARTIALS, plan.dtype) for plan in plans]
    for node, plan, local, space, buffer in zip(nodes, plans, seconds, spaces, buffers, strict=True):
        fill(second.scope, local, plan, lanes)

        def gather(
            inner: Scope, at: Ix, partial: Ix, plan: Any = plan, local: Any = local, space: Any = space
        ) -> None:
            both = plan.combine(tirx.BufferLoad(local, [partial.tir()]), tirx.BufferLoad(space, [at.tir()]))
            inner.statements.append(tirx.BufferStore(local, both, [partial.tir()]))

        across_partials(second.scope, chunks, lanes, gather, Ix(0))
        _stored(second.scope, buffer, Ix(0), combine(second.scope, local, plan, lanes), node)
    phases = (PhaseCode(first.finish(), first.tiles), PhaseCode(second.finish(), 1))
    return KernelCode(phases, workspace_bytes=tuple(4 * chunks for _ in plans))


def columns(body: StepGraph, target: KernelTarget) -> KernelCode:
    """Reductions over leading axes: a tile owns 64 columns and walks the rows in order."""
    program, nodes, buffers = _setup(body)
    lanes = lanes_of(program, target)
    shape = nodes[0].inputs[0].shape
    reduced = len(nodes[0].attrs["axes"])
    row_shape, column_shape = shape[:reduced], shape[reduced:]
    width, depth = math.prod(column_shape), math.prod(row_shape)
    plans = [reduction_of(n.op, n.inputs[0].dtype) for n in nodes]
    tiles = max(1, -(-width // PARTIALS))
    phase = Phase(program, tiles)
    locals_ = [phase.local(PARTIALS, plan.dtype) for plan in plans]

    def reduce_columns(scope: Scope, count: int, start: Ix) -> None:
        for plan, local in zip(plans, locals_, strict=True):
            fill(scope, local, plan, lanes)
        row = program.loop_variable("r", depth)
        inside = scope.inside(row)

        def element(inner: Scope, column: Ix, partial: Ix) -> None:
            index = (
                *program.arithmetic.unflatten(row, row_shape),
                *program.arithmetic.unflatten(column, column_shape),
            )
            for node, plan, local in zip(nodes, plans, locals_, strict=True):
                expr = accumulate_dtype(inner.value(node.inputs[0], index), plan)
                both = plan.combine(tirx.BufferLoad(local, [partial.tir()]), expr)
                inner.statements.append(tirx.BufferStore(local, both, [partial.tir()]))

        across_partials(inside, count, lanes, element, start)
        scope.statements.append(loop(row, depth, inside.statements))
        for node, local, buffer in zip(nodes, locals_, buffers, strict=True):

            def write(
                inner: Scope, at: Ix, _: Any, node: Node = node, local: Any = local, buffer: Any = buffer
            ) -> None:
                _stored(inner, buffer, start + at, inner.name(tirx.BufferLoad(local, [at.tir()])), node)

            across(scope, count, lanes, write)

    in_parts(phase.scope, phase.tile, tiles, PARTIALS, width, reduce_columns)
    return KernelCode((PhaseCode(phase.finish(), tiles),))


def general(body: StepGraph, target: KernelTarget) -> KernelCode:
    """One reduction over any axes, or an arg-reduction: each kept element alone, axes walked in order."""
    program, nodes, buffers = _setup(body)
    (node,), (buffer,) = nodes, buffers
    shape = node.inputs[0].shape
    axes = sorted(node.attrs["axes"])
    kept = [d for d in range(len(shape)) if d not in axes]
    outputs = math.prod(shape[d] for d in kept)
    step = max(1, min(-(-outputs // 8), 1024))
    phase = Phase(program, max(1, -(-outputs // step)))
    one = program.loop_variable("o", step)
    position = phase.tile * step + one
    scope = phase.scope.inside(one)
    depth = math.prod(shape[d] for d in axes)
    walk = program.loop_variable("r", depth)
    kept_index = program.arithmetic.unflatten(position, [shape[d] for d in kept])
    axis_index = program.arithmetic.unflatten(walk, [shape[d] for d in axes])
    index = [Ix(0)] * len(shape)
    for d, ix in (*zip(kept, kept_index, strict=True), *zip(axes, axis_index, strict=True)):
        index[d] = ix
    inner = scope.inside(walk)
    if node.op in ops.ARG_REDUCTIONS:
        result = _arg(phase, scope, inner, node, tuple(index), walk, depth)
    else:
        result = _plain(phase, scope, inner, node, tuple(index), walk, depth)
    _stored(scope, buffer, position, result, node)
    left = tirx.min(tirx.const(step, "int32"), tirx.const(outputs, "int32") - (phase.tile * step).tir())
    phase.scope.statements.append(loop(one, left, scope.statements))
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),))


def _plain(phase: Phase, scope: Scope, inner: Scope, node: Node, index: Any, walk: Ix, depth: int) -> Any:
    plan = reduction_of(node.op, node.inputs[0].dtype)
    local = phase.local(1, plan.dtype)
    zero = [tirx.const(0, "int32")]
    scope.statements.append(tirx.BufferStore(local, plan.identity, zero))
    expr = accumulate_dtype(inner.value(node.inputs[0], index), plan)
    inner.statements.append(tirx.BufferStore(local, plan.combine(tirx.BufferLoad(local, zero), expr), zero))
    scope.statements.append(loop(walk, depth, inner.statements))
    return scope.name(tirx.BufferLoad(local, zero))


def _arg(phase: Phase, scope: Scope, inner: Scope, node: Node, index: Any, walk: Ix, depth: int) -> Any:
    """The first position of the largest (smallest) element; a NaN counts as both."""
    dtype = node.inputs[0].dtype
    plan = reduction_of("reduce_max" if node.op == "argmax" else "reduce_min", dtype)
    best, place = phase.local(1, plan.dtype), phase.local(1, "int32")
    zero = [tirx.const(0, "int32")]
    scope.statements.append(tirx.BufferStore(best, plan.identity, zero))
    scope.statements.append(tirx.BufferStore(place, tirx.const(0, "int32"), zero))
    x = inner.name(inner.value(node.inputs[0], index))
    held = tirx.BufferLoad(best, zero)
    beats = tirx.GT(x, held) if node.op == "argmax" else tirx.LT(x, held)
    if dtype == "float32":
        beats = tirx.And(tirx.Not(tirx.isnan(held)), tirx.Or(beats, tirx.isnan(x)))
    better = inner.name(tirx.Select(beats, tirx.const(1, "int32"), tirx.const(0, "int32")))
    won = tirx.NE(better, tirx.const(0, "int32"))
    inner.statements.append(
        tirx.BufferStore(place, tirx.Select(won, walk.tir(), tirx.BufferLoad(place, zero)), zero)
    )
    inner.statements.append(tirx.BufferStore(best, tirx.Select(won, x, held), zero))
    scope.statements.append(loop(walk, depth, inner.statements))
    return scope.name(tirx.Cast(node.output.dtype, tirx.BufferLoad(place, zero)))
