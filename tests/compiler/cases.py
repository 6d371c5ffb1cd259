"""One small JAX function an operation: what the tracer, the interpreter and the kernels are compared on.

`CASES` covers every operation of `ops.ALL` (a test sees to that). A new operation adds a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax

Array = np.ndarray[Any, Any]
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, np.inf, -np.inf, np.nan, 1e-30, 1e30)


@dataclass(frozen=True)
class Case:
    """A function of arrays, its operands, the operations its graph must hold, and the error allowed.

    `rtol` and `atol` bound interpreter and kernel against `jax.jit`; zero means the same bits (NaN equals
    NaN).
    """

    name: str
    ops: tuple[str, ...]
    function: Callable[..., Any]
    arrays: tuple[Array, ...]
    rtol: float = 0.0
    atol: float = 0.0

    def __str__(self) -> str:
        return self.name


def random(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def special(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32 that starts with infinities, NaN, zeros and halves."""
    array = 3 * random(*shape, seed=seed)
    array.reshape(-1)[: len(SPECIAL)] = SPECIAL
    return array


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> Array:
    """Evenly spread float32 in [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def integers(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int32, seed: int = 0) -> Array:
    """Random integers in [low, high)."""
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype)


def wide(*shape: int, dtype: Any = np.int32, seed: int = 0) -> Array:
    """Integers over the whole range of a type, its ends and zero among them."""
    info = np.iinfo(dtype)
    array = np.random.default_rng(seed).integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    array.reshape(-1)[:6] = np.array([0, 1, info.min, info.max, 2, info.max - 1], np.int64).astype(dtype)
    return array


def booleans(*shape: int, seed: int = 0) -> Array:
    """Random booleans."""
    return np.random.default_rng(seed).random(shape) < 0.5


def _case(op: str, function: Callable[..., Any], *arrays: Any, **options: Any) -> Case:
    label = options.pop("label", "")
    more = options.pop("more", ())
    name = f"{op} {label}".strip()
    return Case(name, (op, *more), function, tuple(np.asarray(a) for a in arrays), **options)


N = (3, 7)
X, Y = special(*N), special(*N, seed=1)
ANGLES = np.where(np.abs(X) > 1e6, np.float32(1e5), X)
I32, U32 = wide(*N), wide(*N, dtype=np.uint32)
BOOL, BOOL2 = booleans(*N), booleans(*N, seed=1)
CLOSE: dict[str, float] = {"rtol": 1e-6}


def _elementwise() -> list[Case]:
    exact = {"neg": lax.neg, "abs": lax.abs, "sign": lax.sign, "floor": lax.floor, "ceil": lax.ceil}
    exact |= {"sqrt": lax.sqrt, "square": lax.square, "is_finite": lax.is_finite}
    cases = [_case(op, f, X) for op, f in exact.items() if op != "sqrt"]
    cases += [_case("sqrt", lax.sqrt, X, **CLOSE)]
    cases += [_case(op, exact[op], I32, label="int32") for op in ("neg", "abs", "sign", "square")]
    cases += [_case("sign", lax.sign, U32, label="uint32")]
    nearest = lax.RoundingMethod.TO_NEAREST_EVEN
    halves = np.concatenate([X.ravel(), [0.49999997, -0.49999997, 8388609.0, 1.5, 2.5]]).astype(np.float32)
    cases += [
        _case("round", lambda x: lax.round(x), halves, label="away from zero"),
        _case("round", lambda x: lax.round(x, nearest), halves, label="to even"),
    ]
    close: dict[str, tuple[Any, Array]] = {
        "exp": (lax.exp, X),
        "exp2": (lax.exp2, X),
        "log": (lax.log, X),
        "log1p": (lax.log1p, X),
        "expm1": (lax.expm1, X),
        "tanh": (lax.tanh, X),
        "logistic": (lax.logistic, X),
        "rsqrt": (lax.rsqrt, X),
        "cbrt": (lax.cbrt, X),
        "sin": (lax.sin, ANGLES),
        "cos": (lax.cos, ANGLES),
        "tan": (lax.tan, ANGLES),
        "asin": (lax.asin, uniform(-1, 1, *N)),
        "acos": (lax.acos, uniform(-1, 1, *N)),
        "atan": (lax.atan, X),
        "sinh": (lax.sinh, random(*N)),
        "cosh": (lax.cosh, random(*N)),
        "asinh": (lax.asinh, random(*N)),
        "acosh": (lax.acosh, uniform(1, 9, *N)),
        "atanh": (lax.atanh, uniform(-0.95, 0.95, *N)),
        "erf": (lax.erf, X),
        "erfc": (lax.erfc, random(*N)),
        "erf_inv": (lax.erf_inv, uniform(-0.999, 0.999, *N)),
    }
    cases += [_case(op, f, a, rtol=3e-6, atol=1e-7) for op, (f, a) in close.items()]
    cases.append(_case("lgamma", lax.lgamma, uniform(0.1, 9, *N), rtol=1e-5, atol=1e-6))
    powers = ((0, 0.0), (1, 0.0), (2, 0.0), (3, 2e-7), (7, 1e-6), (-1, 1e-6), (-3, 1e-6))
    base = random(*N)
    for y, rtol in powers:
        cases.append(
            _case("integer_pow", lambda x, y=y: lax.integer_pow(x, y), base, label=str(y), rtol=rtol)
            if y not in (0, 1)
            else _case("mul", lambda x, y=y: lax.integer_pow(x, y) * x, base, label=f"power {y}", rtol=rtol)
        )
    cases += [
        _case("integer_pow", lambda x: lax.integer_pow(x, 5), I32, label="int32"),
        _case("not", lax.bitwise_not, I32, label="int32"),
        _case("not", lax.bitwise_not, BOOL, label="bool"),
        _case("population_count", lax.population_count, U32),
        _case("clz", lax.clz, U32),
        _case("ne", lambda x: lax.ne(x, x), X, label="itself"),
        _case("eq", lambda x: lax.eq(x, x), X, label="itself"),
        _case("ge", lambda x: lax.ge(x, x), X, label="itself"),
        _case("le", lambda x: lax.le(x, x), X, label="itself"),
        _case("not", lambda x, y: ~lax.ge(x, y), X, Y[::-1].copy(), label="of a comparison"),
        _case("or", lambda x, y: lax.ge(x, y) | lax.lt(x, y), X, Y[::-1].copy(), label="of comparisons"),
        _case("sub", lambda x: lax.sub(x, x), X, label="itself"),
        _case("mul", lambda x: lax.mul(x, jnp.zeros_like(x)), X, label="by zero"),
        _case("div", lambda x: lax.div(x, x), X, label="itself"),
        _case("div", lambda x: x / 3.0, X, label="by a constant", rtol=2e-7),
        _case("rev", lambda x: x[::-1, ::-1] * 2.0, X, label="of equal shape"),
        _case("transpose", lambda x: x.T + x, random(5, 5), label="of equal shape"),
        _case("store", lambda x: lax.optimization_barrier(x * 2.0) + x, X),
        _case("clz", lax.clz, I32, label="int32"),
    ]
    return cases


def _conversions() -> list[Case]:
    edges = np.array(
        [2147483500.0, 3e9, -3e9, 300.7, -300.7, 255.5, 4294967000.0, 5e9, 0.5, -0.5], np.float32
    )
    floats = np.concatenate([X.ravel(), edges])
    sources: dict[str, Array] = {
        "float32": floats,
        "int32": wide(31),
        "uint32": wide(31, dtype=np.uint32),
        "bool": booleans(31),
    }
    cases: list[Case] = []
    for source, array in sources.items():
        for target in ("float32", "int32", "uint32", "bool", "int8", "uint8", "float16", "bfloat16"):
            if source != target:
                cases.append(
                    _case(
                        "convert_element_type",
                        lambda x, target=target: lax.convert_element_type(x, target),
                        array,
                        label=f"{source} to {target}",
                    )
                )
    small = uniform(-100, 100, 31)
    for narrow in (np.int8, np.uint8, np.float16, ml_dtypes.bfloat16):
        array = (np.abs(small) if narrow is np.uint8 else small).astype(narrow)
        label = f"{np.dtype(narrow)} to float32"
        cases.append(
            _case(
                "convert_element_type", lambda x: lax.convert_element_type(x, "float32"), array, label=label
            )
        )
    cases += [
        _case(
            "bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, jnp.uint32), X, label="to uint32"
        ),
        _case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, jnp.int32), X, label="to int32"),
        _case(
            "bitcast_convert_type",
            lambda x: lax.bitcast_convert_type(x, jnp.float32),
            integers(3, 7, low=0, high=2**30),
            label="to float32",
        ),
    ]
    return cases


def _binary() -> list[Case]:
    cases: list[Case] = []
    arithmetic = {"add": lax.add, "sub": lax.sub, "mul": lax.mul, "max": lax.max, "min": lax.min}
    pairs = {
        "float32": (X, Y),
        "int32": (I32, wide(*N, seed=1)[::-1].copy()),
        "uint32": (U32, wide(*N, dtype=np.uint32, seed=1)[::-1].copy()),
    }
    for op, f in arithmetic.items():
        cases += [_case(op, f, *pair, label=dtype) for dtype, pair in pairs.items()]
    for dtype, pair in pairs.items():
        cases.append(_case("div", lax.div, *pair, label=dtype, rtol=0.0))
        cases.append(_case("rem", lax.rem, *pair, label=dtype))
    small = {"int32": integers(*N, low=-3, high=4), "uint32": integers(*N, low=0, high=3, dtype=np.uint32)}
    cases += [_case("div", lax.div, pairs[d][0], b, label=f"{d} by small and zero") for d, b in small.items()]
    cases += [_case("rem", lax.rem, pairs[d][0], b, label=f"{d} by small and zero") for d, b in small.items()]
    cases += [
        _case("pow", lax.pow, np.abs(random(*N)), random(*N, seed=1), rtol=3e-6),
        _case("pow", lax.pow, random(*N), integers(*N, low=-3, high=5), label="to int32", rtol=3e-6),
        _case("atan2", lax.atan2, X, Y, rtol=3e-6),
        _case("nextafter", lax.nextafter, random(*N), random(*N, seed=1)),
    ]
    logical = {"and": lax.bitwise_and, "or": lax.bitwise_or, "xor": lax.bitwise_xor}
    for op, f in logical.items():
        cases += [
            _case(op, f, *pairs["int32"], label="int32"),
            _case(op, f, *pairs["uint32"], label="uint32"),
        ]
        cases.append(_case(op, f, BOOL, BOOL2, label="bool"))
    shifts = {
        "shift_left": lax.shift_left,
        "shift_right_logical": lax.shift_right_logical,
        "shift_right_arithmetic": lax.shift_right_arithmetic,
    }
    for op, f in shifts.items():
        cases.append(_case(op, f, I32, integers(*N, low=-2, high=40), label="int32"))
        cases.append(_case(op, f, U32, integers(*N, low=0, high=40, dtype=np.uint32), label="uint32"))
    compare = {"eq": lax.eq, "ne": lax.ne, "lt": lax.lt, "le": lax.le, "gt": lax.gt, "ge": lax.ge}
    mixed = np.where(BOOL, X, Y)
    for op, f in compare.items():
        cases.append(_case(op, f, X, mixed, label="float32"))
        cases += [_case(op, f, *pairs[d], label=d) for d in ("int32", "uint32")]
        cases.append(_case(op, f, BOOL, BOOL2, label="bool"))
    return cases


def _ternary() -> list[Case]:
    which = integers(*N, low=0, high=3)
    return [
        _case("select_n", lax.select_n, BOOL, X, Y),
        _case("select_n", lax.select_n, BOOL, BOOL2, ~BOOL2, label="of bools"),
        _case("select_n", lax.select_n, which, X, Y, X * 2, label="int32 of three"),
        _case("select_n", lambda p, x, y: lax.select_n(p[0, 0], x, y), BOOL, X, Y, label="scalar predicate"),
        _case("clamp", lax.clamp, np.minimum(X, Y), random(*N), np.maximum(X, Y)),
        _case("clamp", lambda x: lax.clamp(-0.5, x, 0.5), X, label="scalar bounds"),
        _case("clamp", lambda x: lax.clamp(-5, x, 5), I32, label="int32"),
    ]


def _views() -> list[Case]:
    a, v = random(3, 4, 5), random(5, seed=2)
    pads = {"edges": ((1, 2, 0), (0, 3, 0), (0, 0, 0)), "inside": ((0, 0, 2), (1, 1, 1), (0, 0, 0))}
    pads["crop"] = ((-1, 0, 0), (0, -2, 1), (-1, 3, 2))
    two = integers(2, low=-3, high=6)
    return [
        _case("constant", lambda x: x + jnp.float32(2.5), a, more=("add",)),
        _case("iota", lambda x: x + lax.broadcasted_iota(jnp.float32, (3, 4, 5), 1), a),
        _case("iota", lambda x: x + lax.iota(jnp.int32, 7), I32, label="int32"),
        _case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 5, 3), (1,)), v),
        _case("broadcast_in_dim", lambda x: jnp.broadcast_to(x, (6, 4, 5)), random(1, 4, 1), label="of ones"),
        _case("broadcast_in_dim", lambda x: jnp.full((4, 3), x[2]), v, label="scalar"),
        _case("reshape", lambda x: x.reshape(6, 10) + 1.0, a),
        _case("reshape", lambda x: x[None, :, 0, :, None] * 2.0, a, label="squeeze and expand"),
        _case("transpose", lambda x: jnp.transpose(x, (2, 0, 1)) * 2.0, a),
        _case("slice", lambda x: lax.slice(x, (1, 0, 1), (3, 4, 5)) * 2.0, a),
        _case("slice", lambda x: x[::2, 1::3, ::2] * 2.0, a, label="strided"),
        _case(
            "slice",
            lambda x: sum(lax.split(x, (1, 2, 1), 1)[k].sum(1) for k in range(3)),
            a,
            label="split",
            **CLOSE,
        ),
        _case("rev", lambda x: lax.rev(x, (0, 2)) * 2.0, a),
        *(_case("pad", lambda x, c=c: lax.pad(x, jnp.float32(7), c), a, label=k) for k, c in pads.items()),
        _case("concatenate", lambda x, y: jnp.concatenate([x, y * 2.0, x], 1), a, random(3, 2, 5)),
        _case("concatenate", lambda x, y: jnp.concatenate([x, y]), v, random(70), label="rank 1"),
        _case("concatenate", lambda x, y: jnp.concatenate([x, y], 2), a, random(3, 4, 2), label="last axis"),
        _case("concatenate", lambda x, y: jnp.concatenate([x, y], 0), BOOL, BOOL2, label="bool"),
        _case("dynamic_slice", lambda x, i: lax.dynamic_slice(x, (i[0], i[1], 1), (2, 2, 3)) * 2.0, a, two),
        _case(
            "dynamic_slice",
            lambda x, i: lax.dynamic_slice(x, (i[0], 0, 0), (2, 4, 5)) * 2.0,
            a,
            np.array([9, 0], np.int32),
            label="clamped",
        ),
        _case(
            "dynamic_update_slice",
            lambda x, u, i: lax.dynamic_update_slice(x, u, (i[0], i[1], 2)),
            a,
            random(2, 2, 2),
            two,
        ),
        _case(
            "dynamic_update_slice",
            lambda x, u: lax.dynamic_update_slice(x, u, (0, 1, 0)) * 2.0,
            a,
            random(3, 2, 5),
            label="static",
        ),
    ]


def _gathers() -> list[Case]:
    table, a = random(9, 6), random(3, 4, 5)
    rows = np.array([[0, 8, 3], [5, 5, 1]], np.int32)
    outside = np.array([-1, 0, 8, 9, 100, -9, -10], np.int32)
    cases = [
        _case("gather", lambda t, i: t[i], table, rows, label="rows"),
        _case("gather", lambda t, i: t[:, i] * 2.0, a, np.array([3, 0], np.int32), label="middle axis"),
        _case(
            "gather",
            lambda t, i: t[i[0], i[1]],
            table,
            np.array([[1, 2, 8], [5, 0, 3]], np.int32),
            label="points",
        ),
        _case(
            "gather",
            lambda t, i: jnp.take_along_axis(t, i, 1),
            table,
            integers(9, 2, low=0, high=6),
            label="along an axis",
        ),
        _case(
            "gather",
            lambda t, i: jax.vmap(lambda r, k: lax.dynamic_slice(r, (k,), (3,)))(t, i),
            table,
            integers(9, low=-2, high=9),
            label="windows, clipped",
        ),
        _case("gather", lambda t, i: t.at[i].get(mode="fill"), integers(9, 6), outside, label="int32 filled"),
        _case(
            "gather",
            lambda t, i: t.at[i].get(mode="fill"),
            integers(9, 6, low=0, dtype=np.uint32),
            outside,
            label="uint32 filled",
        ),
        _case("gather", lambda t, i: t.at[i].get(mode="fill"), booleans(9, 6), outside, label="bool filled"),
        _case(
            "gather", lambda t, i: t.at[i].get(mode="fill", fill_value=-3.5), table, outside, label="own fill"
        ),
    ]
    modes = ("fill", "clip", "promise_in_bounds")
    for mode in modes:
        where = rows if mode == "promise_in_bounds" else outside
        cases.append(
            _case("gather", lambda t, i, m=mode: t.at[i].get(mode=m), table, where, label=f"mode {mode}")
        )
    return cases


def _scatters() -> list[Case]:
    table, rows = random(9, 70), np.array([3, 8, 3, 0, 3], np.int32)
    outside = np.array([-1, 0, 9, 100, 8, -20], np.int32)
    up = random(5, 70, seed=3)
    cases = [
        _case("scatter-add", lambda t, i, u: t.at[i].add(u), table, rows, up, label="rows", **CLOSE),
        _case(
            "scatter-add",
            lambda i, u: jnp.zeros((9, 70)).at[i].add(u * 2.0),
            rows,
            up,
            label="into zeros",
            **CLOSE,
        ),
        _case(
            "scatter-add",
            lambda t, i, u: t.at[:, i].add(u),
            random(4, 6),
            np.array([1, 1, 5], np.int32),
            random(4, 3),
            label="columns",
            **CLOSE,
        ),
        _case(
            "scatter-add",
            lambda t, i, u: t.at[i, i].add(u),
            random(9, 9),
            rows,
            random(5),
            label="points",
            **CLOSE,
        ),
        _case(
            "scatter-add",
            lambda t, i, u: t.at[i].add(u),
            integers(9, 3),
            rows,
            integers(5, 3, seed=1),
            label="int32",
        ),
        _case(
            "scatter-add",
            lambda t, i, u: jax.vmap(lambda a, b, c: a.at[b].add(c))(t, i, u),
            random(3, 6, 4),
            integers(3, 5, low=0, high=6),
            random(3, 5, 4),
            label="batched",
            **CLOSE,
        ),
        _case(
            "scatter",
            lambda t, i, u: t.at[i].set(u),
            table,
            np.array([3, 8, 1, 0, 5], np.int32),
            up,
            label="rows",
        ),
        _case("scatter", lambda t, u: t.at[2:5, 3].set(u), random(9, 6), random(3), label="a slice"),
        _case(
            "scatter",
            lambda t, i: t.at[i].set(True),
            booleans(9),
            np.array([3, 8, 1], np.int32),
            label="bool",
        ),
    ]
    for mode in ("drop", "clip", "promise_in_bounds"):
        where = np.array([1, 0, 3, 7, 8, 4], np.int32) if mode == "promise_in_bounds" else outside
        cases.append(
            _case(
                "scatter-add",
                lambda t, i, u, m=mode: t.at[i].add(u, mode=m),
                table,
                where,
                random(6, 70),
                label=f"mode {mode}",
                **CLOSE,
            )
        )
    return cases


def _reductions() -> list[Case]:
    a, i = random(6, 5, 70), integers(6, 5, 70)
    holes = np.where(booleans(6, 5, 70), a, np.nan).astype(np.float32)
    sums: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    small = uniform(0.9, 1.1, 6, 5, 7)
    cases = [
        *(
            _case("reduce_sum", lambda x, d=d: x.sum(d), a, label=f"axes {d}", **sums)
            for d in ((2,), (0,), (1,), (0, 1), (0, 1, 2), (0, 2), (1, 2))
        ),
        *(
            _case("reduce_max", lambda x, d=d: x.max(d), a, label=f"axes {d}")
            for d in ((2,), (0,), (1,), (0, 1, 2))
        ),
        *(
            _case("reduce_min", lambda x, d=d: x.min(d), a, label=f"axes {d}")
            for d in ((2,), (0,), (1,), (0, 1, 2))
        ),
        *(
            _case("reduce_max", lambda x, d=d: x.max(d), holes, label=f"NaN, axes {d}")
            for d in ((2,), (0,), (1,), (0, 1, 2))
        ),
        *(
            _case("reduce_prod", lambda x, d=d: x.prod(d), small, label=f"axes {d}", **sums)
            for d in ((2,), (0,), (1,), (0, 1, 2))
        ),
        *(
            _case("reduce_sum", lambda x, d=d: x.sum(d), i, label=f"int32, axes {d}")
            for d in ((2,), (0,), (1,), (0, 1, 2))
        ),
        *(
            _case("reduce_max", lambda x, d=d: x.max(d), i, label=f"int32, axes {d}")
            for d in ((2,), (0,), (1,))
        ),
        _case("reduce_min", lambda x: x.min(1), wide(6, 5, dtype=np.uint32), label="uint32"),
    ]
    flags = booleans(6, 5, 7) | booleans(6, 5, 7, seed=1)
    for d in ((2,), (0,), (1,), (0, 1, 2)):
        cases += [
            _case("reduce_and", lambda x, d=d: x.all(d), flags, label=f"bool, axes {d}"),
            _case("reduce_or", lambda x, d=d: x.any(d), ~flags, label=f"bool, axes {d}"),
            _case("reduce_and", lambda x, d=d: lax.reduce_and(x, d), wide(6, 5, 7), label=f"int32, axes {d}"),
            _case("reduce_or", lambda x, d=d: lax.reduce_or(x, d), wide(6, 5, 7), label=f"int32, axes {d}"),
            _case("reduce_xor", lambda x, d=d: lax.reduce_xor(x, d), wide(6, 5, 7), label=f"int32, axes {d}"),
            _case("reduce_xor", lambda x, d=d: lax.reduce_xor(x, d), flags, label=f"bool, axes {d}"),
        ]
    repeats = np.round(a[..., :9])
    for d in (0, 1, 2):
        cases += [
            _case("argmax", lambda x, d=d: jnp.argmax(x, d), repeats, label=f"axis {d}"),
            _case("argmin", lambda x, d=d: jnp.argmin(x, d), repeats, label=f"axis {d}"),
        ]
    cases += [
        _case("argmax", lambda x: jnp.argmax(x, 2), holes, label="NaN"),
        _case("argmax", lambda x: jnp.argmax(x), a, label="flat"),
        _case("argmax", lambda x: jnp.argmax(x, 1), i, label="int32"),
    ]
    return cases


def _contractions() -> list[Case]:
    sums: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    a, b = random(6, 20), random(20, 9, seed=1)
    dots = {
        "matrix": ("mk,kn->mn", (a, b)),
        "transposed left": ("km,kn->mn", (a.T.copy(), b)),
        "transposed right": ("mk,nk->mn", (a, b.T.copy())),
        "batch": ("bmk,bkn->bmn", (random(3, 6, 5), random(3, 5, 7))),
        "attention": ("bqhd,bkhd->bhqk", (random(2, 7, 3, 4), random(2, 6, 3, 4))),
        "attention values": ("bhqk,bkhd->bqhd", (random(2, 3, 7, 6), random(2, 6, 3, 4))),
        "two contracted": ("abk,kbn->an", (random(4, 3, 5), random(5, 3, 6))),
        "three free": ("abk,kn->abn", (random(4, 3, 5), random(5, 6))),
        "vector": ("k,kn->n", (random(20), b)),
        "dot": ("k,k->", (random(20), random(20, seed=3))),
        "outer": ("m,n->mn", (random(6), random(9))),
    }
    cases = [
        _case("dot_general", lambda x, y, e=e: jnp.einsum(e, x, y), *pair, label=label, **sums)
        for label, (e, pair) in dots.items()
    ]
    nhwc, nchw = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
    image, kernel = random(2, 9, 8, 4), random(3, 3, 4, 6) / 6
    plans: dict[str, tuple[Array, Array, dict[str, Any]]] = {
        "same": (image, kernel, {"padding": "SAME"}),
        "valid": (image, kernel, {"padding": "VALID"}),
        "strides": (image, kernel, {"padding": "SAME", "window_strides": (2, 3)}),
        "odd padding": (image, kernel, {"padding": ((0, 2), (3, 1))}),
        "dilated filter": (image, kernel, {"padding": "SAME", "rhs_dilation": (2, 1)}),
        "dilated image": (image, kernel, {"padding": ((1, 2), (0, 1)), "lhs_dilation": (2, 2)}),
        "groups": (image, random(3, 3, 2, 6) / 4, {"padding": "SAME", "feature_group_count": 2}),
        "depthwise": (image, random(3, 3, 1, 8) / 3, {"padding": "SAME", "feature_group_count": 4}),
        "batch groups": (image, random(3, 3, 4, 6) / 6, {"padding": "SAME", "batch_group_count": 2}),
        "1x1": (image, random(1, 1, 4, 6), {"padding": "VALID"}),
    }

    def conv(x: Any, k: Any, *, layout: tuple[str, str, str] = nhwc, **options: Any) -> Any:
        options = {"window_strides": (1, 1), **options}
        return lax.conv_general_dilated(x, k, dimension_numbers=layout, **options)

    def gradients(x: Any, k: Any, **options: Any) -> Any:
        y = conv(x, k, **options)
        weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return jax.grad(lambda x, k: (conv(x, k, **options) * weights).sum(), (0, 1))(x, k)

    for label, (x, k, options) in plans.items():
        run = lambda x, k, o=options: conv(x, k, **o)  # noqa: E731
        cases.append(_case("conv_general_dilated", run, x, k, label=label, **sums))
        if label != "batch groups":
            both = lambda x, k, o=options: gradients(x, k, **o)  # noqa: E731
            cases.append(
                _case("conv_general_dilated", both, x, k, label=f"{label}, gradients", rtol=1e-5, atol=1e-4)
            )
    channels_first = lambda x, k: conv(x, k, layout=nchw, padding="SAME")  # noqa: E731
    moved = (image.transpose(0, 3, 1, 2).copy(), kernel.transpose(3, 2, 0, 1).copy())
    cases.append(_case("conv_general_dilated", channels_first, *moved, label="NCHW", **sums))
    line = lambda x, k: conv(x, k, layout=("NWC", "WIO", "NWC"), window_strides=(2,), padding="SAME")  # noqa: E731
    cases.append(_case("conv_general_dilated", line, random(2, 9, 4), random(3, 4, 5), label="1-D", **sums))
    return cases


def _windows() -> list[Case]:
    image = random(2, 9, 8, 3)
    sums: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    cases: list[Case] = []
    pools: dict[str, Any] = {
        "valid": ((1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        "same": ((1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
        "overlapping": ((1, 3, 2, 1), (1, 1, 1, 1), "VALID"),
    }
    for label, (window, strides, padding) in pools.items():

        def pooled(
            x: Any, start: Any, function: Any, w: Any = window, s: Any = strides, p: str = padding
        ) -> Any:
            return lax.reduce_window(x, start, function, w, s, p)

        def largest(x: Any, pooled: Any = pooled) -> Any:
            return pooled(x, -jnp.inf, lax.max)

        def average(x: Any, pooled: Any = pooled) -> Any:
            return pooled(x, 0.0, lax.add) / pooled(jnp.ones_like(x), 0.0, lax.add)

        def slope(x: Any, of: Any) -> Any:
            y = of(x)
            weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
            return jax.grad(lambda x: (of(x) * weights).sum())(x)

        repeats = np.round(image)
        cases += [
            _case("reduce_window_max", largest, image, label=label),
            _case(
                "reduce_window_min", lambda x, pooled=pooled: pooled(x, jnp.inf, lax.min), image, label=label
            ),
            _case("reduce_window_sum", average, image, label=f"average, {label}", **sums),
            _case(
                "reduce_window_sum",
                lambda x, f=average: slope(x, f),
                image,
                label=f"average gradient, {label}",
                **sums,
            ),
            _case("select_and_scatter_add", lambda x, f=largest: slope(x, f), repeats, label=label, **sums),
        ]

    def dilated(x: Any) -> Any:
        ones = (1, 1, 1, 1)
        return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), ones, "VALID", (1, 2, 1, 1), (1, 1, 2, 1))

    cases.append(_case("reduce_window_sum", dilated, image, label="dilated", **sums))
    a = random(3, 70, 5)
    scans = {
        "cumsum": (lax.cumsum, a, sums),
        "cumprod": (lax.cumprod, uniform(0.9, 1.1, 3, 7, 5), sums),
        "cummax": (lax.cummax, a, {}),
        "cummin": (lax.cummin, a, {}),
        "cumlogsumexp": (lax.cumlogsumexp, a, sums),
    }
    for op, (f, array, bounds) in scans.items():
        for axis in (0, 1, 2):
            cases.append(
                _case(op, lambda x, f=f, d=axis: f(x, axis=d), array, label=f"axis {axis}", **bounds)
            )
        cases.append(_case(op, lambda x, f=f: f(x, axis=1, reverse=True), array, label="reverse", **bounds))
    cases.append(_case("cumsum", lambda x: lax.cumsum(x, axis=1), integers(3, 9, 5), label="int32"))
    cases.append(
        _case(
            "cummax",
            lambda x: lax.cummax(x, axis=1),
            np.where(booleans(3, 70, 5), a, np.nan).astype(np.float32),
            label="NaN",
        )
    )
    return cases


def _randomness() -> list[Case]:
    seed = np.uint32(7)

    def masks(seed: Any) -> Any:
        keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(
            jnp.arange(4, dtype=jnp.uint32)
        )
        return jax.vmap(lambda k: jax.random.bernoulli(jax.random.fold_in(k, 3), 0.9, (5, 7)))(keys)

    def dice(seed: Any) -> Any:
        first, second = jax.random.split(jax.random.key(seed))
        return (
            jax.random.uniform(first, (5,)),
            jax.random.bits(second, (3, 5)),
            jax.random.randint(first, (9,), 0, 6),
        )

    return [
        _case("threefry2x32", masks, seed, label="bernoulli by example"),
        _case("threefry2x32", dice, seed, label="split, uniform, bits, randint"),
        _case(
            "threefry2x32",
            lambda s: jax.random.normal(jax.random.key(s), (40,)),
            seed,
            label="normal",
            more=("erf_inv",),
            rtol=1e-5,
            atol=1e-6,
        ),
        _case(
            "threefry2x32",
            lambda s: jax.random.bits(jax.random.wrap_key_data(jnp.stack([s, s])), (3,)),
            seed,
            label="wrapped key",
        ),
        _case(
            "threefry2x32",
            lambda s: jax.random.key_data(jax.random.split(jax.random.key(s), 5)[2:4]),
            seed,
            label="slices of keys",
        ),
        _case(
            "threefry2x32",
            lambda s: jax.random.gumbel(jax.random.key(s), (9,)),
            seed,
            label="gumbel",
            rtol=1e-5,
        ),
        _case(
            "threefry2x32", lambda s: jax.random.bits(jax.random.PRNGKey(s), (3, 2)), seed, label="raw key"
        ),
    ]


CASES: tuple[Case, ...] = (
    *_elementwise(),
    *_conversions(),
    *_binary(),
    *_ternary(),
    *_views(),
    *_gathers(),
    *_scatters(),
    *_reductions(),
    *_contractions(),
    *_windows(),
    *_randomness(),
)
