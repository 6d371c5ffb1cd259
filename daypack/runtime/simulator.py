"""A plan's steps x a device x a recorded day x a policy -> what would happen. All figures are modelled.

The loop and the decisions are C (`native/simulator`, `native/src/scheduler.c`), the latter the engine's own
file. Deterministic: the same arguments give the same outcome, bit for bit, on one machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.runtime.c_simulator import (
    CAUSES,
    PROTOTYPES,
    REASONS,
    CDevice,
    CJob,
    CLimits,
    COutcome,
    CRecording,
    CTable,
    CTrace,
    fill,
)
from daypack.runtime.gears import needed, shard_seconds
from daypack.runtime.limits import Limits
from daypack.runtime.policies.setting import Setting
from daypack.runtime.policies.tabulate import PolicyTable
from daypack.runtime.recording import Recording
from daypack.runtime.simulator_library import library

OWNER_CPU_SHARE = 0.5
"""Of the owner's watts, what warms the processor; display and radios warm the skin (assumed)."""


@dataclass(frozen=True, slots=True)
class Job:
    """How many steps, from when to when in seconds of the recording, and the battery at its beginning."""

    steps: int
    start_s: float
    deadline_s: float
    battery: float = 0.9

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.start_s < self.deadline_s or not 0 < self.battery <= 1:
            raise SpecError(
                f"job: found {self.steps} steps from {self.start_s:g} s to {self.deadline_s:g} s at battery "
                f"{self.battery:g}; takes at least one step, a start before the deadline, "
                "a battery within (0, 1]"
            )


