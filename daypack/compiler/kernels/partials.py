# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""How every reduction adds: 64 strided partial results, combined by a fixed tree.

The order is a property of the kernel: it depends neither on threads nor on tiles nor on the vector width, so
the same reduction has the same bits under every plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from daypack.compiler.kernels import rules
from daypack.compiler.kernels.emit import Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import loop
from daypack.compiler.kernels.types import constant, dtype_of, register_dtype

PARTIALS = 64


@dataclass(frozen=True, slots=True)
class Reduction:
    """How one reduction starts, combines, and in which element type it accumulates."""

    dtype: str
    identity: Any
    combine: Callable[[Any, Any], Any]


def reduction_of(op: str, dtype: str) -> Reduction:
    """The reduction of `reduce_*` on elements of `dtype`; bools are combined as int32 zeros and ones."""
    held = "int32" if dtype == "bool" else register_dtype(dtype)
    real = held == "float32"

    def reduction(identity: Any, combine: Callable[[Any, Any], Any]) -> Reduction:
        return Reduction(held, constant(identity, held), combine)

    if op == "reduce_sum":
        return reduction(0, lambda a, b: a + b)
    if op == "reduce_prod":
        return reduction(1, lambda a, b: a * b)
    if op == "reduce_and":
        return reduction(-1 if held.startswith("int") else np.iinfo(held).max, tirx.bitwise_and)
    if op == "reduce_or":
        return reduction(0, tirx.bitwise_or)
    if op == "reduce_xor":
        return reduction(0, tirx.bitwise_xor)
    if op == "reduce_max":
        low = float("-inf") if real else int(np.iinfo(held).min)
        return reduction(low, lambda a, b: rules.maximum(b, a, real))
    high = float("inf") if real else int(np.iinfo(held).max)
    return reduction(high, lambda a, b: rules.minimum(b, a, real))


def accumulate_dtype(expr: Any, reduction: Reduction) -> Any:
    """A bool operand as the int32 it is accumulated as."""
    if dtype_of(expr) == "bool":
        return tirx.Select(expr, tirx.const(1, "int32"), tirx.const(0, "int32"))
    return expr


def fill(scope: Scope, partials: Any, reduction: Reduction, lanes: int) -> None:
    """Start all partial results."""
    width = min(lanes, PARTIALS) if lanes > 1 else 1
    block = scope.program.loop_variable("i", PARTIALS // width)
    lane = scope.program.loop_variable("l", width)
    store = tirx.BufferStore(partials, reduction.identity, [(block * width + lane).tir()])
    kind = tirx.ForKind.VECTORIZED if width > 1 else tirx.ForKind.SERIAL
    scope.statements.append(
        loop(block, PARTIALS // width, [loop(lane, width, [store], kind)], tirx.ForKind.UNROLLED)
    )


def combine(scope: Scope, partials: Any, reduction: Reduction, lanes: int) -> Any:
    """The partial results as one, by halving: i with i + 32, then 16, 8, 4, 2, 1."""
    width = PARTIALS // 2
    while width:
        vector = min(lanes, width) if lanes > 1 else 1
        block = scope.program.loop_variable("i", width // vector)
        lane = scope.program.loop_variable("l", vector)
        at = block * vector + lane
        both = reduction.combine(
            tirx.BufferLoad(partials, [at.tir()]), tirx.BufferLoad(partials, [(at + width).tir()])
        )
        store = tirx.BufferStore(partials, both, [at.tir()])
        kind = tirx.ForKind.VECTORIZED if vector > 1 else tirx.ForKind.SERIAL
        scope.statements.append(
            loop(block, width // vector, [loop(lane, vector, [store], kind)], tirx.ForKind.UNROLLED)
        )
        width //= 2
    return scope.name(tirx.BufferLoad(partials, [tirx.const(0, "int32")]))


def across_partials(
    scope: Scope, columns: int, lanes: int, body: Callable[[Scope, Ix, Ix], None], start: Ix
) -> None:
    """Visit `columns` elements from `start`; element c belongs to partial result c mod 64.

    `body(inner, column, partial)`. Blocks of 64 first, then vectors, then single elements.
    """
    program = scope.program
    blocks, rest = divmod(columns, PARTIALS)
    if blocks:
        block = program.loop_variable("b", blocks)
        parts: list[Any] = []
        unroll = PARTIALS // lanes
        for part in range(unroll if lanes > 1 else 1):
            lane = program.loop_variable("l", lanes if lanes > 1 else PARTIALS)
            inner = scope.inside(block, lane=lane, width=lanes) if lanes > 1 else scope.inside(block, lane)
            at = lane + part * lanes
            body(inner, start + block * PARTIALS + at, at)
            kind = tirx.ForKind.VECTORIZED if lanes > 1 else tirx.ForKind.SERIAL
            parts.append(loop(lane, lanes if lanes > 1 else PARTIALS, inner.statements, kind))
        scope.statements.append(loop(block, blocks, parts))
    done = blocks * PARTIALS
    vectors = rest // lanes if lanes > 1 else 0
    if vectors:
        vector, lane = program.loop_variable("v", vectors), program.loop_variable("l", lanes)
        inner = scope.inside(vector, lane=lane, width=lanes)
        at = vector * lanes + lane
        body(inner, start + at + done, at)
        scope.statements.append(
            loop(vector, vectors, [loop(lane, lanes, inner.statements, tirx.ForKind.VECTORIZED)])
        )
    single = rest - vectors * lanes if lanes > 1 else rest
    if single:
        tail = program.loop_variable("s", single)
        inner = scope.inside(tail)
        at = tail + (rest - single)
        body(inner, start + at + done, at)
        scope.statements.append(loop(tail, single, inner.statements))
