"""The time of a kernel's call follows from measured rates, or from shares of the peak."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.compiler.cost import CALL_S, KernelCost, kernel_seconds
from daypack.devices import PRODUCTS_SHARE, Figure, FigureKind, Kernels, Reached, load_profile
from daypack.runtime.gears import gears_of

BOARD = load_profile("cortex-a76")
MEMORY = 17.068e9


def figure(value: float) -> Figure:
    return Figure(value, "a test", FigureKind.MEASURED)


MEASURED = replace(BOARD, kernels=Kernels(figure(100e9), figure(20e9), figure(30e9), None, figure(5e-6)))


@pytest.mark.parametrize(
    ("kind", "compute"), [("gemm", 1e9 / 100e9), ("rows", 1e9 / 20e9), ("elementwise", 1e9 / 30e9)]
)
def test_measured_rates_are_used(kind: str, compute: float) -> None:
    move = 1e8 / MEMORY
    expected = 5e-6 + (compute + move if kind == "gemm" else max(compute, move))
    assert kernel_seconds(kind, KernelCost(1e9, 100_000_000), MEASURED) == pytest.approx(expected)


def test_without_them_shares_of_the_peak_are() -> None:
    cost = KernelCost(1e9, 0)
    assert kernel_seconds("gemm", cost, BOARD) == pytest.approx(CALL_S + 1e9 / (153.6e9 * PRODUCTS_SHARE))
    assert kernel_seconds("rows", cost, BOARD) == pytest.approx(CALL_S + 1e9 / (153.6e9 * 0.25))


def test_a_clusters_measured_products_set_its_peak_and_its_gears() -> None:
    reached = (Reached(1, 1024, figure(10e9)), Reached(4, 512, figure(20e9)), Reached(4, 1024, figure(34e9)))
    board = replace(BOARD, clusters=(replace(BOARD.clusters[0], products=reached),))
    assert board.total_flops_per_s == pytest.approx(40e9)
    whole = max(gears_of(board), key=lambda gear: gear.flops_per_s)
    assert whole.flops_per_s == pytest.approx(40e9)
