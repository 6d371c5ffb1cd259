# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""float32 exp, log, tanh, erf, sin, cos and their kin as polynomials that vectorize.

Each takes a TIR expression and `bind`, which names an intermediate so that it is computed once. `ULP_BOUNDS`
are the largest errors against float64 over all finite float32 (sines and cosines: below `FARTHEST_ANGLE`),
denormals included; they are tested on every vector width. Infinities and NaN are those of IEEE arithmetic.
Coefficients: exp, log, tanh, sin, cos after S. Moshier's Cephes (expf, logf, tanhf, sinf); erf the rational
approximation of degree 13/8 on [-4, 4] used by Eigen and XLA; erf_inv after M. Giles, "Approximating the
erfinv function" (2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

Bind = Callable[[Any], Any]

ULP_BOUNDS = {
    "exp": 1.0,
    "exp2": 1.0,
    "log": 1.0,
    "log1p": 3.0,
    "expm1": 3.0,
    "tanh": 2.0,
    "logistic": 3.0,
    "erf": 7.0,
    "erf_inv": 4.0,
    "sin": 2.0,
    "cos": 2.0,
    "sqrt": 0.5,
    "rsqrt": 2.0,
}
"""Units in the last place by which a result may differ from the real number."""
FARTHEST_ANGLE = 2.0**20
"""Sines and cosines of larger angles are NaN: neighbouring float32 numbers there lie 1/8 apart."""


def f32(value: float) -> Any:
    return tirx.const(value, "float32")


def i32(value: int) -> Any:
    return tirx.const(value, "int32")


def select(condition: Any, yes: Any, no: Any) -> Any:
    return tirx.Select(condition, yes, no)


def is_nan(x: Any) -> Any:
    return tirx.isnan(x)


def is_finite(x: Any) -> Any:
    return tirx.LT(tirx.abs(x), f32(float("inf")))


def copy_sign(size: Any, x: Any) -> Any:
    """A number that is not negative, with the sign of x."""
    sign = tirx.reinterpret("int32", x) & i32(-(2**31))
    return tirx.reinterpret("float32", tirx.reinterpret("int32", size) | sign)


def horner(x: Any, coefficients: Sequence[float], bind: Bind) -> Any:
    """Highest power first."""
    result = f32(coefficients[0])
    for c in coefficients[1:]:
        result = bind(result * x + f32(c))
    return result


def _power_of_two(n: Any) -> Any:
    """2^n for an int32 n in the exponent range of normal numbers."""
    return tirx.reinterpret("float32", (n + i32(127)) << i32(23))


def exp(x: Any, bind: Bind) -> Any:
    """e^x: n = round(x/ln 2), a polynomial on the rest, and 2^n in two exact factors."""
    limited = bind(tirx.max(tirx.min(x, f32(89.0)), f32(-104.0)))
    n = bind(tirx.floor(limited * f32(1.44269504088896341) + f32(0.5)))
    r = bind(limited - n * f32(0.693359375))
    r = bind(r - n * f32(-2.12194440e-4))
    return select(is_nan(x), x, _scaled_exp(r, n, bind))


def exp2(x: Any, bind: Bind) -> Any:
    """2^x: the integer nearest to x goes into the exponent, the rest through the polynomial of e^x."""
    limited = bind(tirx.max(tirx.min(x, f32(129.0)), f32(-151.0)))
    n = bind(tirx.floor(limited + f32(0.5)))
    r = bind((limited - n) * f32(0.693147180559945))
    return select(is_nan(x), x, _scaled_exp(r, n, bind))


def _scaled_exp(r: Any, n: Any, bind: Bind) -> Any:
    """e^r·2^n for |r| ≤ ln 2 / 2 and an integer n that may lie outside the exponents of normal numbers."""
    p = horner(
        r,
        (
            1.9875691500e-4,
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            5.0000001201e-1,
        ),
        bind,
    )
    p = bind(p * (r * r) + r)
    p = bind(p + f32(1.0))
    k = bind(tirx.Cast("int32", n))
    half = bind(k >> i32(1))
    return bind(p * _power_of_two(half) * _power_of_two(k - half))


def log(x: Any, bind: Bind) -> Any:
    """ln x: mantissa in [√½, √2), exponent from the bits; denormals are scaled first."""
    tiny = bind(tirx.LT(x, f32(1.17549435e-38)))
    scaled = bind(select(tiny, x * f32(8388608.0), x))
    bits = bind(tirx.reinterpret("int32", scaled))
    exponent = bind((bits >> i32(23)) - i32(126))
    mantissa = bind(tirx.reinterpret("float32", (bits & i32(0x007FFFFF)) | i32(0x3F000000)))
    low = bind(tirx.LT(mantissa, f32(0.707106781186547524)))
    m = bind(select(low, mantissa + mantissa, mantissa) - f32(1.0))
    e = bind(tirx.Cast("float32", exponent - select(low, i32(1), i32(0)) - select(tiny, i32(23), i32(0))))
    z = bind(m * m)
    p = horner(
        m,
        (
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ),
        bind,
    )
    y = bind(p * m * z)
    y = bind(y + e * f32(-2.12194440e-4))
    y = bind(y - f32(0.5) * z)
    result = bind(m + y)
    result = bind(result + e * f32(0.693359375))
    infinity = f32(float("inf"))
    result = select(tirx.EQ(x, infinity), infinity, result)
    result = select(tirx.EQ(x, f32(0.0)), -infinity, result)
    return select(tirx.Or(tirx.LT(x, f32(0.0)), is_nan(x)), f32(float("nan")), result)


