"""The energy policy of a spec, and its place in a bundle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daypack.devices import Profile
    from daypack.runtime.limits import Limits as EnergyLimits
    from daypack.spec import TrainSpec


def _limits(spec: TrainSpec) -> EnergyLimits:
    """The spec's limits as the scheduler takes them."""
    from daypack.runtime.limits import Limits

    energy = spec.energy
    if energy is None:
        return Limits()
    return Limits(
        reserve=energy.reserve,
        skin_celsius=energy.skin_celsius,
        joules_per_day=energy.joules_per_day or math.inf,
        written_bytes=math.inf if energy.written_bytes is None else energy.written_bytes,
        only_charging=energy.only_charging,
        only_screen_off=energy.only_screen_off,
        quiet_hours=energy.quiet_hours,
    )


def policy_room(spec: TrainSpec, profile: Profile) -> int:
    """Bytes that the spec's policy may take in memory; 0 without one."""
    from daypack.runtime.shipping import room_for_policy

    energy = spec.energy
    return 0 if energy is None else room_for_policy(profile, energy.policy, _limits(spec), energy.parameters)


def add_policy(folder: Path, spec: TrainSpec, profile: Profile, room_bytes: int) -> None:
    """Tabulate the spec's policy for the plan that was just written."""
    from daypack.runtime.shipping import make_policy, ship_policy
    from daypack.runtime.workload import workload_of

    energy = spec.energy
    if energy is None:
        return
    workload = workload_of(json.loads((folder / "bundle.json").read_bytes()), "bundle.json")
    deadline_s = math.inf if energy.deadline_hours is None else 3600.0 * energy.deadline_hours
    steps = spec.train.max_steps
    policy = make_policy(
        profile, workload, energy.policy, _limits(spec), steps, deadline_s, energy.parameters
    )
    ship_policy(policy, folder, room_bytes)
