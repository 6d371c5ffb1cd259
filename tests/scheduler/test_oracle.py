"""The oracle's optimum is a lower bound: no policy ever needs less, within limits or without."""

from __future__ import annotations

import pytest

from daypack.runtime.days import OWNERS, plausible_days
from daypack.runtime.policies import POLICIES, tabulate
from daypack.runtime.policies.oracle import OracleInfeasible, fastest_finish_s, oracle
from daypack.runtime.simulator import Job, simulate
from tests.scheduler.conftest import MakeDay, MakeSetting

HOUR = 3600.0
CASES = [
    ("snapdragon-8gen2", "gpt2-lora", {}, 0.9),
    ("pixel8", "gemma3-270m-lora", {"only_screen_off": True}, 0.5),
    ("midrange-a78", "gpt2-full", {"reserve": 0.4}, 0.6),
    ("snapdragon-8gen3", "qwen2.5-0.5b-lora", {"skin_celsius": 36.0}, 0.9),
]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(("device", "workload", "limits", "battery"), CASES)
def test_no_policy_beats_it(
    owner: str,
    device: str,
    workload: str,
    limits: dict[str, object],
    battery: float,
    make_setting: MakeSetting,
) -> None:
    setting, day = make_setting(device, workload, **limits), plausible_days(owner, 9)
    steps = round(1200 / setting.costs[setting.fastest].seconds)
    for policy in POLICIES.values():
        job = Job(steps, 16.5 * HOUR, 30 * HOUR, battery)
        found = simulate(setting, day, job, tabulate(policy, setting))
        if found.finish_s is None or found.over_limit_s > 0 and policy.obeys_limits:
            continue
        last = Job(steps, job.start_s, job.start_s + found.finish_s, battery)
        bound = oracle(setting, day, last, limited=policy.obeys_limits)
        assert found.joules >= bound.joules * (1 - 1e-6), policy.name


def test_without_interruptions_it_is_the_mixture_of_two_neighbours(
    make_setting: MakeSetting, make_day: MakeDay
) -> None:
    setting, day = make_setting(), make_day(charging=True, charge_w=40.0)
    slow, fast = setting.frugal[3], setting.frugal[4]
    seconds = 3600.0
    steps = round(seconds * 0.5 * (1 / setting.costs[slow].seconds + 1 / setting.costs[fast].seconds))
    bound = oracle(setting, day, Job(steps, 0.0, seconds))
    half = 0.5 * seconds * (setting.watts(slow) + setting.watts(fast))
    assert bound.joules == pytest.approx(half, rel=2e-3)
    used = {bound.gears[n] for n in range(len(bound.gears)) if bound.shares[:, n].sum() > 1e-6}
    assert used == {slow, fast}


def test_what_cannot_be_done_is_said(make_setting: MakeSetting, make_day: MakeDay) -> None:
    setting = make_setting(only_charging=True)
    day = make_day([(6 * HOUR, {"charging": True, "charge_w": 20.0})])
    with pytest.raises(OracleInfeasible, match="1000 steps cannot be done in 3600 s on snapdragon-8gen2"):
        oracle(setting, day, Job(1000, 0.0, HOUR))
    first = fastest_finish_s(setting, day, Job(1000, 0.0, 1.0), most_s=7 * HOUR)
    alone = 1000 * setting.costs[setting.fastest].seconds
    assert 6 * HOUR + alone - 600 <= first <= 6 * HOUR + alone + 601


def test_heat_and_reserve_make_it_slower(make_setting: MakeSetting, make_day: MakeDay) -> None:
    day = make_day(ambient_c=30.0)
    free, cool = make_setting(skin_celsius=60.0), make_setting(skin_celsius=36.0)
    job = Job(1500, 0.0, 1.0)
    quick = fastest_finish_s(free, day, job, most_s=3 * HOUR)
    assert fastest_finish_s(cool, day, job, most_s=3 * HOUR) > quick
    with pytest.raises(OracleInfeasible):
        oracle(make_setting(reserve=0.8), day, Job(2500, 0.0, 12 * HOUR))
