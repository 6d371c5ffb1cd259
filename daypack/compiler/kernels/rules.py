# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownLambdaType=false
"""Element-wise operation → TIR expression of one element, on operands as registers hold them (`types.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import tirx

from daypack.compiler.graph import Node
from daypack.compiler.kernels import mathematics as m
from daypack.compiler.kernels.types import HALVES, constant, dtype_of, opaque, register_dtype, same
from daypack.errors import NoKernel

Bind = Callable[[Any], Any]
Rule = Callable[[Node, Sequence[Any], Bind], Any]

LIBM = {
    "pow": "powf",
    "atan2": "atan2f",
    "nextafter": "nextafterf",
    "cbrt": "cbrtf",
    "tan": "tanf",
    "asin": "asinf",
    "acos": "acosf",
    "atan": "atanf",
    "sinh": "sinhf",
    "cosh": "coshf",
    "asinh": "asinhf",
    "acosh": "acoshf",
    "atanh": "atanhf",
    "erfc": "erfcf",
    "lgamma": "lgammaf",
}
"""Rare functions that call the C library, one element at a time."""


def calls_libm(node: Node) -> bool:
    """Whether a node's kernel must run one element at a time because it calls the C library."""
    return node.op in LIBM or (node.op == "rem" and _is_float(node))


def expression(node: Node, args: Sequence[Any], bind: Bind) -> Any:
    """The node's result, a tuple where it has several outputs.

    Raises:
        NoKernel: no kernel rule for the operation, named with its type.
    """
    if node.op in LIBM:
        cast = [tirx.Cast("float32", a) if dtype_of(a) != "float32" else a for a in args]
        return tirx.call_pure_extern("float32", LIBM[node.op], *cast)
    rule = RULES.get(node.op)
    if rule is None:
        raise NoKernel(f"no kernel computes {node.op!r} on {node.output.dtype}")
    return rule(node, args, bind)


def _is_float(node: Node) -> bool:
    return register_dtype(node.inputs[0].dtype) == "float32"


def maximum(a: Any, b: Any, is_float: bool) -> Any:
    """The larger; NaN if either is NaN."""
    if not is_float:
        return tirx.max(a, b)
    return tirx.Select(tirx.Or(tirx.GT(a, b), tirx.isnan(a)), a, b)


def minimum(a: Any, b: Any, is_float: bool) -> Any:
    """The smaller; NaN if either is NaN."""
    if not is_float:
        return tirx.min(a, b)
    return tirx.Select(tirx.Or(tirx.LT(a, b), tirx.isnan(a)), a, b)


def _logical(bitwise: Callable[[Any, Any], Any], boolean: Callable[[Any, Any], Any]) -> Rule:
    return lambda node, a, bind: boolean(*a) if node.output.dtype == "bool" else bitwise(*a)


def _compare(operator: Callable[[Any, Any], Any]) -> Rule:
    def rule(node: Node, a: Sequence[Any], bind: Bind) -> Any:
        if node.inputs[0].dtype == "bool":
            a = [tirx.Cast("int32", x) for x in a]
        return operator(*a)

    return rule


