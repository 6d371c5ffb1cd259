# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""How an element type is held: in memory, in a register, and what lies between.

| type | in memory | in a register |
|---|---|---|
| bool | one byte, 0 or 1 | a TIR bool |
| bfloat16 | its 16 bits | the float32 of the same value |
| float16 | float16 | the float32 of the same value |
| others | itself | itself |

Arithmetic on the 16-bit types is float32 arithmetic rounded after every operation, which for + - * / and the
square root is the correctly rounded result (float32 has more than twice their digits). TVM's own bfloat16 is
not used: its code generator ends the process on it.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_ffi import structural_equal

HALVES = ("float16", "bfloat16")
_MEMORY = {"bool": "uint8", "bfloat16": "uint16"}


def memory_dtype(dtype: str) -> str:
    """The element type of a value in the arena."""
    return _MEMORY.get(dtype, dtype)


def register_dtype(dtype: str) -> str:
    """The element type in which a value is computed with."""
    return "float32" if dtype in HALVES else dtype


def dtype_of(expr: Any) -> str:
    """The element type of a TIR expression."""
    return str(expr.ty.dtype)


def constant(value: Any, dtype: str) -> Any:
    """A number as a register holds it."""
    return tirx.const(bool(value), "bool") if dtype == "bool" else tirx.const(value, register_dtype(dtype))


def flag(raw: Any) -> Any:
    """The bool that a number stands for; `raw` is used once."""
    return tirx.NE(raw, tirx.const(0, dtype_of(raw)))


def opaque(x: Any) -> Any:
    """A float32 that TVM's simplifier cannot see through.

    The simplifier calculates with real numbers: to it x - x and 0·x are 0 and x != x is false. LLVM, which
    gets the expression afterwards, keeps to IEEE arithmetic.
    """
    return tirx.reinterpret("float32", tirx.reinterpret("int32", x))


def same(a: Any, b: Any) -> bool:
    """Whether two expressions are one to TVM's simplifier."""
    return bool(structural_equal(a, b))


def to_register(raw: Any, dtype: str) -> Any:
    """An element of memory as a register holds it; `raw` is used once."""
    if dtype == "bool":
        return flag(raw)
    if dtype == "bfloat16":
        return tirx.reinterpret("float32", tirx.Cast("uint32", raw) << tirx.const(16, "uint32"))
    return tirx.Cast("float32", raw) if dtype == "float16" else raw


def to_memory(expr: Any, dtype: str) -> Any:
    """A register as memory holds it; `expr` is a name, or short."""
    if dtype == "bool":
        return tirx.Select(expr, tirx.const(1, "uint8"), tirx.const(0, "uint8"))
    if dtype == "bfloat16":
        return tirx.Cast("uint16", _bfloat16_bits(expr) >> tirx.const(16, "uint32"))
    return tirx.Cast("float16", expr) if dtype == "float16" else expr


def rounded(expr: Any, dtype: str) -> Any:
    """A float32 result as the nearest number of a 16-bit type; `expr` is a name. Other types stay."""
    if dtype == "bfloat16":
        kept = _bfloat16_bits(expr) & tirx.const(0xFFFF0000, "uint32")
        return tirx.reinterpret("float32", kept)
    return tirx.Cast("float32", tirx.Cast("float16", expr)) if dtype == "float16" else expr


def _bfloat16_bits(expr: Any) -> Any:
    """Bits whose upper half is the nearest bfloat16, ties to even; a NaN stays one."""

    def u32(value: int) -> Any:
        return tirx.const(value, "uint32")

    bits = tirx.reinterpret("uint32", expr)
    up = bits + u32(0x7FFF) + ((bits >> u32(16)) & u32(1))
    return tirx.Select(tirx.isnan(expr), bits | u32(0x00400000), up)
