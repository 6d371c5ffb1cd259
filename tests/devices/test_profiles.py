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
    assert NAMES == ("host", "cortex-a76", "pixel8", "snapdragon-8gen2")


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


def test_the_energy_of_a_flop_agrees_with_the_published_derivation() -> None:
    """Snapdragon 8 Gen 2, in picojoules: X3 13.5-32.6, A715 13.2-27.1, A510 13.2-15.1."""
    clusters = {cluster.core: cluster for cluster in load_profile("snapdragon-8gen2").clusters}
    assert picojoules(clusters["Cortex-X3"]) == [13.5, 19.1, 32.6]
    assert picojoules(clusters["Cortex-A715"]) == [13.2, 27.1]
    assert picojoules(clusters["Cortex-A510"]) == [13.2, 15.1]


def picojoules(cluster: Cluster) -> list[float]:
    return [round(1e12 * cluster.energy_j_per_flop(point), 1) for point in cluster.points]


def test_no_phone_figure_is_shown_as_measured_unless_it_was() -> None:
    for name in ("pixel8", "cortex-a76"):
        kinds = {figure.kind for figure in figures(load_profile(name))}
        assert FigureKind.MEASURED not in kinds
