"""Where a policy is tabulated for: a device's gears priced for one workload, its heat, and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daypack.devices import Profile
from daypack.runtime.gears import LEVELS, Gear, GearCost, capped, cost_of_step, gears_of, hull, needed
from daypack.runtime.heat import HeatModel, heat_model
from daypack.runtime.limits import Limits
from daypack.runtime.workload import Workload


@dataclass(frozen=True, slots=True)
class Setting:
    """`gears`, fastest first, and `costs` of one step have one order; `frugal` lists the gears worth using,
    most frugal first, fastest last. `parameters`: of the policy that is tabulated.
    """

    profile: Profile
    workload: Workload
    limits: Limits
    gears: tuple[Gear, ...]
    costs: tuple[GearCost, ...]
    frugal: tuple[int, ...]
    heat: HeatModel
    awake_w: float
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def everything(self) -> int:
        """All cores at the highest clock."""
        return next(i for i, g in enumerate(self.gears) if g.levels == (LEVELS - 1,) * len(g.levels))

    @property
    def fastest(self) -> int:
        return self.frugal[-1]

    @property
    def safest(self) -> int:
        """What draws the least while it runs."""
        return min(range(len(self.gears)), key=lambda gear: self.costs[gear].watts)

    def share(self, gear: int) -> float:
        """The speed of a gear, as a share of the fastest."""
        return self.costs[self.fastest].seconds / self.costs[gear].seconds

    def watts(self, gear: int) -> float:
        """What a gear draws, with what holds the device awake."""
        return self.costs[gear].watts + self.awake_w

    def frugal_for(self, share: float) -> int:
        """The most frugal gear with at least this share of the fastest speed; else the fastest."""
        return next((gear for gear in self.frugal if self.share(gear) >= share * (1 - 1e-9)), self.fastest)

    def frugal_within(self, share: float, watts: float) -> int | None:
        """The same among gears that draw at most `watts`; the fastest of them if none is fast enough."""
        allowed = [gear for gear in self.frugal if self.watts(gear) <= watts]
        enough = (gear for gear in allowed if self.share(gear) >= share * (1 - 1e-9))
        return next(enough, allowed[-1] if allowed else None)

    def governed(self) -> tuple[tuple[int, ...], ...]:
        """For every gear what each cap of the device's own governor makes of it; the last caps nothing."""
        place = {gear.levels: index for index, gear in enumerate(self.gears)}
        return tuple(tuple(place[capped(gear.levels, cap)] for cap in range(LEVELS)) for gear in self.gears)


def setting_of(profile: Profile, workload: Workload, limits: Limits) -> Setting:
    """Price every gear of a device for a workload. Raises `SpecError` where the profile lacks a figure."""
    gears = gears_of(profile)
    costs = tuple(cost_of_step(gear, workload, profile) for gear in gears)
    awake_w = needed(profile, "power.awake_w", profile.power.awake_w)
    return Setting(
        profile, workload, limits, gears, costs, hull(costs, awake_w), heat_model(profile), awake_w
    )
