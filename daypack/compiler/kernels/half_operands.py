# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Operands of a product in float16: packed in float32 first, then scaled by powers of two and rounded.

What is packed lies as (depth, width). Each of its `width` columns (rows of the left operand, columns of the
right) has a scale that brings its largest element to [8, 16), and the scale's inverse for the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import loop

LANES = 8
"""float16 elements of a 128-bit register."""
ABSOLUTE, MANTISSA_BITS = 0x7FFFFFFF, 23


def ramp(offset: Ix, lanes: int = LANES) -> Any:
    """Consecutive elements from an offset on."""
    return tirx.Ramp(offset.tir(), tirx.const(1, "int32"), tirx.const(lanes, "int32"))


def numbers(value: int) -> Any:
    """A vector of one integer."""
    return tirx.Broadcast(tirx.const(value, "int32"), tirx.const(LANES, "int32"))


@dataclass(frozen=True, slots=True)
class HalfOperand:
    """Scales and rounds one operand; `width` is a multiple of LANES.

    `staged` (buffer, offset) has the float32 pack; `scale` and `inverse` (buffer, offset) take a number for
    each column.
    """

    program: Program
    width: int
    staged: tuple[Any, Ix]
    scale: tuple[Any, Ix]
    inverse: tuple[Any, Ix]

    def maxima(self, scope: Scope) -> Any:
        """An array for the largest magnitude of each column, as the bits of a float32, zeros so far."""
        found = tirx.decl_buffer((self.width,), "int32", self.program.fresh("most"), scope="local")
        scope.statements.append(tirx.AllocBuffer(found))
        for v in range(0, self.width, LANES):
            scope.statements.append(tirx.BufferStore(found, numbers(0), [ramp(Ix(v))]))
        return found

    def measure(self, scope: Scope, found: Any, depth: int) -> None:
        """Raise the maxima to those of `depth` staged rows; a NaN's bits are above all numbers'."""

        def each(k: Ix, v: int) -> Any:
            bits = tirx.reinterpret(f"int32x{LANES}", self._staged(k, v)) & numbers(ABSOLUTE)
            most = tirx.Max(tirx.BufferLoad(found, [ramp(Ix(v))]), bits)
            return tirx.BufferStore(found, most, [ramp(Ix(v))])

        self._rows(scope, depth, each)

    def set_scales(self, scope: Scope, found: Any) -> None:
        """Scales from the maxima: 2^(3 - ⌊log2⌋), at most 2^126; 1 where there is no finite maximum."""
        for v in range(0, self.width, LANES):
            bits = tirx.BufferLoad(found, [ramp(Ix(v))])
            exponent = bits >> numbers(MANTISSA_BITS)
            field = tirx.Min(numbers(257) - exponent, numbers(253))
            field = tirx.Select(tirx.EQ(exponent, numbers(255)), numbers(127), field)
            for (buffer, offset), power in ((self.scale, field), (self.inverse, numbers(254) - field)):
                value = tirx.reinterpret(f"float32x{LANES}", power << numbers(MANTISSA_BITS))
                scope.statements.append(tirx.BufferStore(buffer, value, [ramp(offset + v)]))

    def convert(self, scope: Scope, to: tuple[Any, Ix], depth: int) -> None:
        """`depth` staged rows, scaled and rounded to nearest even, into a float16 buffer at an offset."""
        buffer, base = to

        def each(k: Ix, v: int) -> Any:
            scale = tirx.BufferLoad(self.scale[0], [ramp(self.scale[1] + v)])
            half = tirx.Cast(f"float16x{LANES}", self._staged(k, v) * scale)
            return tirx.BufferStore(buffer, half, [ramp(base + k * self.width + v)])

        self._rows(scope, depth, each)

    def _staged(self, k: Ix, v: int) -> Any:
        buffer, offset = self.staged
        return tirx.BufferLoad(buffer, [ramp(offset + k * self.width + v)])

    def _rows(self, scope: Scope, depth: int, each: Callable[[Ix, int], Any]) -> None:
        k = self.program.loop_variable("k", depth)
        scope.statements.append(loop(k, depth, [each(k, v) for v in range(0, self.width, LANES)]))
