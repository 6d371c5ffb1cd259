"""Gears: the ways to run a shard on a device, each with the time and the energy that the profile gives it.

A gear says for every cluster whether all its cores compute and at which clock cap. Between the clock points
of a profile power follows a power law through its neighbours; beyond them nothing is extrapolated. All
figures are modelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from daypack.devices import Cluster, Figure, Profile
from daypack.errors import SpecError
from daypack.runtime.workload import Workload

LEVELS = 6
"""Clock caps a cluster has, evenly spaced by ratio from its lowest point to its highest."""
OFF = -1


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a cluster in a gear."""

    cluster: str
    threads: int
    clock_hz: float


@dataclass(frozen=True, slots=True)
class Gear:
    """Which cores at which clock: operations a second at the peak, watts of the busy cores.

    `levels` has the clock cap of each cluster in the profile's order, `OFF` where none of it computes.
    """

    name: str
    shares: tuple[Share, ...]
    levels: tuple[int, ...]
    flops_per_s: float
    cores_w: float

    @property
    def threads(self) -> int:
        """One a core."""
        return sum(share.threads for share in self.shares)


@dataclass(frozen=True, slots=True)
class GearCost:
    """One step of a workload in a gear; joules by cause, without what holds the device awake."""

    seconds: float
    cores_j: float
    uncore_j: float
    memory_j: float
    flash_j: float

    @property
    def joules(self) -> float:
        return self.cores_j + self.uncore_j + self.memory_j + self.flash_j

    @property
    def watts(self) -> float:
        """While it runs."""
        return self.joules / self.seconds


def gears_of(profile: Profile) -> tuple[Gear, ...]:
    """Every gear of a device, fastest first.

    All cores at each cap; the cheapest choice of caps for every price of a watt; each cluster alone; and what
    the device's own governor makes of these when it caps clocks. Raises `SpecError` without power figures.
    """
    ladders = [_ladder(cluster, profile) for cluster in profile.clusters]
    whole = [tuple([level] * len(ladders)) for level in range(LEVELS)]
    alone = [
        tuple(level if other == cluster else OFF for other in range(len(ladders)))
        for cluster in range(len(ladders))
        for level in (0, LEVELS - 1)
    ]
    chosen = {*whole, *alone, *_cheapest(ladders)}
    closed = {capped(levels, cap) for levels in chosen for cap in range(LEVELS)}
    gears = [_gear(profile, ladders, levels) for levels in sorted(closed)]
    return tuple(sorted(gears, key=lambda gear: (-gear.flops_per_s, gear.cores_w, gear.levels)))


def capped(levels: tuple[int, ...], cap: int) -> tuple[int, ...]:
    """What a governor's cap leaves of a gear's clocks."""
    return tuple(min(level, cap) for level in levels)


def at_highest_clocks(gear: Gear, profile: Profile) -> Gear:
    """The same cores without a cap."""
    levels = tuple(level if level == OFF else LEVELS - 1 for level in gear.levels)
    return _gear(profile, [_ladder(cluster, profile) for cluster in profile.clusters], levels)


def shard_seconds(gear: Gear, workload: Workload, profile: Profile) -> tuple[float, ...]:
    """Of each shard: the longest of computing, moving and paging, which overlap."""
    memory, flash = profile.memory, profile.flash
    seconds: list[float] = []
    for shard in workload.shards:
        compute = shard.flops / (gear.flops_per_s * workload.efficiency)
        move = shard.moved_bytes / needed(profile, "memory.bytes_per_s", memory.bytes_per_s)
        page = 0.0
        if shard.read_bytes:
            page += shard.read_bytes / needed(profile, "flash.read_bytes_per_s", flash.read_bytes_per_s)
        if shard.written_bytes:
            page += shard.written_bytes / needed(profile, "flash.write_bytes_per_s", flash.write_bytes_per_s)
        seconds.append(max(compute, move, page))
    return tuple(seconds)


def cost_of_step(gear: Gear, workload: Workload, profile: Profile) -> GearCost:
    """Shard by shard; energy adds up."""
    memory, flash = profile.memory, profile.flash
    seconds = sum(shard_seconds(gear, workload, profile))
    moved_bytes = sum(shard.moved_bytes for shard in workload.shards)
    read_bytes = sum(shard.read_bytes for shard in workload.shards)
    written_bytes = sum(shard.written_bytes for shard in workload.shards)
    flash_j = 0.0
    if read_bytes:
        flash_j += read_bytes * needed(profile, "flash.read_energy_j_per_byte", flash.read_energy_j_per_byte)
    if written_bytes:
        per_byte = needed(profile, "flash.write_energy_j_per_byte", flash.write_energy_j_per_byte)
        flash_j += written_bytes * per_byte
    return GearCost(
        seconds,
        gear.cores_w * seconds,
        needed(profile, "power.uncore_w", profile.power.uncore_w) * seconds,
        moved_bytes * needed(profile, "memory.energy_j_per_byte", memory.energy_j_per_byte),
        flash_j,
    )


