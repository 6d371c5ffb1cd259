"""A policy for one bundle: tabulated for the device and for what the plan's steps ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from daypack.devices import Profile
from daypack.errors import BundleError
from daypack.runtime.limits import Limits
from daypack.runtime.policies import policy_named, setting_of, tabulate
from daypack.runtime.policies.policy import PolicyError
from daypack.runtime.policy_file import NAME, ShippedPolicy, policy_bytes, shipped_policy
from daypack.runtime.workload import Workload, known_workload

ROOM_BYTES = 65_536
"""Kept free for what a policy's table may grow by once the plan is known."""


def make_policy(
    profile: Profile,
    workload: Workload,
    name: str,
    limits: Limits,
    steps: int,
    deadline_s: float = math.inf,
    parameters: Mapping[str, float] | None = None,
) -> ShippedPolicy:
    """Raises `SpecError` for an unknown policy, a parameter that it has not or a value out of bounds, or a
    profile without the figures that energy needs, and `PolicyError` for a policy that cannot be tabulated.
    """
    setting = setting_of(profile, workload, limits)
    return shipped_policy(tabulate(policy_named(name, parameters), setting), setting, steps, deadline_s)


def room_for_policy(
    profile: Profile, name: str, limits: Limits, parameters: Mapping[str, float] | None = None
) -> int:
    """Bytes to keep free for `policy.bin` before there is a plan: what it takes for a step that is known, and
    some more. Raises as `make_policy`, so that a mistake is said before anything is compiled.
    """
    stand_in = make_policy(profile, known_workload("gpt2-lora"), name, limits, 1, parameters=parameters)
    return len(policy_bytes(stand_in)) + ROOM_BYTES


def ship_policy(policy: ShippedPolicy, folder: Path, room_bytes: int) -> None:
    """Put the file into a bundle that is being made; `PolicyError` if it is larger than was kept free."""
    data = policy_bytes(policy)
    if len(data) > room_bytes:
        raise PolicyError(
            f"policy {policy.table.policy}: its table takes {len(data)} bytes for this plan, "
            f"and {room_bytes} were kept free; use fewer bins or states"
        )
    try:
        (folder / NAME).write_bytes(data)
    except OSError as error:
        raise BundleError(f"{folder / NAME}: cannot write the policy: {error.strerror}") from error
