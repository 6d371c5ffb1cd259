"""Every shipped profile is complete, sourced, and what the kernels and the engine need."""

from __future__ import annotations

import dataclasses

import pytest

from daypack.devices import Cluster, Figure, FigureKind, load_profile, profile_names
from daypack.runtime.cpu_features import FEATURES

NAMES = profile_names()


def figures(thing: object) -> list[Figure]:
    """Every figure anywhere in a profile."""
    if isinstance(thing, Figure):
        return [thing]
    if isinstance(thing, tuple):
        return [figure for item in thing for figure in figures(item)]
    if dataclasses.is_dataclass(thing):
        return [
            figure for field in dataclasses.fields(thing) for figure in figures(getattr(thing, field.name))
        ]
    return []


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