def tanh(x: Any, bind: Bind) -> Any:
    """A polynomial below 0.625, else 1 - 2/(e^{2|x|} + 1) with the sign of x."""
    size = bind(tirx.max(x, -x))
    z = bind(x * x)
    p = horner(
        z, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1), bind
    )
    small = bind(p * z * x + x)
    grown = bind(exp(bind(size + size), bind))
    large = bind(f32(1.0) - f32(2.0) / (grown + f32(1.0)))
    signed = select(tirx.LT(x, f32(0.0)), -large, large)
    result = select(tirx.LT(size, f32(0.625)), small, signed)
    return select(is_nan(x), x, result)


def logistic(x: Any, bind: Bind) -> Any:
    """1/(1 + e^{-x}), with the exponential of -|x| only."""
    e = bind(exp(bind(-tirx.abs(x)), bind))
    return bind(select(tirx.LT(x, f32(0.0)), e, f32(1.0))) / (f32(1.0) + e)


def erf(x: Any, bind: Bind) -> Any:
    """x·P(x²)/Q(x²) on [-4, 4], ±1 beyond."""
    c = bind(tirx.max(tirx.min(x, f32(4.0)), f32(-4.0)))
    z = bind(c * c)
    p = horner(
        z,
        (
            -2.72614225801306e-10,
            2.77068142495902e-08,
            -2.10102402082508e-06,
            -5.69250639462346e-05,
            -7.34990630326855e-04,
            -2.95459980854025e-03,
            -1.60960333262415e-02,
        ),
        bind,
    )
    q = horner(
        z,
        (
            -1.45660718464996e-05,
            -2.13374055278905e-04,
            -1.68282697438203e-03,
            -7.37332916720468e-03,
            -1.42647390514189e-02,
        ),
        bind,
    )
    value = bind(c * bind(p / q))
    return select(is_nan(x), x, tirx.max(tirx.min(value, f32(1.0)), f32(-1.0)))


def _quadrant(x: Any, bind: Bind) -> tuple[Any, Any]:
    """(k, r) with x = k·π/2 + r, in float64 with a two-part π/2 whose first part has 33 bits (fdlibm)."""

    def f64(value: float) -> Any:
        return tirx.const(value, "float64")

    wide = bind(tirx.Cast("float64", x))
    k = bind(tirx.floor(wide * f64(0.6366197723675814) + f64(0.5)))
    r = bind(wide - k * f64(1.57079632673412561417e00))
    r = bind(r - k * f64(6.07710050650619224932e-11))
    return bind(tirx.Cast("int32", k)), bind(tirx.Cast("float32", r))


def _sine_or_cosine(x: Any, shift: int, bind: Bind) -> Any:
    near = bind(tirx.LT(tirx.abs(x), f32(FARTHEST_ANGLE)))
    k, r = _quadrant(bind(select(near, x, f32(0.0))), bind)
    quadrant = bind((k + i32(shift)) & i32(3))
    z = bind(r * r)
    sine = bind(horner(z, (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1), bind) * z * r + r)
    cosine = horner(z, (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2), bind)
    cosine = bind(cosine * (z * z) - f32(0.5) * z + f32(1.0))
    value = bind(select(tirx.EQ(quadrant & i32(1), i32(0)), sine, cosine))
    value = bind(select(tirx.GE(quadrant, i32(2)), -value, value))
    return select(near, value, f32(float("nan")))


def erf_inv(x: Any, bind: Bind) -> Any:
    """x·P(w) with w = -ln((1 - x)(1 + x)), one polynomial below 5, one in √w above; ±1 gives ±infinity."""
    w = bind(-bind(log(bind((f32(1.0) - x) * (f32(1.0) + x)), bind)))
    near = bind(tirx.LT(w, f32(5.0)))
    t = bind(select(near, w - f32(2.5), tirx.sqrt(w) - f32(3.0)))
    result = select(near, f32(_ERF_INV_NEAR[0]), f32(_ERF_INV_FAR[0]))
    for low, high in zip(_ERF_INV_NEAR[1:], _ERF_INV_FAR[1:], strict=True):
        result = bind(select(near, f32(low), f32(high)) + bind(result) * t)
    edge = tirx.EQ(bind(tirx.max(x, -x)), f32(1.0))
    return select(edge, x * f32(float("inf")), result * x)


_ERF_INV_NEAR = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_ERF_INV_FAR = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def sin(x: Any, bind: Bind) -> Any:
    """The sine; of zero it is that zero."""
    return select(tirx.EQ(x, f32(0.0)), x, _sine_or_cosine(x, 0, bind))


def cos(x: Any, bind: Bind) -> Any:
    return _sine_or_cosine(x, 1, bind)


def expm1(x: Any, bind: Bind) -> Any:
    """e^x - 1 without cancellation (Kahan): (u - 1)·(x/ln u) with u = e^x."""
    u = bind(exp(x, bind))
    less = bind(u - f32(1.0))
    ratio = bind(less * bind(x / bind(log(u, bind))))
    result = select(tirx.EQ(u, f32(1.0)), x, ratio)
    result = select(tirx.EQ(less, f32(-1.0)), f32(-1.0), result)
    result = select(tirx.EQ(u, f32(float("inf"))), u, result)
    return select(is_nan(x), x, result)


def log1p(x: Any, bind: Bind) -> Any:
    """ln(1 + x) without cancellation (Kahan): ln u·(x/(u - 1)) with u = 1 + x."""
    u = bind(f32(1.0) + x)
    less = bind(u - f32(1.0))
    ratio = bind(bind(log(u, bind)) * bind(x / less))
    result = select(tirx.EQ(less, f32(0.0)), x, ratio)
    return select(tirx.EQ(u, f32(float("inf"))), u, result)
