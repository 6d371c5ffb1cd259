"""Element-wise operations: operands have the result's shape or rank 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node, numpy_dtype
from daypack.compiler.reference.rule import Array, Rule, is_real


def _f32(function: Callable[..., Any]) -> Rule:
    """A numpy function evaluated in float64 and rounded once: the closest float32 there is."""

    def rule(node: Node, arrays: Sequence[Array]) -> Any:
        return function(*(np.asarray(a, np.float64) for a in arrays))

    return rule


def _plain(function: Callable[..., Any]) -> Rule:
    return lambda node, arrays: function(*arrays)


def _div(node: Node, arrays: Sequence[Array]) -> Any:
    """Integers round towards zero; x / 0 has every bit set, and the most negative number / -1 is itself."""
    a, b = arrays
    if is_real(a):
        return a / b
    quotient, _ = _quotient(a, b)
    return np.where(b == 0, -1, quotient).astype(a.dtype)


def _rem(node: Node, arrays: Sequence[Array]) -> Any:
    """The remainder has the sign of the first operand; x rem 0 is x."""
    a, b = arrays
    if is_real(a):
        return np.fmod(a, b)
    _, rest = _quotient(a, b)
    return np.where(b == 0, a, rest).astype(a.dtype)


def _quotient(a: Array, b: Array) -> tuple[Array, Array]:
    """(quotient, remainder) in int64, rounding towards zero; where b is 0 both are meaningless."""
    wide, divisor = a.astype(np.int64), np.where(b == 0, 1, b.astype(np.int64))
    quotient = np.sign(wide) * np.sign(divisor) * (np.abs(wide) // np.abs(divisor))
    return quotient, wide - quotient * divisor


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _erfc(x: Array) -> Array:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def _erf_inv(x: Array) -> Array:
    """Newton's method on erf from Winitzki's approximation; ±1 gives ±infinity, beyond is NaN."""
    inside = np.clip(x, -1 + 2.0**-53, 1 - 2.0**-53)
    log = np.log1p(-inside * inside)
    half = 2 / (np.pi * 0.147) + log / 2
    y = np.sign(inside) * np.sqrt(np.sqrt(half * half - log / 0.147) - half)
    for _ in range(4):
        y = y - (_erf(y) - inside) * np.sqrt(np.pi) / 2 * np.exp(y * y)
    return np.where(np.abs(x) < 1, y, np.where(np.abs(x) == 1, np.copysign(np.inf, x), np.nan))


def _lgamma(x: Array) -> Array:
    """log |gamma(x)|; the poles (0, -1, …) and ±infinity give infinity."""

    def one(v: float) -> float:
        pole = math.isinf(v) or (v <= 0 and v == math.floor(v))
        return math.inf if pole else math.lgamma(v)

    return np.vectorize(one, otypes=[np.float64])(x)


def _sign(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    return np.where(a == 0, a, np.sign(a))


def _clz(node: Node, arrays: Sequence[Array]) -> Any:
    """How many zero bits stand before the first one."""
    (a,) = arrays
    bits = 8 * a.dtype.itemsize
    unsigned = a.view(np.dtype(f"u{a.dtype.itemsize}"))
    return sum((unsigned < (np.uint64(1) << np.uint64(n))).astype(a.dtype) for n in range(bits))


def _select(node: Node, arrays: Sequence[Array]) -> Any:
    which, *cases = arrays
    shape = node.output.shape
    cases = [np.broadcast_to(c, shape) for c in cases]
    which = np.broadcast_to(which, shape).astype(np.int64)
    result = cases[-1].copy()
    for number, case in enumerate(cases[:-1]):
        result = np.where(which == number, case, result)
    return result


def _shift(function: Callable[[Array, Array], Array], signed: bool) -> Rule:
    """A shift by the word's width or more (or by less than 0) leaves nothing but copies of the sign, or
    zeros."""

    def rule(node: Node, arrays: Sequence[Array]) -> Any:
        a, b = arrays
        width = a.dtype.itemsize
        places, last = b.view(np.dtype(f"u{width}")), 8 * width - 1
        work = a.view(np.dtype(f"{'i' if signed else 'u'}{width}"))
        shifted = function(work, np.minimum(places, last).astype(work.dtype))
        if not signed:
            shifted = np.where(places > last, np.zeros_like(shifted), shifted)
        return shifted.view(a.dtype)

    return rule


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(node: Node, arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011), as JAX defines its keys and counters."""
    shape = node.outputs[0].shape
    k0, k1, x0, x1 = (np.broadcast_to(a, shape).astype(np.uint32) for a in arrays)
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    x0, x1 = x0 + k0, x1 + k1
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
            x1 = x0 ^ x1
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _convert(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    target = numpy_dtype(node.output.dtype)
    if target.kind in "iu" and is_real(a):
        info = np.iinfo(target)
        clipped = np.clip(np.nan_to_num(a.astype(np.float64), nan=0.0), info.min, info.max)
        return clipped.astype(np.int64).astype(target)
    return a.astype(target)


def _bitcast(node: Node, arrays: Sequence[Array]) -> Any:
    return np.ascontiguousarray(arrays[0]).view(numpy_dtype(node.output.dtype))


def _integer_pow(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    return (a.astype(np.float64) if is_real(a) else a) ** node.attrs["y"]


def _round(node: Node, arrays: Sequence[Array]) -> Any:
    (a,) = arrays
    if node.attrs["to_even"]:
        return np.rint(a)
    wide = a.astype(np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide)


def _clamp(node: Node, arrays: Sequence[Array]) -> Any:
    low, x, high = arrays
    return np.minimum(np.maximum(x, low), high)


RULES: dict[str, Rule] = {
    "neg": _plain(np.negative),
    "exp": _f32(np.exp),
    "exp2": _f32(np.exp2),
    "log": _f32(np.log),
    "log1p": _f32(np.log1p),
    "expm1": _f32(np.expm1),
    "tanh": _f32(np.tanh),
    "logistic": _f32(_logistic),
    "sqrt": _plain(np.sqrt),
    "rsqrt": _f32(_rsqrt),
    "cbrt": _f32(np.cbrt),
    "sin": _f32(np.sin),
    "cos": _f32(np.cos),
    "tan": _f32(np.tan),
    "asin": _f32(np.arcsin),
    "acos": _f32(np.arccos),
    "atan": _f32(np.arctan),
    "sinh": _f32(np.sinh),
    "cosh": _f32(np.cosh),
    "asinh": _f32(np.arcsinh),
    "acosh": _f32(np.arccosh),
    "atanh": _f32(np.arctanh),
    "abs": _plain(np.abs),
    "sign": _sign,
    "floor": _plain(np.floor),
    "ceil": _plain(np.ceil),
    "round": _round,
    "erf": _f32(_erf),
    "erfc": _f32(_erfc),
    "erf_inv": _f32(_erf_inv),
    "lgamma": _f32(_lgamma),
    "is_finite": _plain(np.isfinite),
    "not": _plain(np.invert),
    "store": _plain(np.asarray),
    "square": _plain(np.square),
    "integer_pow": _integer_pow,
    "convert_element_type": _convert,
    "bitcast_convert_type": _bitcast,
    "clz": _clz,
    "population_count": _plain(np.bitwise_count),
    "add": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _div,
    "rem": _rem,
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "pow": _f32(np.power),
    "atan2": _f32(np.arctan2),
    "nextafter": _plain(np.nextafter),
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "shift_left": _shift(np.left_shift, signed=False),
    "shift_right_logical": _shift(np.right_shift, signed=False),
    "shift_right_arithmetic": _shift(np.right_shift, signed=True),
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "gt": _plain(np.greater),
    "ge": _plain(np.greater_equal),
    "select_n": _select,
    "clamp": _clamp,
    "threefry2x32": _threefry,
}
