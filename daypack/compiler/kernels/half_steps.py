# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""The fused multiply-add of float16 vectors: the processor's own, or the same bits from float32.

Without float16 arithmetic a vector is held as the float32 numbers of its value. The product of two is exact
in float32. The sum's error is found exactly (Knuth's TwoSum) and decides the last bit of the sum (rounding to
odd), so that rounding to float16 afterwards rounds the exact value once (Boldo and Melquiond, "Emulation of a
FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from daypack.compiler.kernels.emit import Program
from daypack.compiler.kernels.half_operands import ABSOLUTE, LANES, numbers

LARGEST_BITS = 0x7F7FFFFF
"""Of the largest finite float32."""
_WIDE, _BITS = f"float32x{LANES}", f"int32x{LANES}"


def held_dtype(native: bool) -> str:
    """The element type of a register tile."""
    return "float16" if native else "float32"


def widened(vector: Any, native: bool) -> Any:
    """A vector of float16 from memory as registers hold it."""
    return vector if native else tirx.Cast(_WIDE, vector)


def multiply_add(program: Program, a: Any, b: Any, c: Any, native: bool) -> tuple[list[Any], Any]:
    """Statements, and the expression of a·b + c rounded once to float16."""
    if native:
        return [], tirx.call_llvm_pure_intrin(f"float16x{LANES}", "llvm.fma", a, b, c)
    statements: list[Any] = []

    def named(expr: Any, dtype: str = _WIDE) -> Any:
        """Hidden from TVM's simplifier, to which a sum less its terms is zero."""
        other = _BITS if dtype == _WIDE else _WIDE
        var = tirx.Var(program.fresh("h"), other)
        statements.append(tirx.Bind(var, tirx.reinterpret(other, expr)))
        return tirx.reinterpret(dtype, var)

    product, c = named(a * b), named(c)
    total = named(c + product)
    of_product = named(total - c)
    rest = named(named(c - named(total - of_product)) + named(product - of_product))
    bits = tirx.reinterpret(_BITS, total)
    zero = tirx.Broadcast(tirx.const(0.0, "float32"), tirx.const(LANES, "int32"))
    signs = (tirx.bitwise_xor(bits, tirx.reinterpret(_BITS, rest))) >> numbers(31)  # of one sign: 0, else -1
    is_exact = tirx.Or(tirx.EQ(rest, zero), tirx.NE(bits & numbers(1), numbers(0)))
    is_exact = tirx.Or(is_exact, tirx.GT(bits & numbers(ABSOLUTE), numbers(LARGEST_BITS)))
    odd = named(tirx.reinterpret(_WIDE, bits + tirx.Select(is_exact, numbers(0), signs | numbers(1))))
    return statements, tirx.Cast(_WIDE, tirx.Cast(f"float16x{LANES}", odd))
