# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Kernels that walk an axis or a window for a strip of 64 neighbours at once: cumulative operations and
pooling.

The last dimension (or what lies behind the walked axis) is cut into strips; a strip keeps one running result
an element in registers, so the order of operations for each element is that of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import tirx

from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels import mathematics as m
from daypack.compiler.kernels import rules
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Index, Ix, flatten
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, across, in_parts, lanes_of, loop
from daypack.compiler.kernels.partials import Reduction, reduction_of
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.views import all_of, clamped

STRIP = 64
Strip = Callable[[Scope, int, Ix], None]


def _start(body: StepGraph, target: KernelTarget) -> tuple[Program, Node, Any, int]:
    program = Program(body)
    (buffer,) = program.arguments()
    (output,) = body.outputs
    return program, program.producers[output.value.id], buffer, lanes_of(program, target)


def _in_strips(phase: Phase, width: int, emit: Strip) -> None:
    """Emit the body for the strip of the phase's tile: tiles are numbered (row, strip)."""
    strips = -(-width // STRIP)
    strip = phase.program.arithmetic.mod(phase.tile, strips)
    in_parts(phase.scope, strip, strips, STRIP, width, emit)


def _fill(scope: Scope, local: Any, count: int, value: Any, lanes: int) -> None:
    across(
        scope, count, lanes, lambda s, c, _: s.statements.append(tirx.BufferStore(local, value, [c.tir()]))
    )


def _log_add_exp(scope_name: Callable[[Any], Any], a: Any, b: Any) -> Any:
    """log(e^a + e^b) without overflow; -inf is neutral."""
    high = scope_name(rules.maximum(a, b, is_float=True))
    low = scope_name(rules.minimum(a, b, is_float=True))
    difference = scope_name(tirx.Select(tirx.EQ(low, high), m.f32(0.0), low - high))
    return high + m.log1p(scope_name(m.exp(difference, scope_name)), scope_name)


def cumulative(body: StepGraph, target: KernelTarget) -> KernelCode:
    """cumsum, cumprod, cummax, cummin, cumlogsumexp along one axis, in order."""
    program, node, buffer, lanes = _start(body, target)
    (value,) = node.inputs
    axis, shape = node.attrs["axis"], value.shape
    depth, inner_size = shape[axis], math.prod(shape[axis + 1 :])
    names = {"cumsum": "reduce_sum", "cumprod": "reduce_prod", "cummin": "reduce_min"}
    plan = reduction_of(names.get(node.op, "reduce_max"), value.dtype)
    phase = Phase(program, math.prod(shape[:axis]) * -(-inner_size // STRIP))
    local = phase.local(STRIP, plan.dtype)
    strips = -(-inner_size // STRIP)
    row = program.arithmetic.div(phase.tile, strips)

    def emit(scope: Scope, count: int, start: Ix) -> None:
        _fill(scope, local, count, plan.identity, lanes)
        step = program.loop_variable("i", depth)
        walk = scope.inside(step)
        place = Ix(depth - 1) - step if node.attrs["reverse"] else step

        def element(inner: Scope, c: Ix, _: Any) -> None:
            behind = program.arithmetic.unflatten(start + c, shape[axis + 1 :])
            index = (*program.arithmetic.unflatten(row, shape[:axis]), place, *behind)
            x = inner.value(value, index)
            held = inner.name(tirx.BufferLoad(local, [c.tir()]))
            both = _log_add_exp(inner.name, held, x) if node.op == "cumlogsumexp" else plan.combine(held, x)
            result = inner.name(both)
            inner.statements.append(tirx.BufferStore(local, result, [c.tir()]))
            inner.store(buffer, flatten(index, shape), result, value.dtype)

        across(walk, count, lanes, element)
        scope.statements.append(loop(step, depth, walk.statements))

    _in_strips(phase, inner_size, emit)
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),))


def _tap_index(
    program: Program, node: Node, place: Index, tap: Index, shape: tuple[int, ...]
) -> tuple[Index, list[Any]]:
    """(clamped input index, conditions that it exists) of a window tap at an output position."""
    at = node.attrs
    rank = len(shape)
    base = at.get("base_dilation", (1,) * rank)
    dilation = at.get("window_dilation", (1,) * rank)
    index: list[Ix] = []
    conditions: list[Any] = []
    for d in range(rank):
        low, high = at["padding"][d]
        spot = place[d] * at["strides"][d] + tap[d] * dilation[d] - low
        if low > 0 or high > 0 or base[d] > 1:
            conditions += [
                tirx.GE(spot.tir(), tirx.const(0, "int32")),
                tirx.LE(spot.tir(), tirx.const((shape[d] - 1) * base[d], "int32")),
            ]
        if base[d] > 1:
            conditions.append(tirx.EQ(program.arithmetic.mod(spot, base[d]).tir(), tirx.const(0, "int32")))
            spot = program.arithmetic.div(spot, base[d])
        index.append(clamped(spot, 0, shape[d] - 1) if low > 0 or high > 0 or base[d] > 1 else spot)
    return tuple(index), conditions


def reduce_window(body: StepGraph, target: KernelTarget) -> KernelCode:
    """Pooling: the sum, largest or smallest element under a window, taps in row-major order."""
    program, node, buffer, lanes = _start(body, target)
    (value,) = node.inputs
    out = node.output
    plan: Reduction = reduction_of(node.op.replace("_window", ""), value.dtype)
    width = out.shape[-1]
    phase = Phase(program, math.prod(out.shape[:-1]) * -(-width // STRIP))
    local = phase.local(STRIP, plan.dtype)
    row = program.arithmetic.div(phase.tile, -(-width // STRIP))
    window = node.attrs["window"]
    taps = math.prod(window)

    def emit(scope: Scope, count: int, start: Ix) -> None:
        _fill(scope, local, count, plan.identity, lanes)
        tap = program.loop_variable("t", taps)
        walk = scope.inside(tap)
        where = program.arithmetic.unflatten(tap, window)

        def element(inner: Scope, c: Ix, _: Any) -> None:
            place = (*program.arithmetic.unflatten(row, out.shape[:-1]), start + c)
            index, conditions = _tap_index(program, node, place, where, value.shape)
            x = inner.value(value, index)
            if conditions:
                x = inner.name(tirx.Select(all_of(conditions), x, plan.identity))
            both = plan.combine(tirx.BufferLoad(local, [c.tir()]), x)
            inner.statements.append(tirx.BufferStore(local, both, [c.tir()]))

        across(walk, count, lanes, element)
        scope.statements.append(loop(tap, taps, walk.statements))

        def write(inner: Scope, c: Ix, _: Any) -> None:
            place = (*program.arithmetic.unflatten(row, out.shape[:-1]), start + c)
            inner.store(
                buffer, flatten(place, out.shape), inner.name(tirx.BufferLoad(local, [c.tir()])), out.dtype
            )

        across(scope, count, lanes, write)

    _in_strips(phase, width, emit)
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),))


def select_and_scatter_add(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The derivative of max pooling: each window's cotangent goes to the first of its largest elements.

    Written from the receiving side: an input position adds the cotangents of the windows in which it is the
    first largest, so that no two tiles write the same element.
    """
    program, node, buffer, lanes = _start(body, target)
    source, operand = node.inputs
    at, shape = node.attrs, operand.shape
    rank, width = len(shape), shape[-1]
    window, strides = at["window"], at["strides"]
    taps = math.prod(window)
    phase = Phase(program, math.prod(shape[:-1]) * -(-width // STRIP))
    total, first = phase.local(STRIP), phase.local(STRIP)
    row = program.arithmetic.div(phase.tile, -(-width // STRIP))
    arithmetic = program.arithmetic

    def emit(scope: Scope, count: int, start: Ix) -> None:
        _fill(scope, total, count, m.f32(0.0), lanes)
        mine, other = program.loop_variable("t", taps), program.loop_variable("q", taps)
        outer = scope.inside(mine)
        tap, rival = arithmetic.unflatten(mine, window), arithmetic.unflatten(other, window)

        def window_of(c: Ix) -> tuple[Index, Index, list[Any]]:
            """(position, window in which it sits at `tap`, conditions that this window exists)."""
            place = (*arithmetic.unflatten(row, shape[:-1]), start + c)
            found: list[Ix] = []
            conditions: list[Any] = []
            for d in range(rank):
                shifted = place[d] + at["padding"][d][0] - tap[d]
                if strides[d] > 1:
                    conditions.append(
                        tirx.EQ(arithmetic.mod(shifted, strides[d]).tir(), tirx.const(0, "int32"))
                    )
                w = arithmetic.div(shifted, strides[d])
                if window[d] > 1 or strides[d] > 1 or source.shape[d] != shape[d]:
                    conditions += [
                        tirx.GE(shifted.tir(), tirx.const(0, "int32")),
                        tirx.LT(w.tir(), tirx.const(source.shape[d], "int32")),
                    ]
                found.append(clamped(w, 0, source.shape[d] - 1))
            return place, tuple(found), conditions

        _fill(outer, first, count, m.f32(1.0), lanes)
        contest = outer.inside(other)

        def compare(inner: Scope, c: Ix, _: Any) -> None:
            place, w, _conditions = window_of(c)
            index, exists = _tap_index(program, node, w, rival, shape)
            x, y = inner.value(operand, place), inner.value(operand, index)
            earlier = tirx.LT(other.tir(), mine.tir())
            beaten = tirx.Or(tirx.GT(y, x), tirx.And(earlier, tirx.EQ(y, x)))
            if exists:
                beaten = tirx.And(beaten, all_of(exists))
            kept = tirx.Select(beaten, m.f32(0.0), tirx.BufferLoad(first, [c.tir()]))
            inner.statements.append(tirx.BufferStore(first, kept, [c.tir()]))

        across(contest, count, lanes, compare)
        outer.statements.append(loop(other, taps, contest.statements))

        def add(inner: Scope, c: Ix, _: Any) -> None:
            _place, w, conditions = window_of(c)
            won = tirx.GT(tirx.BufferLoad(first, [c.tir()]), m.f32(0.5))
            taken = all_of([won, *conditions])
            share = tirx.Select(taken, inner.value(source, w), m.f32(0.0))
            both = tirx.BufferLoad(total, [c.tir()]) + share
            inner.statements.append(tirx.BufferStore(total, both, [c.tir()]))

        across(outer, count, lanes, add)
        scope.statements.append(loop(mine, taps, outer.statements))

        def write(inner: Scope, c: Ix, _: Any) -> None:
            place = (*arithmetic.unflatten(row, shape[:-1]), start + c)
            result = inner.name(tirx.BufferLoad(total, [c.tir()]))
            inner.store(buffer, flatten(place, shape), result, operand.dtype)

        across(scope, count, lanes, write)

    _in_strips(phase, width, emit)
    return KernelCode((PhaseCode(phase.finish(), phase.tiles),))


def window(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a pooling operation or of its derivative."""
    node = next(n for n in body.nodes if n.op.startswith("reduce_window") or n.op == "select_and_scatter_add")
    return (
        select_and_scatter_add(body, target)
        if node.op == "select_and_scatter_add"
        else reduce_window(body, target)
    )
