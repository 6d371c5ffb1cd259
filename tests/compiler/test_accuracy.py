"""Every class of kernels against float64, within the bounds that docs/operations.md states.

Also where arithmetic is at its edges: large softmax inputs, rows that are masked altogether, batches without
labels, denormals, and NaN, which every class must pass on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.models.document import NO_LABEL
from daypack.operators.activations import gelu_tanh
from daypack.operators.loss_head import frozen_head_loss, trained_head_loss
from daypack.operators.norms import layer_norm, rms_norm
from daypack.operators.softmax import logsumexp, softmax
from tests.compiler.cases import random
from tests.compiler.graphs import Array, fused
from tests.compiler.harness import Library, kernel_of

U = 2.0**-24
"""Half a unit in the last place of 1: the largest relative error of one float32 operation."""
TINY = 2.0**-149
"""The smallest denormal: where results underflow, errors are absolute."""
LOWEST = float(np.finfo(np.float32).min)
Bound = Callable[[Sequence[Array], Array], Any]
"""Operands and exact result, float64, to the largest error of each element."""


def partials(count: int) -> float:
    """Additions in a row of a sum in 64 strided partial results and a tree."""
    return -(-count // 64) + 6


@dataclass(frozen=True)
class Class:
    """`function` in JAX and `exact` in NumPy on float64, with the bound of the difference."""

    function: Callable[..., Any]
    exact: Callable[..., Array]
    arrays: tuple[Array, ...]
    bound: Bound


def _sum(axis: int | tuple[int, ...], adds: float) -> dict[str, Any]:
    return {
        "function": lambda x: jnp.sum(x, axis),
        "exact": lambda x: np.sum(x, axis),
        "bound": lambda a, y: adds * U * np.abs(a[0]).sum(axis),
    }


def exact_softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_bound(a: Sequence[Array], y: Array) -> Any:
    """x - max is rounded once, which e^x multiplies; e^x, the sum and the division have their own errors."""
    distance = np.abs(a[0] - a[0].max(-1, keepdims=True))
    return (np.minimum(distance, 110.0) + partials(a[0].shape[-1]) + 8) * U * y + 2 * TINY


def exact_logsumexp(x: Array) -> Array:
    highest = x.max(-1)
    return highest + np.log(np.exp(x - highest[:, None]).sum(-1))


def exact_gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def exact_layer_norm(x: Array, w: Array, b: Array) -> Array:
    c = x - x.mean(-1, keepdims=True)
    return c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * w + b


def exact_rms_norm(x: Array, w: Array) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w


def layer_norm_bound(a: Sequence[Array], y: Array) -> Any:
    x, w, b = a
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    relative = (np.abs(x) + np.abs(x).mean(-1, keepdims=True)) / deviation
    return 2 * (partials(x.shape[-1]) + 8) * U * (relative * np.abs(w) + np.abs(b))


def adamw(p: Any, g: Any, m: Any, v: Any) -> Any:
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 1e-3 * (m / (v**0.5 + 1e-8) + 0.01 * p)


def adamw_bound(a: Sequence[Array], y: Array) -> Any:
    p, g, m, v = a
    step = (np.abs(0.9 * m) + np.abs(0.1 * g)) / np.sqrt(0.999 * v + 0.001 * g * g)
    return 2 * U * np.abs(y) + 1e-3 * 16 * U * step + 2 * U * np.abs(p)


def exact_scatter(t: Array, u: Array) -> Array:
    out = t.copy()
    np.add.at(out, PLACES, u)
    return out


def scatter_bound(a: Sequence[Array], y: Array) -> Any:
    return len(PLACES) * U * exact_scatter(np.abs(a[0]), np.abs(a[1]))


PLACES = np.array([3, 8, 3, 0, 3, 3], np.int32)
SAME: Bound = lambda a, y: 0.0  # noqa: E731
ROWS = 5 * random(6, 300)

CLASSES: dict[str, Class] = {
    "elementwise": Class(
        lambda x, y: x * y,
        lambda x, y: x * y,
        (random(6, 77), random(6, 77, seed=1)),
        lambda a, y: U * abs(y),
    ),
    "select": Class(
        lambda x, y: jnp.where(x > 0, x, y),
        lambda x, y: np.where(x > 0, x, y),
        (random(6, 77), random(6, 77, seed=1)),
        SAME,
    ),
    "gelu": Class(gelu_tanh, exact_gelu, (3 * random(6, 77),), lambda a, y: 16 * U * (abs(y) + abs(a[0]))),
    "row sums": Class(arrays=(ROWS,), **_sum(-1, partials(300))),
    "column sums": Class(arrays=(random(70, 33),), **_sum(0, 70)),
    "total": Class(arrays=(random(40_000),), **_sum(0, 256 + 2 * partials(64))),
    "middle sums": Class(arrays=(random(3, 50, 5),), **_sum(1, 50)),
    "row max": Class(lambda x: x.max(-1), lambda x: x.max(-1), (ROWS,), SAME),
    "row min": Class(lambda x: x.min(-1), lambda x: x.min(-1), (ROWS,), SAME),
    "column max": Class(lambda x: x.max(0), lambda x: x.max(0), (ROWS,), SAME),
    "total max": Class(lambda x: x.max(), lambda x: np.asarray(x.max()), (random(20_000),), SAME),
    "middle max": Class(lambda x: x.max(1), lambda x: x.max(1), (random(3, 50, 5),), SAME),
    "product": Class(
        lambda x, w: x @ w,
        lambda x, w: x @ w,
        (random(33, 200), random(200, 50, seed=1)),
        lambda a, y: 200 * U * (abs(a[0]) @ abs(a[1])),
    ),
    "softmax": Class(softmax, exact_softmax, (ROWS,), softmax_bound),
    "logsumexp": Class(
        logsumexp,
        exact_logsumexp,
        (ROWS,),
        lambda a, y: (partials(300) + 8) * U + 2 * U * (abs(y) + abs(a[0].max(-1))),
    ),
    "layer norm": Class(
        lambda x, w, b: layer_norm(x, w, b, 1e-5),
        exact_layer_norm,
        (random(6, 300) + 2, random(300, seed=1), random(300, seed=2)),
        layer_norm_bound,
    ),
    "rms norm": Class(
        lambda x, w: rms_norm(x, w, 1e-6),
        exact_rms_norm,
        (random(6, 300), random(300, seed=1)),
        lambda a, y: (partials(300) + 8) * U * abs(y),
    ),
    "optimizer update": Class(
        adamw,
        adamw,
        (random(500), random(500, seed=1), random(500, seed=2), random(500, seed=3) ** 2),
        adamw_bound,
    ),
    "gather": Class(lambda t: t[PLACES], lambda t: t[PLACES], (random(9, 70),), SAME),
    "scatter": Class(
        lambda t, u: t.at[PLACES].add(u), exact_scatter, (random(9, 70), random(6, 70, seed=1)), scatter_bound
    ),
    "concatenate": Class(
        lambda x, y: jnp.concatenate([x, y], 1),
        lambda x, y: np.concatenate([x, y], 1),
        (random(5, 9), random(5, 20, seed=1)),
        SAME,
    ),
    "running sums": Class(
        lambda x: jax.lax.cumsum(x, 1),
        lambda x: np.cumsum(x, 1),
        (random(5, 70),),
        lambda a, y: 70 * U * np.cumsum(abs(a[0]), 1),
    ),
    "running max": Class(
        lambda x: jax.lax.cummax(x, 1), lambda x: np.maximum.accumulate(x, 1), (random(5, 70),), SAME
    ),
    "window max": Class(
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2), (1, 2), "VALID"),
        lambda x: x.reshape(5, 35, 2).max(-1),
        (random(5, 70),),
        SAME,
    ),
}

LABELS = np.full((2, 9), NO_LABEL, np.int32)
HEAD = (random(2, 9, 16), random(40, 16, seed=1))


def _loss(head_loss: Callable[..., Any]) -> Callable[..., Any]:
    """A loss head with both gradients, on labels that are all NO_LABEL."""
    slopes = jax.value_and_grad(lambda h, w, labels: head_loss(h, w, labels, NO_LABEL), (0, 1))

    def run(h: Any, w: Any, labels: Any) -> Any:
        loss, (dh, dw) = slopes(h, w, labels)
        return loss, dh, dw

    return run


class Machine:
    """All graphs of this file in one library."""

    def __init__(self, functions: Mapping[str, tuple[Callable[..., Any], tuple[Array, ...]]]) -> None:
        self._graphs = {name: fused(f, *arrays) for name, (f, arrays) in functions.items()}
        kernels = {
            f"{name} {n}": kernel_of(node)
            for name, graph in self._graphs.items()
            for n, node in enumerate(graph.nodes)
        }
        self._library = Library(kernels)

    def run(self, name: str, *arrays: Array) -> list[Array]:
        graph = self._graphs[name]
        env: dict[int, Array] = {}
        for item in graph.inputs:
            constant = graph.constants.get(item.name)
            env[item.value.id] = arrays[int(item.name)] if constant is None else np.asarray(constant)
        for number, node in enumerate(graph.nodes):
            found = self._library.run(f"{name} {number}", [env[v.id] for v in node.inputs])
            env.update(zip((v.id for v in node.outputs), found, strict=True))
        return [env[out.value.id] for out in graph.outputs]


@pytest.fixture(scope="module")
def machine() -> Machine:
    functions = {name: (entry.function, entry.arrays) for name, entry in CLASSES.items()}
    functions["frozen head"] = (_loss(frozen_head_loss), (*HEAD, LABELS))
    functions["trained head"] = (_loss(trained_head_loss), (*HEAD, LABELS))
    return Machine(functions)


def judge(machine: Machine, name: str, arrays: Sequence[Array]) -> None:
    """Run a class on these arrays and hold it to its bound; NaN and infinities must be where they belong."""
    entry = CLASSES[name]
    (found,) = machine.run(name, *arrays)
    wide = [a.astype(np.float64) for a in arrays]
    with np.errstate(all="ignore"):
        exact = np.asarray(entry.exact(*wide))
        allowed = np.broadcast_to(entry.bound(wide, exact), exact.shape)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(found[np.isinf(exact)], exact[np.isinf(exact)])
    error = np.abs(found[finite] - exact[finite])
    excess = error - allowed[finite] - TINY
    assert (excess <= 0).all(), f"{name}: an error of {error.max()}, {excess.max()} more than allowed"


@pytest.mark.parametrize("name", CLASSES)
def test_errors_are_within_the_stated_bounds(name: str, machine: Machine) -> None:
    judge(machine, name, CLASSES[name].arrays)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_nan_passes(name: str, place: float, machine: Machine) -> None:
    for number in range(len(CLASSES[name].arrays)):
        arrays = [a.copy() for a in CLASSES[name].arrays]
        flat = arrays[number].reshape(-1)
        flat[int(place * (flat.size - 1))] = np.nan
        judge(machine, name, arrays)
        if name not in ("select", "gather"):  # which leave out what is not chosen
            assert np.isnan(machine.run(name, *arrays)[0]).any()


DENORMAL = ("elementwise", "select", "row sums", "column sums", "total", "middle sums", "row max", "product")


@pytest.mark.parametrize("name", [*DENORMAL, "gather", "scatter", "concatenate", "running sums"])
def test_denormals_are_not_zero(name: str, machine: Machine) -> None:
    entry = CLASSES[name]
    judge(machine, name, [entry.arrays[0] * np.float32(1e-40), *entry.arrays[1:]])
    (found,) = machine.run(name, *[entry.arrays[0] * np.float32(1e-40), *entry.arrays[1:]])
    assert found.any()


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30, 3e38])
@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
def test_large_softmax_inputs(name: str, size: float, machine: Machine) -> None:
    x = np.clip(ROWS / np.abs(ROWS).max(), -1, 1) * np.float32(size)
    x[1] = size  # all alike
    judge(machine, name, [x])


def test_rows_that_are_masked_altogether(machine: Machine) -> None:
    """With the lowest number, a row is uniform; with -infinity it has no softmax, and says so."""
    x = ROWS.copy()
    x[1] = LOWEST
    x[2] = -np.inf
    x[3, 7:] = -np.inf
    x[4, 7:] = LOWEST
    judge(machine, "softmax", [x])
    (found,) = machine.run("softmax", x)
    np.testing.assert_array_equal(found[1], np.float32(1 / 300))
    assert np.isnan(found[2]).all()
    assert (found[3:5, 7:] == 0).all()


@pytest.mark.parametrize("name", ["frozen head", "trained head"])
def test_without_labels_loss_and_gradients_are_zero(name: str, machine: Machine) -> None:
    for found in machine.run(name, *HEAD, LABELS):
        assert found.size
        np.testing.assert_array_equal(found, 0.0)


SOME = np.array([[3, NO_LABEL, 0, 39, 7, NO_LABEL, 3, 3, 12], [NO_LABEL] * 9], np.int32)
"""Labels of a few positions, and of none of the second row."""


def exact_head(h: Array, w: Array) -> tuple[Array, Array, Array]:
    """Loss and both gradients in float64."""
    labelled = SOME != NO_LABEL
    scores = np.einsum("btc,vc->btv", h, w)
    ones = np.eye(len(w))[np.where(labelled, SOME, 0)]
    terms = exact_logsumexp(scores.reshape(18, -1)).reshape(2, 9) - (scores * ones).sum(-1)
    slope = (exact_softmax(scores) - ones) * labelled[..., None]
    return np.asarray((terms * labelled).sum()), slope @ w, np.einsum("btv,btc->vc", slope, h)


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("name", ["frozen head", "trained head"])
def test_losses_and_gradients_of_large_scores(name: str, size: float, machine: Machine) -> None:
    """Scores of up to 10^5: an exponential is as wrong as its score is, relatively."""
    h, w = HEAD[0] * np.float32(size), HEAD[1]
    found = machine.run(name, h, w, SOME)
    wide = (h.astype(np.float64), w.astype(np.float64))
    loss, dh, dw = exact_head(*wide)
    score = 17 * U * np.einsum("btc,vc->btv", *map(np.abs, wide)).max()
    share = 4 * (score + 60 * U)
    assert abs(found[0] - loss) <= 18 * share + 20 * U * loss
    assert (np.abs(found[1] - dh) <= share * np.abs(wide[1]).sum(0)).all()
    wanted = np.zeros_like(dw) if name == "frozen head" else dw
    assert (np.abs(found[2] - wanted) <= share * np.abs(wide[0]).sum((0, 1))).all()
    assert not found[1][SOME == NO_LABEL].any()


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["frozen head", "trained head"])
def test_a_loss_head_passes_on_what_is_not_finite(name: str, special: float, machine: Machine) -> None:
    h = HEAD[0].copy()
    h[0, 3, 5] = special
    loss, dh, _ = machine.run(name, h, HEAD[1], SOME)
    assert np.isnan(loss).all()
    assert np.isnan(dh[0, 3]).all()