def _equal(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """NaN equals nothing, itself included."""
    if _is_float(node) and same(*a):
        return tirx.Not(tirx.isnan(a[0]))
    return _compare(tirx.EQ)(node, a, bind)


def _unequal(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """The opposite of equal (TVM's own != is false where an operand is NaN)."""
    return tirx.Not(bind(_equal(node, a, bind))) if _is_float(node) else _compare(tirx.NE)(node, a, bind)


def _ordered(operator: Callable[[Any, Any], Any]) -> Rule:
    """`<=` or `>=`."""

    def rule(node: Node, a: Sequence[Any], bind: Bind) -> Any:
        if _is_float(node) and same(*a):
            return tirx.Not(tirx.isnan(a[0]))
        return _compare(operator)(node, a, bind)

    return rule


def _mul(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """0·x is NaN where x is no finite number."""
    left, right = (opaque(x) if isinstance(x, tirx.FloatImm) and x.value == 0.0 else x for x in a)
    return tirx.And(left, right) if node.output.dtype == "bool" else left * right


def _sub(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """x - x is NaN where x is no finite number."""
    return a[0] - opaque(a[1]) if _is_float(node) and same(*a) else a[0] - a[1]


def _div(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """Integers round towards zero; x / 0 has every bit set, and the most negative number / -1 is itself."""
    if _is_float(node):
        return tirx.Div(*a)
    zero, divisor = _divisor(node, a, bind)
    ones = constant(
        -1 if node.output.dtype.startswith("int") else _bounds(node.output.dtype)[1], node.output.dtype
    )
    return tirx.Select(zero, ones, tirx.truncdiv(a[0], divisor))


def _rem(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """The remainder has the sign of the first operand; x rem 0 is x."""
    if _is_float(node):
        return tirx.call_pure_extern("float32", "fmodf", *a)
    zero, divisor = _divisor(node, a, bind)
    return tirx.Select(zero, a[0], tirx.truncmod(a[0], divisor))


def _divisor(node: Node, a: Sequence[Any], bind: Bind) -> tuple[Any, Any]:
    """(whether it is zero, a divisor for which the processor's division is defined)."""
    x, y = a
    dtype = node.output.dtype
    zero = tirx.EQ(y, constant(0, dtype))
    unsafe = zero
    if dtype.startswith("int"):
        lowest = tirx.EQ(x, constant(_bounds(dtype)[0], dtype))
        unsafe = tirx.Or(zero, tirx.And(lowest, tirx.EQ(y, constant(-1, dtype))))
    return zero, bind(tirx.Select(unsafe, constant(1, dtype), y))


def _bounds(dtype: str) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _integer_pow(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    (x,), y = a, node.attrs["y"]
    one = constant(1, node.output.dtype)
    result, square, n = None, x, abs(y)
    while n:
        if n & 1:
            result = square if result is None else bind(result * square)
        n >>= 1
        if n:
            square = bind(square * square)
    if result is None:
        return one
    return one / result if y < 0 else result


def _select(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    which, *cases = a
    if node.inputs[0].dtype == "bool":
        return tirx.Select(which, cases[1], cases[0])
    result = cases[-1]
    for number in range(len(cases) - 2, -1, -1):
        result = tirx.Select(tirx.EQ(which, tirx.const(number, "int32")), cases[number], result)
    return result


def _convert(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    (x,) = a
    source, target = node.inputs[0].dtype, node.output.dtype
    if source == target:
        return x
    if target == "bool":
        return tirx.Not(bind(tirx.EQ(x, constant(0, source))))
    if source == "bool":
        return tirx.Select(x, constant(1, target), constant(0, target))
    if register_dtype(source) == "float32":
        return x if target in HALVES or target == "float32" else _to_integer(x, target, bind)
    return tirx.Cast(register_dtype(target), x)


def _to_integer(x: Any, target: str, bind: Bind) -> Any:
    """A float32 rounded towards zero, limited to the type's range; NaN is 0."""
    low, high = _bounds(target)
    largest = float(np.nextafter(np.float32(high + 1), np.float32(0)))
    inside = bind(tirx.max(tirx.min(x, m.f32(largest)), m.f32(float(low))))
    limited = tirx.Select(tirx.GT(x, m.f32(largest)), constant(high, target), tirx.Cast(target, inside))
    return tirx.Select(m.is_nan(x), constant(0, target), limited)


def _round(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """To the nearest integer, halves to the even one or away from zero. (TVM's `round` is `nearbyint`.)"""
    (x,) = a
    if node.attrs["to_even"]:
        return tirx.nearbyint(x)
    size = bind(tirx.abs(x))
    low = bind(tirx.floor(size))
    nearest = bind(tirx.Select(tirx.GE(size - low, m.f32(0.5)), low + m.f32(1.0), low))
    return m.copy_sign(nearest, x)


def _sign(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    (x,), dtype = a, node.output.dtype
    zero = constant(0, dtype)
    negative = x if dtype.startswith("uint") else tirx.Select(tirx.LT(x, zero), constant(-1, dtype), x)
    return tirx.Select(tirx.GT(x, zero), constant(1, dtype), negative)


def _shift(left: bool, logical: bool) -> Rule:
    """A shift by the word's width or more (or by less than 0) leaves copies of the sign, or zeros."""

    def rule(node: Node, a: Sequence[Any], bind: Bind) -> Any:
        dtype = node.output.dtype
        bits = np.iinfo(dtype).bits
        unsigned = f"uint{bits}"
        places = bind(_as_type(unsigned, a[1]))
        last = constant(bits - 1, unsigned)
        work = unsigned if logical else f"int{bits}"
        x = _as_type(work, a[0])
        n = _as_type(work, tirx.min(places, last))
        shifted = _as_type(dtype, x << n if left else x >> n)
        return tirx.Select(tirx.GT(places, last), constant(0, dtype), shifted) if logical else shifted

    return rule


def _as_type(dtype: str, x: Any) -> Any:
    """The same bits as another integer type."""
    return x if dtype_of(x) == dtype else tirx.Cast(dtype, x)


def _clz(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    """How many zero bits stand before the first one: every bit below the first is set, the rest counted."""
    dtype = node.output.dtype
    bits = np.iinfo(dtype).bits
    unsigned = f"uint{bits}"
    x = bind(_as_type(unsigned, a[0]))
    for places in (1, 2, 4, 8, 16):
        if places < bits:
            x = bind(x | (x >> constant(places, unsigned)))
    return _as_type(dtype, constant(bits, unsigned) - tirx.popcount(x))


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(node: Node, a: Sequence[Any], bind: Bind) -> tuple[Any, Any]:
    """Threefry-2x32, 20 rounds (Salmon et al. 2011)."""

    def u32(value: int) -> Any:
        return tirx.const(value, "uint32")

    k0, k1, x0, x1 = a
    keys = (k0, k1, bind(k0 ^ k1 ^ u32(0x1BD11BDA)))
    x0, x1 = bind(x0 + k0), bind(x1 + k1)
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = bind(x0 + x1)
            x1 = bind((x1 << u32(rotation)) | (x1 >> u32(32 - rotation)))
            x1 = bind(x0 ^ x1)
        x0 = bind(x0 + keys[(group + 1) % 3])
        x1 = bind(x1 + keys[(group + 2) % 3] + u32(group + 1))
    return x0, x1


def _unary(function: Callable[[Any, Bind], Any]) -> Rule:
    return lambda node, a, bind: function(a[0], bind)


RULES: dict[str, Rule] = {
    "neg": lambda node, a, bind: -a[0],
    "exp": _unary(m.exp),
    "exp2": _unary(m.exp2),
    "log": _unary(m.log),
    "log1p": _unary(m.log1p),
    "expm1": _unary(m.expm1),
    "tanh": _unary(m.tanh),
    "logistic": _unary(m.logistic),
    "erf": _unary(m.erf),
    "sin": _unary(m.sin),
    "cos": _unary(m.cos),
    "sqrt": lambda node, a, bind: tirx.sqrt(a[0]),
    "rsqrt": lambda node, a, bind: m.f32(1.0) / bind(tirx.sqrt(a[0])),
    "abs": lambda node, a, bind: a[0] if node.output.dtype.startswith("uint") else tirx.abs(a[0]),
    "sign": _sign,
    "floor": lambda node, a, bind: tirx.floor(a[0]),
    "ceil": lambda node, a, bind: tirx.ceil(a[0]),
    "round": _round,
    "is_finite": lambda node, a, bind: m.is_finite(a[0]),
    "erf_inv": _unary(m.erf_inv),
    "population_count": lambda node, a, bind: tirx.popcount(a[0]),
    "clz": _clz,
    "not": lambda node, a, bind: tirx.Not(a[0]) if node.output.dtype == "bool" else ~a[0],
    "store": lambda node, a, bind: a[0],
    "square": lambda node, a, bind: a[0] * a[0],
    "integer_pow": _integer_pow,
    "convert_element_type": _convert,
    "bitcast_convert_type": lambda node, a, bind: tirx.reinterpret(node.output.dtype, a[0]),
    "add": lambda node, a, bind: a[0] + a[1],
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "rem": _rem,
    "max": lambda node, a, bind: maximum(a[0], a[1], _is_float(node)),
    "min": lambda node, a, bind: minimum(a[0], a[1], _is_float(node)),
    "and": _logical(tirx.bitwise_and, tirx.And),
    "or": _logical(tirx.bitwise_or, tirx.Or),
    "xor": _logical(
        tirx.bitwise_xor, lambda a, b: tirx.Or(tirx.And(a, tirx.Not(b)), tirx.And(b, tirx.Not(a)))
    ),
    "shift_left": _shift(left=True, logical=True),
    "shift_right_logical": _shift(left=False, logical=True),
    "shift_right_arithmetic": _shift(left=False, logical=False),
    "eq": _equal,
    "ne": _unequal,
    "lt": _compare(tirx.LT),
    "le": _ordered(tirx.LE),
    "gt": _compare(tirx.GT),
    "ge": _ordered(tirx.GE),
    "select_n": _select,
    "clamp": lambda node, a, bind: minimum(bind(maximum(a[1], a[0], _is_float(node))), a[2], _is_float(node)),
    "threefry2x32": _threefry,
}
