# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownLambdaType=false
"""Element-wise operation → scalar TIR expression. A bool is a TIR bool here and one byte in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from daypack.compiler.graph import Node
from daypack.compiler.kernels import mathematics as m
from daypack.errors import TraceError

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
    return node.op in LIBM or (node.op == "rem" and node.output.dtype.startswith("float"))


def expression(node: Node, args: Sequence[Any], bind: Bind) -> Any:
    """The node's result, a tuple where it has several outputs.

    Raises:
        TraceError: no kernel rule for the operation, named with its type and source line.
    """
    if node.op in LIBM:
        cast = [tirx.Cast("float32", a) if a.ty.dtype != "float32" else a for a in args]
        return tirx.call_pure_extern("float32", LIBM[node.op], *cast)
    rule = RULES.get(node.op)
    if rule is None:
        raise TraceError(f"no kernel computes {node.op!r} on {node.output.dtype} (made at {node.source})")
    return rule(node, args, bind)


def _is_float(node: Node) -> bool:
    return node.inputs[0].dtype in ("float32", "float16", "bfloat16")


def constant(value: Any, dtype: str) -> Any:
    return tirx.const(bool(value), "bool") if dtype == "bool" else tirx.const(value, dtype)


def maximum(a: Any, b: Any, is_float: bool) -> Any:
    """The larger; NaN if either is NaN."""
    if not is_float:
        return tirx.max(a, b)
    return tirx.Select(tirx.Or(tirx.GT(a, b), tirx.NE(a, a)), a, b)


def minimum(a: Any, b: Any, is_float: bool) -> Any:
    """The smaller; NaN if either is NaN."""
    if not is_float:
        return tirx.min(a, b)
    return tirx.Select(tirx.Or(tirx.LT(a, b), tirx.NE(a, a)), a, b)


def _logical(bitwise: Callable[[Any, Any], Any], boolean: Callable[[Any, Any], Any]) -> Rule:
    return lambda node, a, bind: boolean(*a) if node.output.dtype == "bool" else bitwise(*a)


def _compare(operator: Callable[[Any, Any], Any]) -> Rule:
    def rule(node: Node, a: Sequence[Any], bind: Bind) -> Any:
        if node.inputs[0].dtype == "bool":
            a = [tirx.Cast("int32", x) for x in a]
        return operator(*a)

    return rule


def _div(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    if _is_float(node):
        return tirx.Div(*a)
    safe = tirx.Select(tirx.EQ(a[1], constant(0, node.output.dtype)), constant(1, node.output.dtype), a[1])
    return tirx.truncdiv(a[0], safe)


def _rem(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    if _is_float(node):
        return tirx.call_pure_extern("float32", "fmodf", *a)
    safe = tirx.Select(tirx.EQ(a[1], constant(0, node.output.dtype)), constant(1, node.output.dtype), a[1])
    return tirx.truncmod(a[0], safe)


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
        return tirx.NE(x, constant(0, source))
    if source == "bool":
        return tirx.Select(x, constant(1, target), constant(0, target))
    if source == "float32" and target in ("int32", "uint32"):
        low, high = (-2147483648.0, 2147483520.0) if target == "int32" else (0.0, 4294967040.0)
        inside = bind(tirx.max(tirx.min(x, m.f32(high)), m.f32(low)))
        return tirx.Select(m.is_nan(x), constant(0, target), tirx.Cast(target, inside))
    return tirx.Cast(target, x)


def _round(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    return tirx.nearbyint(a[0]) if node.attrs["to_even"] else tirx.round(a[0])


def _sign(node: Node, a: Sequence[Any], bind: Bind) -> Any:
    (x,), dtype = a, node.output.dtype
    zero = constant(0, dtype)
    negative = tirx.Select(tirx.LT(x, zero), constant(-1, dtype) if dtype != "uint32" else zero, x)
    return tirx.Select(tirx.GT(x, zero), constant(1, dtype), negative)


def _shift(left: bool, logical: bool) -> Rule:
    def rule(node: Node, a: Sequence[Any], bind: Bind) -> Any:
        dtype = node.output.dtype
        x, n = tirx.Cast("uint32", a[0]) if logical else a[0], a[1]
        last = constant(31, dtype)
        over = (
            tirx.Or(tirx.GT(n, last), tirx.LT(n, constant(0, dtype)))
            if dtype == "int32"
            else tirx.GT(n, last)
        )
        n = tirx.Cast("uint32" if logical else dtype, tirx.Select(over, last, n))
        shifted = x << n if left else x >> n
        if not logical:
            return shifted
        return tirx.Select(over, constant(0, dtype), tirx.Cast(dtype, shifted))

    return rule


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
    "exp2": lambda node, a, bind: m.exp(bind(a[0] * m.f32(0.693147180559945)), bind),
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
    "abs": lambda node, a, bind: a[0] if node.output.dtype == "uint32" else tirx.abs(a[0]),
    "sign": _sign,
    "floor": lambda node, a, bind: tirx.floor(a[0]),
    "ceil": lambda node, a, bind: tirx.ceil(a[0]),
    "round": _round,
    "is_finite": lambda node, a, bind: tirx.EQ(a[0] - a[0], constant(0, node.inputs[0].dtype)),
    "not": lambda node, a, bind: tirx.Not(a[0]) if node.output.dtype == "bool" else ~a[0],
    "square": lambda node, a, bind: a[0] * a[0],
    "integer_pow": _integer_pow,
    "convert_element_type": _convert,
    "bitcast_convert_type": lambda node, a, bind: tirx.reinterpret(node.output.dtype, a[0]),
    "add": lambda node, a, bind: a[0] + a[1],
    "sub": lambda node, a, bind: a[0] - a[1],
    "mul": lambda node, a, bind: a[0] * a[1],
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
    "eq": _compare(tirx.EQ),
    "ne": _compare(tirx.NE),
    "lt": _compare(tirx.LT),
    "le": _compare(tirx.LE),
    "gt": _compare(tirx.GT),
    "ge": _compare(tirx.GE),
    "select_n": _select,
    "clamp": lambda node, a, bind: minimum(
        bind(maximum(a[1], a[0], node.output.dtype.startswith("f"))), a[2], node.output.dtype.startswith("f")
    ),
    "threefry2x32": _threefry,
}