@dataclass(frozen=True, slots=True)
class Trace:
    """Samples at whole minutes, and every decision: when, the cell looked up, the gear (-1: pause)."""

    t_s: NDArray[np.float64]
    skin_celsius: NDArray[np.float64]
    battery: NDArray[np.float64]
    steps: NDArray[np.float64]
    gear: NDArray[np.int32]
    decided_s: NDArray[np.float64]
    decided_cell: NDArray[np.uint64]
    decided_gear: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to. Joules are those that the job added, losses in the battery included.

    `finish_s` is seconds from the start, None if it did not finish within the recording. Seconds over the
    limit count while it ran, or when only its heat brought the skin over. `lowest_battery` is that while it
    ran.
    """

    policy: str
    tokens: int
    steps: float
    joules: float
    joules_by_cause: Mapping[str, float]
    finish_s: float | None
    met_deadline: bool
    peak_skin_celsius: float
    over_limit_s: float
    lowest_battery: float
    under_reserve_s: float
    running_s: float
    throttled_s: float
    slowed_s: float
    off_s: float
    written_bytes: float
    pauses: int
    paused_s: Mapping[str, float]
    consultations: int
    events: int
    source: str = "modelled"
    trace: Trace | None = field(default=None, repr=False)


def simulate(
    setting: Setting,
    recording: Recording,
    job: Job,
    table: PolicyTable,
    *,
    traced: bool = False,
    by_shard: bool = False,
) -> Outcome:
    """Run a job through a recording. Raises `SpecError` where the profile lacks a figure or the job does not
    begin within the recording.

    Work flows and the policy is asked when what it sees changes. `by_shard` instead runs as the engine does:
    whole shards, and the policy is asked between two of them, at most once a second.
    """
    if job.start_s >= recording.end_s:
        raise SpecError(
            f"job: starts at {job.start_s:g} s, and {recording.name} ends at {recording.end_s:g} s"
        )
    keep: list[NDArray[Any]] = []
    made: Any = COutcome()
    trace, arrays = _trace(recording, keep) if traced else (None, {})
    run = function("daypack_simulate_by_shard" if by_shard else "daypack_simulate")
    run(
        device_structure(setting, keep),
        recording_structure(recording, keep),
        job_structure(setting, job, table, keep),
        table_structure(table, setting, keep),
        trace,
        made,
    )
    return _outcome(setting, job, table, made, _cut(trace, arrays) if trace is not None else None)


def function(name: str) -> Any:
    """A function of the C library with its prototype."""
    found = getattr(library(), name)
    found.restype, found.argtypes = PROTOTYPES[name]
    return found


def limits_structure(limits: Limits, memory_mb: float) -> Any:
    begin, end = limits.quiet_hours or (0.0, 0.0)
    return fill(
        CLimits(),
        keep=[],
        reserve=limits.reserve + limits.reserve_margin if limits.reserve else 0.0,
        skin_celsius=limits.skin_celsius,
        skin_margin_k=limits.skin_margin_k,
        joules_per_day=limits.joules_per_day,
        written_bytes=limits.written_bytes,
        memory_mb=memory_mb,
        quiet_from_hour=begin,
        quiet_to_hour=end,
        only_charging=int(limits.only_charging),
        only_screen_off=int(limits.only_screen_off),
    )


def table_structure(table: PolicyTable, setting: Setting, keep: list[NDArray[Any]]) -> Any:
    """The table as C sees it; `keep` holds the arrays for as long as it is used."""
    dimensions = table.dimensions
    return fill(
        CTable(),
        keep=keep,
        dimension_count=len(dimensions),
        state_count=table.states,
        action_count=len(table.gears),
        gear_count=len(setting.gears),
        safest_gear=setting.safest,
        observables=np.array([d.observable for d in dimensions], np.uint32),
        bin_counts=np.array([d.bins for d in dimensions], np.uint32),
        edges=np.array([edge for d in dimensions for edge in d.edges], np.float64),
        actions=table.actions,
        next_state=table.next_states,
        gears=table.gears,
        rests_ms=table.rests_ms,
        free_until=table.free_until,
        limits=limits_structure(table.limits, setting.workload.peak_bytes / 1e6),
    )


def device_structure(setting: Setting, keep: list[NDArray[Any]]) -> Any:
    """Heat, battery and governor of a profile; without a battery its charge is infinite."""
    profile, heat, cells = setting.profile, setting.heat, setting.profile.battery
    thermal = profile.thermal
    has_battery = cells.capacity_j is not None
    return fill(
        CDevice(),
        keep=keep,
        decay_per_s=heat.decay_per_s,
        modes=heat.modes,
        from_watts=heat.from_watts,
        from_air=heat.from_air,
        capacity_j=cells.capacity_j.value if cells.capacity_j is not None else math.inf,
        voltage_v=needed(profile, "battery.voltage_v", cells.voltage_v) if has_battery else 1.0,
        resistance_ohm=needed(profile, "battery.resistance_ohm", cells.resistance_ohm)
        if has_battery
        else 0.0,
        charge_efficiency=needed(profile, "battery.charge_efficiency", cells.charge_efficiency)
        if has_battery
        else 1.0,
        awake_w=setting.awake_w,
        owner_cpu_share=OWNER_CPU_SHARE,
        control_celsius=needed(profile, "thermal.control_celsius", thermal.control_celsius),
        hysteresis_k=needed(profile, "thermal.hysteresis_k", thermal.hysteresis_k),
        period_s=needed(profile, "thermal.passive_period_s", thermal.passive_period_s),
    )


def recording_structure(recording: Recording, keep: list[NDArray[Any]]) -> Any:
    rows = recording.rows
    return fill(
        CRecording(),
        keep=keep,
        t_s=np.array([row.t_s for row in rows]),
        charge_w=np.array([row.charge_w for row in rows]),
        foreground_w=np.array([row.foreground_w for row in rows]),
        ambient_c=np.array([row.ambient_c for row in rows]),
        memory_mb=np.array([row.mem_available_mb for row in rows]),
        charging=np.array([row.charging for row in rows], np.uint8),
        screen=np.array([row.screen for row in rows], np.uint8),
        rows=len(rows),
        end_s=recording.end_s,
    )


def job_structure(setting: Setting, job: Job, table: PolicyTable, keep: list[NDArray[Any]]) -> Any:
    costs = setting.costs
    governed = setting.governed()
    watts = [[c.cores_j, c.uncore_j, c.memory_j, c.flash_j] for c in costs]
    seconds = np.array([cost.seconds for cost in costs])
    return fill(
        CJob(),
        keep=keep,
        seconds=seconds,
        watts=np.array(watts) / seconds[:, None],
        capped=np.array(governed, np.int32),
        levels=len(governed[0]),
        steps=float(job.steps),
        written_bytes_per_step=setting.workload.written_bytes,
        fastest_s=costs[setting.fastest].seconds,
        start_s=job.start_s,
        deadline_s=job.deadline_s,
        battery=job.battery,
        skin_celsius=setting.limits.skin_celsius,
        reserve=setting.limits.reserve,
        period_s=table.period_s,
        shard_s=np.array([shard_seconds(g, setting.workload, setting.profile) for g in setting.gears]),
        shards=len(setting.workload.shards),
    )


_SAMPLED = {
    "t_s": np.float64,
    "skin_c": np.float64,
    "battery": np.float64,
    "steps": np.float64,
    "gear": np.int32,
}
_DECIDED = {"decided_s": np.float64, "decided_cell": np.uint64, "decided_gear": np.int32}


def _trace(recording: Recording, keep: list[NDArray[Any]]) -> tuple[Any, dict[str, NDArray[Any]]]:
    samples, decisions = int(recording.end_s / 60) + 2 * len(recording.rows) + 10, int(recording.end_s) + 10
    arrays: dict[str, NDArray[Any]] = {name: np.zeros(samples, kind) for name, kind in _SAMPLED.items()}
    arrays |= {name: np.zeros(decisions, kind) for name, kind in _DECIDED.items()}
    limits = {"sample_limit": samples, "decision_limit": decisions}
    return fill(CTrace(), keep=keep, **arrays, **limits), arrays


def _cut(trace: Any, arrays: dict[str, NDArray[Any]]) -> Trace:
    sampled = (arrays[name][: trace.samples].copy() for name in _SAMPLED)
    decided = (arrays[name][: trace.decisions].copy() for name in _DECIDED)
    return Trace(*sampled, *decided)


def _outcome(setting: Setting, job: Job, table: PolicyTable, made: Any, trace: Trace | None) -> Outcome:
    joules = dict(zip(CAUSES, map(float, made.joules), strict=True))
    finish_s = made.finish_s - job.start_s if made.finish_s >= 0 else None
    ran = made.running_s > 0
    return Outcome(
        policy=table.policy,
        tokens=math.floor(made.steps + 1e-6) * setting.workload.tokens,
        steps=made.steps,
        joules=sum(joules.values()),
        joules_by_cause=joules,
        finish_s=finish_s,
        met_deadline=finish_s is not None and job.start_s + finish_s <= job.deadline_s + 1e-6,
        peak_skin_celsius=made.peak_skin_c,
        over_limit_s=made.over_limit_s,
        lowest_battery=made.lowest_battery if ran else job.battery,
        under_reserve_s=made.under_reserve_s,
        running_s=made.running_s,
        throttled_s=made.throttled_s,
        slowed_s=made.slowed_s,
        off_s=made.off_s,
        written_bytes=made.written_bytes,
        pauses=made.pauses,
        paused_s={name: s for name, s in zip(REASONS, map(float, made.paused_by_s), strict=True) if s > 0},
        consultations=made.consultations,
        events=made.events,
        trace=trace,
    )
