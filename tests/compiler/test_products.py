# pyright: reportUnknownMemberType=false
"""Matrix products in several tilings: right at the tails, and the same bits in all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.tiling import THREADS, Size, candidates, choose_tiling, modelled
from daypack.compiler.kernels.tuning import Tuned, Tuning
from daypack.errors import SpecError
from tests.compiler.graphs import fused
from tests.compiler.harness import HOST, Array, Library, kernel_of, narrower_targets

FORMS = (
    "mk,kn->mn",
    "mk,nk->mn",
    "km,kn->mn",
    "km,nk->mn",
    "bmk,bnk->bmn",
    "amc,acn->mn",  # not to be read in place, and along the depth in memory
    "bkm,nk->bmn",  # nor this, along the rows
)
LARGE = {"m": 33, "n": 131, "k": 77, "a": 3, "b": 2, "c": 37}
SMALL = {"m": 5, "n": 19, "k": 18, "a": 2, "b": 2, "c": 9}
RANKS = (0, 3, 9)
TARGETS = (HOST, *narrower_targets())


def operands(form: str, sizes: dict[str, int]) -> list[Array]:
    generator = np.random.default_rng(len(form))
    parts = form.split("->")[0].split(",")
    return [generator.standard_normal([sizes[axis] for axis in p], np.float32) for p in parts]


def product(form: str, arrays: list[Array]) -> Node:
    def function(x: Any, y: Any) -> Any:
        return jnp.einsum(form, x, y)

    (node,) = [n for n in fused(function, *arrays).nodes if n.attrs["kind"] == "gemm"]
    return node


def with_rank(target: KernelTarget, rank: int) -> KernelTarget:
    """A small cache, so that the depth is cut, and a place in the model's ranking."""
    return replace(target, l2_bytes=4 * 3 * target.lanes * 4 * 32, tuning=Tuning(rank=rank))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
def test_every_tiling_gives_the_same_bits(target: KernelTarget) -> None:
    tried = [(form, LARGE) for form in FORMS] + [(form, SMALL) for form in FORMS[1::4]]
    cases = {f"{form} of {sizes['m']}": (form, operands(form, sizes)) for form, sizes in tried}
    schedules: dict[str, set[str]] = {name: set() for name in cases}
    first: dict[str, Array] = {}
    for rank in RANKS if target == HOST else RANKS[::2]:
        own = with_rank(target, rank)
        kernels = {name: kernel_of(product(form, arrays), own) for name, (form, arrays) in cases.items()}
        library = Library(kernels, target)
        for name, (form, arrays) in cases.items():
            said = kernels[name].code.schedule
            schedules[name].add(said)
            (found,) = library.run(name, arrays)
            wide = [array.astype(np.float64) for array in arrays]
            bound = np.einsum(form, *map(np.abs, wide)) * 2.0**-24 * LARGE["k"] * 3
            assert (np.abs(found - np.einsum(form, *wide)) <= bound).all(), (name, said)
            assert np.array_equal(found, first.setdefault(name, found)), (name, said)
    assert max(map(len, schedules.values())) >= 2, "the ranks must differ for the test to say something"
    assert {"in place" in said for said in set[str]().union(*schedules.values())} == {True, False}


@pytest.mark.parametrize("form", ["mk,kn,mr,rn->mn", "mk,nk,mr,nr->mn", "bmk,bkn,bmr,brn->bmn"])
def test_a_shallow_product_is_made_in_the_kernel_of_the_deep_one(form: str) -> None:
    """Low-rank adapters: x·W + bias + low·B, at tails of rows, columns and depth."""
    deep, low = [",".join(p) for p in (form.split("->")[0].split(",")[n : n + 2] for n in (0, 2))]
    result = form.split("->")[1]
    sizes = {"m": 37, "n": 77, "k": 97, "r": 5, "b": 2}
    generator = np.random.default_rng(3)
    shapes = [[sizes[axis] for axis in part] for part in (*form.split("->")[0].split(","), "n")]
    arrays = [generator.standard_normal(shape, np.float32) for shape in shapes]

    def function(x: Any, w: Any, a: Any, b: Any, bias: Any) -> Any:
        return jnp.einsum(f"{deep}->{result}", x, w) + bias + jnp.einsum(f"{low}->{result}", a, b)

    (node,) = fused(function, *arrays).nodes
    x, w, a, b, bias = (array.astype(np.float64) for array in arrays)
    wanted = np.einsum(f"{deep}->{result}", x, w) + bias + np.einsum(f"{low}->{result}", a, b)
    first: Array | None = None
    for rank in RANKS:
        kernel = kernel_of(node, with_rank(HOST, rank))
        assert kernel.code.schedule.endswith("and depth 5")
        order = [[*arrays][number] for number in _places(kernel.body, arrays)]
        for chunks in (1, 3) if rank else (3,):
            (found,) = Library({"k": kernel}).run("k", order, chunks=chunks)
            assert np.allclose(found, wanted, rtol=1e-5, atol=2e-5)
            first = found if first is None else first
            assert np.array_equal(found, first), kernel.code.schedule


def _places(body: StepGraph, arrays: list[Array]) -> list[int]:
    """The number of the argument that each input of the body is; no two have one shape."""
    shapes = [array.shape for array in arrays]
    assert len(set(shapes)) == len(shapes)
    return [shapes.index(item.value.shape) for item in body.inputs]


def test_two_deep_products_stay_apart() -> None:
    x, w = (np.zeros(shape, np.float32) for shape in ((9, 80), (80, 7)))

    def function(x: Any, w: Any, v: Any) -> Any:
        return x @ w + x @ v

    graph = fused(function, x, w, w)
    assert [n.attrs["kind"] for n in graph.nodes] == ["gemm", "gemm"]


def test_the_model_prefers_what_wastes_least() -> None:
    size = Size(1, 512, 768, 768, True)
    best = choose_tiling(size, HOST)
    assert modelled(size, best) == min(modelled(size, tiling) for tiling in candidates(size, HOST))
    assert modelled(size, best) >= len(THREADS)
    assert size.columns % best.nr == 0


def test_a_measured_tiling_is_taken() -> None:
    size = Size(1, 64, 96, 32, True)
    tuned = Tuned(size.name, 2, 2, 16, 8, 1e-3)
    target = replace(HOST, tuning=Tuning((tuned,)))
    chosen = choose_tiling(size, target)
    assert (chosen.mr, chosen.vectors, chosen.depth, chosen.block) == (2, 2, 16, 8)
    other = Size(1, 64, 96, 33, True)
    assert choose_tiling(other, target) == choose_tiling(other, HOST)


def test_a_measured_tiling_that_the_registers_do_not_hold_is_refused() -> None:
    size = Size(1, 64, 96, 32, True)
    target = replace(HOST, tuning=Tuning((Tuned(size.name, 16, 4, 16, 16, 1e-3),)))
    with pytest.raises(SpecError, match="vector registers, found 16 rows of 4 vectors, which need 69"):
        choose_tiling(size, target)
