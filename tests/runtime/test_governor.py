"""The engine decides as the simulator does; no gear, pause or rest changes a bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from daypack.devices import load_profile
from daypack.runtime.days import plausible_days
from daypack.runtime.limits import UNLIMITED, Limits
from daypack.runtime.plan_file import Call, EndShard
from daypack.runtime.policies import POLICIES, Action, Policy, Setting, setting_of, tabulate
from daypack.runtime.policy_file import policy_bytes, shipped_policy
from daypack.runtime.recording import Row, recording
from daypack.runtime.simulator import Job, simulate
from daypack.runtime.workload import ShardWork, Workload
from tests.runtime.virtual import write_virtual

HOUR = 3600.0
SHARDS = (40e9, 25e9, 70e9)
WORKLOAD = Workload("three", 64, 300_000_000, tuple(ShardWork(flops, flops / 50) for flops in SHARDS))


def make_setting(device: str, **limits: Any) -> Setting:
    return setting_of(load_profile(device), WORKLOAD, Limits(**limits))


def governed(make_case: Callable[..., Any], example: Any, variant: str = "virtual", **changes: Any) -> Any:
    """The example's bundle with three shards a step, each of which takes a simulated shard's time."""
    spend = next(number for number, kernel in enumerate(example.VIRTUAL_KERNELS) if kernel.name == "spend")
    steps = list(example.example_plan().steps)
    places = [at for at, instruction in enumerate(steps) if isinstance(instruction, EndShard)]
    assert len(places) == 2
    made: list[Any] = []
    for instruction in (*steps, EndShard()):
        if isinstance(instruction, EndShard):
            made.append(Call(spend, (example.ARENA["partial"],)))
        made.append(instruction)
    return make_case(variant=variant, steps=tuple(made), save_steps=100_000, **changes)


def decisions(run: Any) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "decision"]


@pytest.mark.parametrize(
    ("policy", "device", "owner", "seed"),
    [
        ("lookahead", "pixel8", "commuter", 6),
        ("lookahead", "snapdragon-8gen3", "heavy-gamer", 2),
        ("pace", "snapdragon-8gen2", "night-charger", 3),
        ("thermal-pid", "pixel8", "heavy-gamer", 4),
        ("race-to-idle", "snapdragon-8gen2", "tablet-at-home", 5),
        ("mobilefinetuner", "midrange-a78", "commuter", 7),
        ("charge-only", "pixel8", "commuter", 8),
        ("always", "cortex-a76", "cold-outdoors", 9),
    ],
)
def test_the_engine_decides_as_the_simulator_does(
    policy: str,
    device: str,
    owner: str,
    seed: int,
    make_case: Callable[..., Any],
    example: Any,
    tmp_path: Path,
) -> None:
    limits = {
        "reserve": 0.3,
        "joules_per_day": 2e4,
        "quiet_hours": (18.5, 18.75),
        "only_screen_off": owner == "heavy-gamer",
    }
    setting = make_setting(device, **limits)
    day, job = plausible_days(owner, seed), Job(4000, 17.5 * HOUR, 20 * HOUR, battery=0.6)
    table = tabulate(POLICIES[policy], setting)
    case = governed(make_case, example)
    case.set_policy(policy_bytes(shipped_policy(table, setting, job.steps, job.deadline_s - job.start_s)))
    write_virtual(tmp_path / "virtual", setting, day, job)
    simulated = simulate(setting, day, job, table, traced=True, by_shard=True)
    steps = min(3000, math.floor(simulated.steps))
    run = case.run("--decisions", "--steps", str(steps), env={"VIRTUAL": str(tmp_path / "virtual")})
    assert run.status == 0, run.events[-1]
    found = decisions(run)
    trace = simulated.trace
    assert trace is not None and len(found) > (0 if table.limits == UNLIMITED else 1)
    assert len(run.steps) == steps
    count = len(found)
    assert [d["cell"] for d in found] == trace.decided_cell[:count].tolist()
    assert [d["gear"] for d in found] == trace.decided_gear[:count].tolist()
    assert [d["t_s"] for d in found] == pytest.approx(trace.decided_s[:count].tolist(), abs=2e-9)
    assert np.all(trace.decided_s[count:] > found[-1]["t_s"])
    assert {d["source"] for d in found} == {"modelled"}
    assert {d["readings"]["skin_celsius"]["source"] for d in found} == {"measured"}


def tensors(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(path).items()}


def test_no_gear_pause_or_rest_changes_a_bit(
    make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    """A day that goes through every gear of one policy and many pauses, against a run without a policy."""
    setting = make_setting("pixel8", quiet_hours=(17.6, 17.61))
    plain = make_case(name="plain")
    assert plain.run("--steps", "60", "--threads", "3").status == 0
    gears: set[int] = set()
    for policy in ("thermal-pid", "mobilefinetuner", "pace"):
        case = governed(make_case, example, name=policy)
        job = Job(60, 17.59 * HOUR, 17.7 * HOUR)
        table = tabulate(POLICIES[policy], setting)
        case.set_policy(policy_bytes(shipped_policy(table, setting, job.steps, 300.0)))
        write_virtual(tmp_path / "virtual", setting, plausible_days("commuter", 6), job)
        run = case.run(
            "--steps", "60", "--threads", "3", "--decisions", env={"VIRTUAL": str(tmp_path / "virtual")}
        )
        assert run.status == 0
        gears |= {d["gear"] for d in decisions(run)}
        assert tensors(case.state) == tensors(plain.state), policy
        assert [e["loss"] for e in run.steps] == [
            e["loss"] for e in plain.run("--steps", "60", "--fresh").steps
        ]
    assert len(gears) >= 3 and -1 in gears


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_real_threads_in_every_gear_give_the_same_bits(
    threads: int, make_case: Callable[..., Any], example: Any
) -> None:
    """On this machine: gears of one core, of some, of all; clocks paced or capped."""
    setting = make_setting("pixel8", skin_celsius=90.0, reserve=0.0)
    plain = make_case(name="plain")
    assert plain.run("--steps", "8", "--threads", "3").status == 0
    for gear in (0, setting.safest, len(setting.gears) // 2):
        case = make_case(name=f"gear{gear}")
        table = always_in(setting, gear)
        case.set_policy(policy_bytes(shipped_policy(table, setting, 8)))
        run = case.run("--steps", "8", "--threads", str(threads))
        assert run.status == 0 and [d["gear"] for d in decisions(run)] == [gear]
        assert decisions(run)[0]["threads"] == min(threads, setting.gears[gear].threads)
        assert decisions(run)[0]["clocks"] in ("capped", "paced", "free")
        assert tensors(case.state) == tensors(plain.state)


def always_in(setting: Setting, gear: int) -> Any:
    return tabulate(Policy("one", lambda _: (), lambda *_: (Action(gear), 0)), setting)


@pytest.mark.parametrize("cut", [0, 100, 700, -1])
def test_a_policy_that_cannot_be_read_runs_in_the_safest_gear_and_says_so(
    cut: int, make_case: Callable[..., Any], example: Any
) -> None:
    setting = make_setting("pixel8")
    data = policy_bytes(shipped_policy(always_in(setting, 0), setting, 8))
    case = make_case(variant="virtual")
    write_virtual(case.bundle.parent / "virtual", setting, plausible_days("commuter", 6), Job(8, 0.0, 10.0))
    case.set_policy(data[:cut])
    run = case.run("--steps", "3", env={"VIRTUAL": str(case.bundle.parent / "virtual")})
    assert run.status == 0 and len(run.steps) == 3
    (note,) = [event["message"] for event in run.events if event["event"] == "note"]
    assert note.startswith("policy.bin: expected a policy, found that it")
    assert [(d["gear"], d["threads"], d["reason"]) for d in decisions(run)] == [(0, 1, "policy")]


def test_garbage_in_a_table_runs_in_the_safest_gear_and_says_so(
    make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    setting = make_setting("pixel8")
    table = always_in(setting, 0)
    data = bytearray(policy_bytes(shipped_policy(table, setting, 8)))
    data[-2] = 250  # the only cell's action
    case = governed(make_case, example)
    case.set_policy(bytes(data))
    day, job = plausible_days("commuter", 6), Job(8, 0.0, 10.0)
    write_virtual(tmp_path / "virtual", setting, day, job)
    run = case.run("--steps", "3", env={"VIRTUAL": str(tmp_path / "virtual")})
    assert [(d["gear"], d["reason"]) for d in decisions(run)] == [(setting.safest, "garbage")]
    broken = replace(table, actions=np.array([250], np.uint8))
    outcome = simulate(setting, day, job, broken, traced=True, by_shard=True)
    assert outcome.trace is not None and outcome.trace.decided_gear.tolist() == [setting.safest]


def test_the_account_outlives_a_run_and_a_torn_one_begins_anew(
    make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    setting = make_setting("pixel8")
    case = governed(make_case, example)
    case.set_policy(policy_bytes(shipped_policy(always_in(setting, 0), setting, 100)))
    write_virtual(tmp_path / "virtual", setting, plausible_days("commuter", 6), Job(100, 0.0, 1000.0))
    env = {"VIRTUAL": str(tmp_path / "virtual")}

    def spent(*arguments: str) -> float:
        return decisions(case.run("--steps", "5", "--decisions", *arguments, env=env))[0]["spent_j"]

    assert spent() == 0 and spent() > 0
    account = case.state.with_name("account")
    before = account.read_bytes()
    assert spent("--fresh") == 0
    account.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert spent() == 0
    account.write_bytes(before[:20])
    assert spent() == 0


LIES = ("none:0", "vanish:200", "freeze:200", "leap:200", "clock:200", "suspend:200")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("policy", ["lookahead"])
def test_no_limit_is_passed_whatever_sensors_and_clock_do_in_mid_run(
    policy: str, lie: str, make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    """A hot day and a battery that is nearly at the reserve; what is true is the simulator's own."""
    setting = make_setting("pixel8", reserve=0.3, skin_celsius=42.0, quiet_hours=(18.25, 18.75))
    row = Row(0.0, False, 0.0, False, 0.03, 30.0, 3000.0)
    day, job = recording("day", [row], where="day"), Job(9000, 17.5 * HOUR, 20 * HOUR, battery=0.42)
    case = governed(make_case, example)
    table = tabulate(POLICIES[policy], setting)
    case.set_policy(policy_bytes(shipped_policy(table, setting, job.steps, job.deadline_s - job.start_s)))
    write_virtual(tmp_path / "virtual", setting, day, job)
    env = {"VIRTUAL": str(tmp_path / "virtual"), "LIE": lie}
    run = case.run("--steps", "9000", env=env)
    assert run.status in (0, 6), run.events[-1]
    lowest, peak, over_s, running_s = (float(word) for word in run.stderr.splitlines()[-1].split()[1:])
    assert running_s > 190 and lowest >= 0.3 and over_s == 0 and peak < 42
    hours = [(event["t_s"] / 3600.0, event["gear"], event["reason"]) for event in decisions(run)]
    if not lie.startswith("clock"):
        assert all(gear == -1 for hour, gear, _ in hours if 18.25 <= hour < 18.75)
    if lie.startswith("vanish"):
        assert {reason for hour, _, reason in hours if hour > 17.8} <= {"memory", "battery", "quiet_hours"}
    times = [hour for hour, _, _ in hours]
    assert times == sorted(times)
