# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Square blocks transposed in registers: what runs along one axis in memory is written along the other.

A block of n × n elements is read as n vectors and goes through log2(n) stages. Stage s exchanges sub-blocks
of s × s: rows i and i + s trade the odd groups of s lanes of the one for the even groups of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import loop

Read = Callable[[Scope, int, Ix], Any]
Write = Callable[[int], tuple[Any, Ix]]


def transpose_block(scope: Scope, size: int, read: Read, write: Write) -> None:
    """`read(inner, row, lane)` is an element of a row; `write(column)` says where a column begins.

    `size` is a power of two; the elements are float32. `write` gives a buffer and an offset at which `size`
    elements follow one another.
    """
    program = scope.program
    held = _registers(scope, program, size)
    for row in range(size):
        lane = program.loop_variable("l", size)
        inner = scope.inside(lane=lane, width=size)
        inner.store(held, lane + row * size, read(inner, row, lane), "float32")
        scope.statements.append(loop(lane, size, inner.statements, tirx.ForKind.VECTORIZED))
    stride = size // 2
    while stride:
        after = _registers(scope, program, size)
        for row in range(size):
            if row & stride == 0:
                _exchange(scope, held, after, size, row, stride)
        held, stride = after, stride // 2
    for column in range(size):
        buffer, offset = write(column)
        at = tirx.Ramp(offset.tir(), tirx.const(1, "int32"), tirx.const(size, "int32"))
        scope.statements.append(tirx.BufferStore(buffer, _row(held, size, column), [at]))


def _exchange(scope: Scope, held: Any, after: Any, size: int, row: int, stride: int) -> None:
    pair = [_row(held, size, row), _row(held, size, row + stride)]
    even = [n - stride + size if n & stride else n for n in range(size)]
    odd = [n + size if n & stride else n + stride for n in range(size)]
    for target, lanes in ((row, even), (row + stride, odd)):
        mixed = tirx.Shuffle(pair, [tirx.const(n, "int32") for n in lanes])
        scope.statements.append(tirx.BufferStore(after, mixed, [_lanes(size, target)]))


def _registers(scope: Scope, program: Program, size: int) -> Any:
    buffer = tirx.decl_buffer((size * size,), "float32", program.fresh("block"), scope="local")
    scope.allocations.append(tirx.AllocBuffer(buffer))
    return buffer


def _lanes(size: int, row: int) -> Any:
    return tirx.Ramp(tirx.const(row * size, "int32"), tirx.const(1, "int32"), tirx.const(size, "int32"))


def _row(buffer: Any, size: int, row: int) -> Any:
    return tirx.BufferLoad(buffer, [_lanes(size, row)])
