"""The simulator against a plain one-second integration in Python, and what must hold of every outcome."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.runtime.days import OWNERS, plausible_days
from daypack.runtime.policies import POLICIES, Observable, Setting, tabulate
from daypack.runtime.recording import Recording
from daypack.runtime.simulator import OWNER_CPU_SHARE, Job, Outcome, function, simulate, table_structure
from tests.scheduler.conftest import MakeDay, MakeSetting

HOUR = 3600.0
DAY_S = 86400.0


def run(setting: Setting, day: Recording, job: Job, name: str, *, traced: bool = False) -> Outcome:
    return simulate(setting, day, job, tabulate(POLICIES[name], setting), traced=traced)


def integrated(setting: Setting, day: Recording, job: Job, gear: int) -> tuple[float, ...]:
    """Joules, finish, peak skin temperature and last charge of one gear, in steps of 0.2 s; never
    throttled.
    """
    profile, heat, cost = setting.profile, setting.heat, setting.costs[gear]
    cells = profile.battery
    assert cells.capacity_j and cells.resistance_ohm and cells.voltage_v and cells.charge_efficiency
    temperature = np.full(3, day.rows[0].ambient_c)
    stored, joules, steps, now, peak, step = cells.capacity_j.value * job.battery, 0.0, 0.0, 0.0, 0.0, 0.2
    while steps < job.steps:
        row = [r for r in day.rows if r.t_s <= now + 1e-9][-1]
        running = now >= job.start_s - 1e-9
        drawn = (cost.watts + (0 if row.screen else setting.awake_w)) if running else 0.0
        charger = row.charge_w if row.charging else 0.0

        def lost(net: float) -> float:
            return cells.resistance_ohm.value * (max(net, 0) / cells.voltage_v.value) ** 2  # type: ignore[union-attr]

        owner, net = row.foreground_w - charger, row.foreground_w - charger + drawn
        surplus = max(-net, 0.0) if stored < cells.capacity_j.value else 0.0
        kept = cells.charge_efficiency.value * surplus
        watts = np.array(
            [
                OWNER_CPU_SHARE * row.foreground_w + drawn,
                (1 - OWNER_CPU_SHARE) * row.foreground_w,
                lost(net) + surplus - kept,
            ]
        )
        flow = watts + heat.to_air * row.ambient_c - heat.conductance @ temperature
        temperature = temperature + step * flow / heat.capacity
        stored = min(stored + step * (kept - max(net, 0.0) - lost(net)), cells.capacity_j.value)
        if running:
            joules += step * (drawn + lost(net) - lost(owner))
            steps += step / cost.seconds
            peak = max(peak, temperature[1])
        now += step
    return joules, now - job.start_s, peak, stored / cells.capacity_j.value


def test_battery_heat_and_work_are_those_of_a_plain_integration(
    make_setting: MakeSetting, make_day: MakeDay
) -> None:
    setting = make_setting(skin_celsius=60.0)
    cool = dataclasses.replace(setting.profile.thermal.control_celsius, value=90.0)  # type: ignore[arg-type]
    thermal = dataclasses.replace(setting.profile.thermal, control_celsius=cool)
    setting = dataclasses.replace(setting, profile=dataclasses.replace(setting.profile, thermal=thermal))
    day = make_day(
        [
            (900.0, {"screen": True, "foreground_w": 2.0}),
            (1300.0, {"charging": True, "charge_w": 18.0, "screen": False, "foreground_w": 0.03}),
            (1700.0, {"charging": False, "ambient_c": 10.0}),
        ]
    )
    job = Job(1000, 600.0, 8 * HOUR, battery=0.95)
    outcome = run(setting, day, job, "always", traced=True)
    joules, finish_s, peak, charge = integrated(setting, day, job, setting.everything)
    assert outcome.finish_s == pytest.approx(finish_s, abs=0.5)
    assert outcome.joules == pytest.approx(joules, rel=1e-3)
    assert outcome.peak_skin_celsius == pytest.approx(peak, abs=0.1)
    assert outcome.trace is not None
    assert outcome.trace.battery[-1] == pytest.approx(charge, abs=1e-3)


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("name", POLICIES)
def test_what_holds_of_every_outcome(name: str, owner: str, make_setting: MakeSetting) -> None:
    setting, day, job = make_setting(), plausible_days(owner, 5), Job(2000, 17 * HOUR, 26 * HOUR)
    table = tabulate(POLICIES[name], setting)
    found, again = (simulate(setting, day, job, table, traced=True) for _ in range(2))
    assert dataclasses.replace(found, trace=None) == dataclasses.replace(again, trace=None)
    assert found.joules == pytest.approx(sum(found.joules_by_cause.values()))
    assert all(joules >= 0 for joules in found.joules_by_cause.values())
    assert found.source == "modelled" and 0 <= found.steps <= job.steps + 1e-6
    assert found.tokens == round(found.steps - 0.5 + 1e-6) * 512 or found.finish_s is None
    assert found.finish_s is None or found.steps == pytest.approx(job.steps)
    if POLICIES[name].obeys_limits:
        assert found.under_reserve_s == 0 and found.lowest_battery >= setting.limits.reserve
    trace = found.trace
    assert trace is not None and len(trace.decided_s) == found.consultations
    assert np.all(np.diff(trace.steps) >= -1e-9) and np.all((trace.battery >= 0) & (trace.battery <= 1))


@pytest.mark.parametrize("name", ["lookahead", "thermal-pid", "race-to-idle"])
def test_the_skin_limit_is_never_passed_by_those_that_look_at_it(
    name: str, make_setting: MakeSetting, make_day: MakeDay
) -> None:
    for ambient in (22.0, 32.0, 38.0):
        setting, day = make_setting("snapdragon-8gen3"), make_day(ambient_c=ambient)
        found = run(setting, day, Job(4000, 0.0, 2000.0), name)
        assert found.over_limit_s == 0, ambient
        assert found.steps > 0


def test_the_devices_governor_holds_back_what_does_not_look(
    make_setting: MakeSetting, make_day: MakeDay
) -> None:
    setting, day, job = (
        make_setting(),
        make_day(ambient_c=30.0, charging=True, charge_w=30.0),
        Job(6000, 0.0, 6 * HOUR),
    )
    found = run(setting, day, job, "always")
    assert found.throttled_s > 0 and found.peak_skin_celsius > 42
    assert found.finish_s is not None
    assert found.finish_s > job.steps * setting.costs[setting.everything].seconds * 1.05


def test_sleeps_are_worth_nothing_by_themselves(make_setting: MakeSetting, make_day: MakeDay) -> None:
    setting, day, job = make_setting(), make_day(ambient_c=5.0), Job(800, 0.0, 8 * HOUR)
    rule, full = run(setting, day, job, "mobilefinetuner"), run(setting, day, job, "always")
    assert rule.finish_s is not None and full.finish_s is not None
    assert rule.finish_s > full.finish_s + 0.49 * job.steps
    assert rule.joules == pytest.approx(full.joules, rel=0.05)
    assert run(setting, day, job, "pace").joules < 0.65 * full.joules


def test_an_empty_battery_stops_everything(make_setting: MakeSetting, make_day: MakeDay) -> None:
    day = make_day([(4 * HOUR, {"charging": True, "charge_w": 25.0})])
    found = run(make_setting(), day, Job(3000, 0.0, 10 * HOUR, battery=0.05), "always")
    assert found.off_s > 2 * HOUR and found.pauses >= 1
    assert found.finish_s is not None and found.finish_s > 4 * HOUR


def test_limits_show_in_the_outcome(make_setting: MakeSetting, make_day: MakeDay) -> None:
    day = make_day([(5 * HOUR, {"charging": True, "charge_w": 25.0})])
    job = Job(1000, 0.0, 12 * HOUR)
    charger = run(make_setting(only_charging=True), day, job, "pace")
    assert charger.paused_s == {"charger": 5 * HOUR} and charger.finish_s is not None
    quiet = run(make_setting(quiet_hours=(0, 2)), day, job, "pace")
    assert quiet.paused_s == {"quiet_hours": 2 * HOUR}
    capped = run(make_setting(joules_per_day=1000.0), day, job, "pace")
    assert capped.finish_s is None and 1000 <= capped.joules < 1400
    worn = run(make_setting(written_bytes=100 * 2.4e6), day, job, "pace")
    assert worn.written_bytes == pytest.approx(100 * 2.4e6, rel=0.3) and worn.finish_s is None


def test_a_deadline_is_met_with_the_least_that_meets_it(make_setting: MakeSetting, make_day: MakeDay) -> None:
    setting, day = make_setting(), make_day(charging=True, charge_w=30.0, ambient_c=0.0)
    alone = 2000 * setting.costs[setting.fastest].seconds
    joules = []
    for slack in (1.05, 1.3, 1.8, 4.0):
        found = run(setting, day, Job(2000, 0.0, alone * slack), "pace")
        assert found.met_deadline
        joules.append(found.joules)
    assert joules == sorted(joules, reverse=True)


def test_a_board_on_the_mains_has_no_battery(make_setting: MakeSetting, make_day: MakeDay) -> None:
    found = run(
        make_setting("cortex-a76", skin_celsius=75.0), make_day(), Job(500, 0.0, 8 * HOUR), "lookahead"
    )
    assert found.finish_s is not None and found.joules_by_cause["battery_loss"] == 0
    assert found.lowest_battery == 1.0 and found.peak_skin_celsius > 25


def test_jobs_that_cannot_be_are_refused(make_setting: MakeSetting, make_day: MakeDay) -> None:
    for wrong in (
        (0, 0.0, 1.0, 0.5),
        (1, 5.0, 5.0, 0.5),
        (1, -1.0, 5.0, 0.5),
        (1, 0.0, math.nan, 0.5),
        (1, 0.0, 1.0, 0.0),
    ):
        with pytest.raises(SpecError, match="job: found .* steps from"):
            Job(*wrong)
    with pytest.raises(SpecError, match="job: starts at 90000 s, and day ends at 86400 s"):
        run(make_setting(), make_day(), Job(1, 90000.0, 99999.0), "always")


def test_each_decision_is_the_tables(make_setting: MakeSetting) -> None:
    setting, day = make_setting(), plausible_days("commuter", 2)
    table = tabulate(POLICIES["lookahead"], setting)
    trace = simulate(setting, day, Job(3000, 18 * HOUR, 24 * HOUR), table, traced=True).trace
    assert trace is not None and len(trace.decided_s) > 5
    by_table = table.gears[table.actions[trace.decided_cell]]
    stopped = trace.decided_gear == -1
    np.testing.assert_array_equal(trace.decided_gear[~stopped], by_table[~stopped])
    assert len({d.observable for d in table.dimensions} & set(Observable)) == 3


def test_free_time_between_times_that_are_far_or_none(make_setting: MakeSetting) -> None:
    """Bounded, rising with the end, and defined for every pair of numbers."""
    setting = make_setting()
    table = tabulate(POLICIES["always"], setting)
    keep: list[NDArray[Any]] = []
    made, free_s = table_structure(table, setting, keep), function("daypack_free_seconds")
    share = table.free_until[-1] / DAY_S
    times = (-1e300, -1e19, -DAY_S, -1e-20, 0.0, 900.0, DAY_S, 9.5 * DAY_S, 9.99e11, 1e12, 1e19, 1e300)
    for start in times:
        found = [free_s(made, start, end) for end in times]
        assert all(0 <= value <= max(end - start, 0.0) for value, end in zip(found, times, strict=True))
        assert found == sorted(found)
    assert free_s(made, 0.0, 1e300) == pytest.approx(share * 1e300)
    assert free_s(made, 0.0, 9.99e11) == pytest.approx(share * 9.99e11)
    assert free_s(made, 0.0, math.inf) == math.inf
    assert free_s(made, math.nan, 5.0) == free_s(made, 5.0, math.nan) == 0.0
