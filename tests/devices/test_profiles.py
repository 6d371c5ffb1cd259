"""Every shipped profile is complete, sourced, and what the kernels and the engine need."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from daypack.devices import Cluster, Figure, FigureKind, figures_of, load_profile, profile_names
from daypack.runtime.cpu_features import FEATURES

NAMES = profile_names()

PLAIN = {"vector_bits", "vector_registers", "cores", "clock_hz"}
"""Numbers without a source: what code is made for, counts, and the clock that a power was measured at."""


def figures(thing: object) -> list[Figure]:
    """Every figure anywhere in a profile."""
    return list(figures_of(thing))


def bare_numbers(part: Any, key: str = "") -> Iterator[str]:
    """Keys of the numbers in a TOML document that belong to no figure."""
    if isinstance(part, dict) and {"value", "source", "kind"} <= part.keys():
        return
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from bare_numbers(inner, name)
    elif isinstance(part, list):
        for inner in part:
            yield from bare_numbers(inner, key)
    elif isinstance(part, int | float):
        yield key


def test_the_known_devices() -> None:
    phones = ("midrange-a78", "pixel8", "snapdragon-8gen2", "snapdragon-8gen3")
    cores = ("cortex-a510", "cortex-a76", "cortex-x3")
    assert set(phones) < set(NAMES) and NAMES[:4] == ("host", *cores)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_has_what_the_kernels_need(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.llvm_triple == f"{profile.arch}-linux-musl"
    assert profile.vector_bits in (128, 256, 512)
    assert profile.vector_registers in (16, 32)
    assert 16 * 1024 <= profile.l1d_bytes < profile.l2_bytes
    assert profile.cores == sum(cluster.cores for cluster in profile.clusters)
    assert 1e9 < profile.peak_flops_per_s <= profile.total_flops_per_s
    assert profile.memory_bytes_per_s is not None and profile.memory_bytes_per_s > 1e9
    assert all(feature[0] in "+-" for feature in profile.llvm_features)


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_can_check_every_feature(name: str) -> None:
    profile = load_profile(name)
    assert set(profile.cpu_features) <= set(FEATURES[profile.arch])


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_where_it_is_from(name: str) -> None:
    found = figures(load_profile(name))
    assert len(found) >= 7
    assert all(figure.value > 0 and len(figure.source) >= 5 for figure in found)
    assert FigureKind.EMULATED not in {figure.kind for figure in found}


@pytest.mark.parametrize("name", NAMES[1:])
def test_no_number_of_a_file_stands_without_its_source(name: str) -> None:
    text = (resources.files("daypack.devices") / f"{name}.toml").read_text()
    assert set(bare_numbers(tomllib.loads(text))) <= PLAIN


PUBLISHED = [
    ("snapdragon-8gen2", "memory.energy_j_per_byte", 80e-12),  # 10 pJ a bit
    ("cortex-a76", "memory.energy_j_per_byte", 64e-12),  # 8 pJ a bit
    ("snapdragon-8gen2", "flash.read_bytes_per_s", 4.2e9),  # UFS 4.0
    ("snapdragon-8gen2", "flash.write_bytes_per_s", 2.8e9),
    ("snapdragon-8gen2", "flash.read_energy_j_per_byte", 0.42e-9),
    ("pixel8", "flash.read_bytes_per_s", 2.1e9),  # UFS 3.1
    ("pixel8", "flash.write_bytes_per_s", 1.2e9),
    ("pixel8", "flash.read_energy_j_per_byte", 0.61e-9),
    ("pixel8", "thermal.sustainable_power_w", 0.8),
    ("pixel8", "thermal.max_power_w", 4.6),
    ("pixel8", "thermal.passive_period_s", 7),
    ("pixel8", "thermal.sustained_fraction", 0.6),
    ("snapdragon-8gen2", "thermal_network.battery_time_constant_s", 210),
    ("snapdragon-8gen2", "thermal_network.battery_heat_capacity_j_per_k", 75),
    ("snapdragon-8gen2", "thermal_network.skin_time_constant_s", 100),
    ("snapdragon-8gen2", "thermal_network.skin_heat_capacity_j_per_k", 40),
    ("snapdragon-8gen2", "thermal_network.cpu_time_constant_s", 25),
    ("snapdragon-8gen2", "thermal_network.cpu_heat_capacity_j_per_k", 20),
]


@pytest.mark.parametrize(("name", "key", "value"), PUBLISHED)
def test_published_figures_are_used_where_they_apply(name: str, key: str, value: float) -> None:
    section, _, field = key.partition(".")
    assert getattr(getattr(load_profile(name), section), field).value == value


def test_the_pixels_cores_draw_the_published_currents() -> None:
    """Milliamperes at 3.85 V: big 69.58, 128.49, 254.25; middle 116; little 98."""
    big, mid, little = load_profile("pixel8").clusters
    drawn = [point.power_w.value for point in (*big.points, mid.points[-1], little.points[-1])]
    assert drawn == pytest.approx([3.85e-3 * ma for ma in (69.58, 128.49, 254.25, 116, 98)], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_fastest_cluster_comes_first(name: str) -> None:
    speeds = [cluster.peak_flops_per_s for cluster in load_profile(name).clusters]
    assert speeds == sorted(speeds, reverse=True)


PHONES = ("midrange-a78", "pixel8", "snapdragon-8gen2", "snapdragon-8gen3")


@pytest.mark.parametrize("name", (*PHONES, "cortex-a76"))
def test_energy_and_heat_are_described_in_full(name: str) -> None:
    profile = load_profile(name)
    parts = [profile.memory, profile.flash, profile.power]
    parts += [profile.battery, profile.thermal_network] if name in PHONES else []
    for part in parts:
        missing = [f.name for f in dataclasses.fields(part) if getattr(part, f.name) is None]
        assert missing == [], type(part).__name__
    assert all(len(cluster.points) >= 2 for cluster in profile.clusters)
    assert profile.thermal.control_celsius is not None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_assumed_about_energy_has_a_range(name: str) -> None:
    profile = load_profile(name)
    points = [point.power_w for cluster in profile.clusters for point in cluster.points]
    for figure in figures((profile.power, profile.battery, profile.thermal_network)) + points:
        if figure.kind is FigureKind.ASSUMED and name in (*PHONES, "cortex-a76", "host"):
            assert figure.low is not None and figure.high is not None
            assert figure.low <= figure.value <= figure.high


@pytest.mark.parametrize("name", PHONES)
def test_power_rises_with_the_clock_up_to_the_clusters_own(name: str) -> None:
    for cluster in load_profile(name).clusters:
        pairs = [(point.clock_hz, point.power_w.value) for point in cluster.points]
        assert pairs == sorted(pairs) and len({watts for _, watts in pairs}) == len(pairs)
        assert pairs[-1][0] == cluster.clock_hz.value


def test_the_pixels_thresholds_are_the_vendors() -> None:
    thermal = load_profile("pixel8").thermal
    names = ("control", "moderate", "severe", "critical", "emergency", "shutdown")
    found = [getattr(thermal, f"{name}_celsius").value for name in names]
    assert found == [39, 43, 45, 46.5, 52, 55]


def test_the_energy_of_a_flop_agrees_with_the_published_derivation() -> None:
    """Snapdragon 8 Gen 2, in picojoules: X3 13.5-32.6, A715 13.2-27.1, A510 13.2-15.1."""
    clusters = {cluster.core: cluster for cluster in load_profile("snapdragon-8gen2").clusters}
    assert picojoules(clusters["Cortex-X3"]) == [13.5, 19.1, 32.6]
    assert picojoules(clusters["Cortex-A715"]) == [13.2, 27.1]
    assert picojoules(clusters["Cortex-A510"]) == [13.2, 15.1]


def picojoules(cluster: Cluster) -> list[float]:
    return [round(1e12 * cluster.energy_j_per_flop(point), 1) for point in cluster.points]


def test_no_phone_figure_is_shown_as_measured_unless_it_was() -> None:
    for name in ("pixel8", "cortex-a76", "midrange-a78", "snapdragon-8gen3"):
        kinds = {figure.kind for figure in figures(load_profile(name))}
        assert FigureKind.MEASURED not in kinds
