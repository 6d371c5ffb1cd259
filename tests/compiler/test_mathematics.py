"""Error bounds of the polynomial functions, in units in the last place, on every vector width of this
machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jax import lax

from daypack.compiler.interpret import apply
from daypack.compiler.kernels.mathematics import FARTHEST_ANGLE, ULP_BOUNDS
from daypack.compiler.kernels.target import KernelTarget
from tests.compiler.graphs import Array, fused
from tests.compiler.harness import HOST, Library, kernel_of, narrower_targets

FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(lax, name) for name in ULP_BOUNDS}
TARGETS = {f"{t.cpu} {t.vector_bits}": t for t in (HOST, *narrower_targets())}


def samples() -> Array:
    """Every bit pattern in even steps, the usual ranges more densely, and the edges."""
    steps = np.linspace(0, 2**32 - 1, 100_000).astype(np.uint32).view(np.float32)
    random = np.random.default_rng(0)
    dense = [random.uniform(-limit, limit, 20_000) for limit in (1e-3, 1, 4, 20, 110, 1e4)]
    near_one = np.concatenate([1 - 2.0**-24 * np.arange(1, 500), 1 + 2.0**-23 * np.arange(500)])
    thresholds = [
        88.722839,
        88.7229,
        -87.33655,
        -103.972,
        -103.973,
        -104.5,
        128,
        127.99999,
        -149,
        -149.5,
        -150,
    ]
    smallest = [1e-45, 1.1754944e-38, 1.1754942e-38, 3.4028235e38]
    edges = np.array([0.0, np.inf, np.nan, *thresholds, *smallest, 0.625, FARTHEST_ANGLE])
    parts = [steps, *dense, near_one, -near_one, edges, -edges]
    return np.concatenate([np.asarray(p, np.float32) for p in parts])


X = samples()


@pytest.fixture(scope="module", params=list(TARGETS), ids=str)
def library(request: pytest.FixtureRequest) -> Library:
    """The kernels of all functions for one vector width."""
    target: KernelTarget = TARGETS[request.param]
    return Library({n: kernel_of(fused(f, X).nodes[0], target) for n, f in FUNCTIONS.items()}, target)


@pytest.mark.parametrize("name", FUNCTIONS, ids=str)
def test_error_is_within_the_stated_bound(name: str, library: Library) -> None:
    (ours,) = library.run(name, [X])
    node = library.kernels[name].body.nodes[0]
    assert node.op == name
    with np.errstate(all="ignore"):
        (result,) = apply(node, [X])
        exact = np.asarray(result, np.float64)
        nearest = exact.astype(np.float32)
    if name in ("sin", "cos"):
        far = ~(np.abs(X) < FARTHEST_ANGLE)
        nearest[far], exact[far] = np.nan, np.nan
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(nearest))
    np.testing.assert_array_equal(ours[np.isinf(nearest)], nearest[np.isinf(nearest)])
    finite = np.isfinite(nearest)
    unit = np.spacing(np.abs(nearest[finite])).astype(np.float64)
    error = np.abs(ours[finite] - exact[finite]) / unit
    worst = int(np.argmax(error))
    assert error[worst] <= ULP_BOUNDS[name], f"{name}({X[finite][worst]!r}) = {ours[finite][worst]!r}"


def test_every_polynomial_has_a_bound() -> None:
    from daypack.compiler.kernels import mathematics

    helpers = {"f32", "i32", "select", "is_nan", "is_finite", "copy_sign", "horner"}
    public = {n for n, f in vars(mathematics).items() if callable(f) and f.__module__ == mathematics.__name__}
    functions = {n for n in public if not n.startswith("_")} - helpers
    assert functions <= set(ULP_BOUNDS)