def hull(costs: Iterable[GearCost], awake_w: float = 0.0) -> tuple[int, ...]:
    """Indices of the gears that are worth using, most frugal first, fastest last.

    Any speed between two neighbours is had for the least energy by a mixture of them: they are the lower
    convex hull of watts over steps a second, from the fewest joules a step on. `awake_w` is drawn in every
    gear.
    """
    points = sorted((1.0 / cost.seconds, cost.watts + awake_w, index) for index, cost in enumerate(costs))
    lower: list[tuple[float, float, int]] = [(0.0, 0.0, -1)]
    for point in points:
        while len(lower) > 1 and _slope(lower[-2], lower[-1]) >= _slope(lower[-2], point):
            lower.pop()
        if point[0] > lower[-1][0]:
            lower.append(point)
    return tuple(index for _, _, index in lower[1:])


def needed(profile: Profile, key: str, figure: Figure | None) -> float:
    """The value of a figure; `SpecError` names the one that a profile lacks."""
    if figure is None:
        raise SpecError(
            f"device {profile.name}: energy needs the figure {key}, found none; add it to the profile"
        )
    return figure.value


Ladder = tuple[tuple[float, float, float], ...]
"""Of one core at each cap: operations a second, watts, clock in hertz."""


def _ladder(cluster: Cluster, profile: Profile) -> Ladder:
    points = sorted((point.clock_hz, point.power_w.value) for point in cluster.points)
    if not points:
        raise SpecError(
            f"device {profile.name}: energy needs [[cluster.points]] of cluster {cluster.name}, found none; "
            "add them to the profile"
        )
    low, high = points[0][0], points[-1][0]
    clocks = [low * (high / low) ** (level / (LEVELS - 1)) for level in range(LEVELS)]
    per_cycle = cluster.flops_per_s / (cluster.cores * cluster.clock_hz.value)
    return tuple((clock * per_cycle, _power_w(points, clock), clock) for clock in clocks)


def _power_w(points: list[tuple[float, float]], clock_hz: float) -> float:
    for (low, low_w), (high, high_w) in zip(points, points[1:], strict=False):
        if low <= clock_hz <= high * (1 + 1e-12):
            exponent = math.log(high_w / low_w) / math.log(high / low)
            return low_w * (clock_hz / low) ** exponent
    return points[-1][1] if clock_hz >= points[-1][0] else points[0][1]


def _gear(profile: Profile, ladders: list[Ladder], levels: tuple[int, ...]) -> Gear:
    shares: list[Share] = []
    flops_per_s = cores_w = 0.0
    for cluster, ladder, level in zip(profile.clusters, ladders, levels, strict=True):
        if level == OFF:
            continue
        rate, watts, clock_hz = ladder[level]
        shares.append(Share(cluster.name, cluster.cores, clock_hz))
        flops_per_s += cluster.cores * rate
        cores_w += cluster.cores * watts
    name = " ".join(f"{s.cluster}:{s.threads}@{s.clock_hz / 1e9:.2f}" for s in shares)
    return Gear(name, tuple(shares), levels, flops_per_s, cores_w)


def _cheapest(ladders: list[Ladder]) -> set[tuple[int, ...]]:
    """For every price in watts of an operation a second, the caps that are worth it: clusters decide by
    themselves.
    """
    prices = sorted(
        {
            (high_w - low_w) / (high - low)
            for ladder in ladders
            for (low, low_w, _), (high, high_w, _) in zip(((0.0, 0.0, 0.0), *ladder), ladder, strict=False)
            if high > low
        }
    )
    return {_bought(ladders, price) for price in prices} - {(OFF,) * len(ladders)}


def _bought(ladders: list[Ladder], price: float) -> tuple[int, ...]:
    return tuple(
        min(
            range(OFF, LEVELS),
            key=lambda level: (
                0.0 if level == OFF else ladder[level][1] - price * (1 + 1e-9) * ladder[level][0]
            ),
        )
        for ladder in ladders
    )


def _slope(one: tuple[float, float, int], other: tuple[float, float, int]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0]) if other[0] > one[0] else math.inf
