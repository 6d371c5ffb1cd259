"""Rates from what kernels took, and processors of clusters from what a device tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.calibration.fit import half_rate, product_rates, rates_of
from daypack.calibration.processors import masks_of
from daypack.calibration.readings import KernelReading
from daypack.compiler.cost import KernelCost, kernel_seconds
from daypack.devices import Figure, FigureKind, Kernels, Memory, load_profile
from daypack.errors import SpecError

CALL_S, MEMORY, PRODUCTS, ROWS, ELEMENTS = 3e-6, 20e9, 150e9, 40e9, 60e9


def figure(value: float) -> Figure:
    return Figure(value, "a test", FigureKind.MEASURED)


def reading(name: str, kind: str, flops: float, moved_bytes: float, calls: int = 1) -> KernelReading:
    """What the cost model says of a device with the rates above."""
    profile = replace(
        load_profile("cortex-a76"),
        memory=Memory(figure(MEMORY)),
        kernels=Kernels(figure(PRODUCTS), figure(ROWS), figure(ELEMENTS), None, figure(CALL_S)),
    )
    seconds = kernel_seconds(kind, KernelCost(flops, int(moved_bytes)), profile)
    return KernelReading(name, kind, name, calls, flops, moved_bytes, seconds)


KERNELS = [
    reading("wide", "gemm", 2.4e9, 9e6, 3),
    reading("heads", "gemm", 5e7, 3e6, 12),
    reading("softmax", "rows", 3e7, 2e6, 12),
    reading("norm", "rows", 1e6, 3e6),
    reading("activation", "elementwise", 6e7, 4e6),
    reading("long update", "elementwise", 1.2e8, 1.2e8),
    reading("tiny update", "elementwise", 300, 448, 16),
    reading("tiny sum", "total", 16, 68, 16),
]


def test_the_rates_that_explain_the_kernels_are_found() -> None:
    rates = rates_of(KERNELS)
    assert rates.call_s == pytest.approx(CALL_S, rel=0.01)
    assert rates.memory_bytes_per_s == pytest.approx(MEMORY, rel=0.01)
    assert rates.products_flops_per_s == pytest.approx(PRODUCTS, rel=0.01)
    assert rates.rows_flops_per_s == pytest.approx(ROWS, rel=0.01)
    assert rates.elements_flops_per_s == pytest.approx(ELEMENTS, rel=0.01)


def test_products_are_told_by_their_schedules_largest_first() -> None:
    found = product_rates(KERNELS, rates_of(KERNELS))
    assert list(found) == ["wide", "heads"]
    assert found["heads"] < found["wide"] < PRODUCTS


def test_products_of_another_program_are_told_beside_their_bytes() -> None:
    assert half_rate(KERNELS[:2], rates_of(KERNELS)) == pytest.approx(PRODUCTS, rel=0.01)


def test_without_long_rows_there_is_no_such_rate() -> None:
    kernels = [kernel for kernel in KERNELS if kernel.name != "softmax"]
    assert rates_of(kernels).rows_flops_per_s is None


def test_a_clock_that_tells_nothing_is_an_error() -> None:
    kernels = [replace(kernel, seconds=CALL_S) for kernel in KERNELS]
    with pytest.raises(SpecError, match="calibrate: memory: found 0 s beside other work, expected more"):
        rates_of(kernels)


CAPACITIES = {0: 250, 1: 250, 2: 250, 3: 250, 4: 700, 5: 700, 6: 700, 7: 700, 8: 1024}


def test_clusters_are_groups_of_equally_strong_processors() -> None:
    clusters = load_profile("pixel8").clusters
    assert [cluster.cores for cluster in clusters] == [1, 4, 4]
    by_capacity = {f"/sys/devices/system/cpu/cpu{c}/cpu_capacity": f"{v}\n" for c, v in CAPACITIES.items()}
    assert masks_of(clusters, by_capacity.get) == (1 << 8, 0b1111 << 4, 0b1111)
    by_clock = {
        f"/sys/devices/system/cpu/cpu{c}/cpufreq/cpuinfo_max_freq": f"{1000 * v}\n"
        for c, v in CAPACITIES.items()
    }
    assert masks_of(clusters, by_clock.get) == (1 << 8, 0b1111 << 4, 0b1111)


def test_clusters_that_cannot_be_told_apart() -> None:
    def nothing(path: str) -> None:
        del path

    assert masks_of(load_profile("pixel8").clusters, nothing) is None
    assert masks_of(load_profile("cortex-a76").clusters, nothing) == (None,)
