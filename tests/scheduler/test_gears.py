"""Gears: what they draw and how fast they are follows from the profile alone."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from daypack.devices import load_profile
from daypack.errors import BundleError, SpecError
from daypack.runtime.gears import cost_of_step, gears_of, hull
from daypack.runtime.limits import Limits
from daypack.runtime.policies import setting_of
from daypack.runtime.workload import ShardWork, Workload, known_workload, workload_of
from tests.scheduler.conftest import MakeSetting

DEVICES = ("cortex-a76", "midrange-a78", "pixel8", "snapdragon-8gen2", "snapdragon-8gen3")


@pytest.mark.parametrize("device", DEVICES)
def test_a_gears_figures_are_those_of_its_clusters(device: str) -> None:
    profile = load_profile(device)
    gears = gears_of(profile)
    assert len({gear.levels for gear in gears}) == len(gears)
    whole = next(gear for gear in gears if gear.threads == profile.cores)
    assert whole is gears[0]
    assert whole.flops_per_s == pytest.approx(profile.total_flops_per_s)
    highest = sum(c.cores * c.points[-1].power_w.value for c in profile.clusters)
    assert whole.cores_w == pytest.approx(highest)


def test_a_published_point_is_met_exactly() -> None:
    """The X3 alone at its lowest and highest clock: 587 and 3326 mW."""
    alone = [g for g in gears_of(load_profile("snapdragon-8gen2")) if len(g.shares) == 1]
    watts = {round(s.clock_hz / 1e6): g.cores_w for g in alone for s in g.shares if s.cluster == "big"}
    assert watts[1363] == pytest.approx(0.587) and watts[3187] == pytest.approx(3.326)


@pytest.mark.parametrize("device", DEVICES)
def test_the_frugal_gears_are_convex_and_none_lies_below(device: str, make_setting: MakeSetting) -> None:
    setting = make_setting(device, skin_celsius=70.0)
    points = [(setting.share(g), setting.watts(g)) for g in setting.frugal]
    slopes = [(w1 - w0) / (s1 - s0) for (s0, w0), (s1, w1) in pairwise(points)]
    assert slopes == sorted(slopes) and all(s1 > s0 for (s0, _), (s1, _) in pairwise(points))
    for gear in range(len(setting.gears)):
        share, watts = setting.share(gear), setting.watts(gear)
        line = max(
            [points[0][1] / points[0][0] * share]
            + [w0 + (w1 - w0) / (s1 - s0) * (share - s0) for (s0, w0), (s1, w1) in pairwise(points)]
        )
        assert watts >= line * (1 - 1e-9)
    assert setting.share(setting.fastest) == 1.0


def test_the_clock_is_worth_more_than_a_third_of_the_energy(make_setting: MakeSetting) -> None:
    setting = make_setting()
    frugal, fastest = setting.costs[setting.frugal[0]], setting.costs[setting.everything]
    assert fastest.joules / frugal.joules > 1.5


def test_a_step_takes_the_longest_of_computing_moving_and_paging() -> None:
    profile = load_profile("snapdragon-8gen2")
    gear = gears_of(profile)[0]

    def seconds(shard: ShardWork) -> float:
        return cost_of_step(gear, Workload("w", 1, 0, (shard,), efficiency=1.0), profile).seconds

    assert seconds(ShardWork(gear.flops_per_s, 1.0)) == pytest.approx(1.0)
    assert seconds(ShardWork(1.0, 2 * 67.2e9)) == pytest.approx(2.0)
    assert seconds(ShardWork(1.0, 1.0, 4.2e9, 2.8e9)) == pytest.approx(2.0)
    cost = cost_of_step(gear, Workload("w", 1, 0, (ShardWork(1e9, 1e9, 1e9, 1e9),)), profile)
    assert (cost.memory_j, cost.flash_j) == pytest.approx((0.08, 0.42 + 0.84))
    assert cost.uncore_j == pytest.approx(0.35 * cost.seconds)


def test_a_device_without_a_figure_is_named() -> None:
    profile = load_profile("host")
    with pytest.raises(SpecError, match="device host: energy needs the figure flash.write_energy_j_per_byte"):
        setting_of(profile, known_workload("gpt2-lora"), Limits())
    bare = tuple(dataclasses.replace(c, points=()) for c in profile.clusters)
    with pytest.raises(SpecError, match=r"device host: energy needs \[\[cluster.points\]\] of cluster all"):
        gears_of(dataclasses.replace(profile, clusters=bare))


def test_a_dominated_gear_is_not_worth_using(make_setting: MakeSetting) -> None:
    costs = list(make_setting().costs)
    kept = hull(costs)
    worse = dataclasses.replace(costs[kept[0]], cores_j=10 * costs[kept[0]].cores_j)
    assert hull([*costs, worse]) == kept


def test_the_work_of_a_bundle_is_read_or_refused() -> None:
    good = {"tokens": 8, "peak_bytes": 9, "efficiency": 0.5, "shards": [[1e9, 2.0, 3.0, 4.0]]}
    found = workload_of({"work": good}, "b")
    assert found.shards == (ShardWork(1e9, 2.0, 3.0, 4.0),) and found.written_bytes == 4.0
    with pytest.raises(BundleError, match="b: expected 'work'.*compile again"):
        workload_of({}, "b")
    for broken in ({**good, "shards": [[1, -2, 3, 4]]}, {**good, "shards": 3}, {"tokens": 8}):
        with pytest.raises(BundleError, match="b: 'work' is not as the compiler writes it"):
            workload_of({"work": broken}, "b")
    for broken in ({**good, "shards": []}, {**good, "efficiency": 2.0}):
        with pytest.raises(BundleError, match="names no operations, or an efficiency"):
            workload_of({"work": broken}, "b")


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown workload 'gpt9'; known: gpt2-lora"):
        known_workload("gpt9")
