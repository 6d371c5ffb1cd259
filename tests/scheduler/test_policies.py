"""Policies: what the tables say, and a named error for each way in which one cannot be tabulated."""

from __future__ import annotations

import math
from ctypes import byref
from pathlib import Path

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.runtime.limits import Limits
from daypack.runtime.policies import (
    CHARGING,
    PAUSE,
    POLICIES,
    Action,
    Dimension,
    Observable,
    Observation,
    Policy,
    PolicyError,
    Setting,
    policy_named,
    tabulate,
)
from daypack.runtime.policies.policy import MAX_TABLE_BYTES
from daypack.runtime.simulator import function, table_structure
from tests.scheduler.conftest import MakeSetting

Answer = object


def policy(answer: Answer, *, dimensions: tuple[Dimension, ...] = (CHARGING,), states: int = 1) -> Policy:
    def decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    return Policy("mine", lambda setting: dimensions, decide, states=states)


@pytest.mark.parametrize("device", ["cortex-a76", "midrange-a78", "pixel8", "snapdragon-8gen3"])
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_has_a_small_table_on_every_device(
    name: str, device: str, make_setting: MakeSetting
) -> None:
    setting = make_setting(device)
    table = tabulate(POLICIES[name], setting)
    assert table.size_bytes <= MAX_TABLE_BYTES
    assert table.gears[table.actions].max() < len(setting.gears)
    assert table.next_states.max() < table.states


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ValueError("no"), "policy mine: at CHARGING 0, state 0: raised ValueError: no"),
        (KeyError("SKIN"), "raised KeyError"),
        (None, r"gave None, takes \(Action, state\)"),
        ((PAUSE,), r"takes \(Action, state\)"),
        ((3, 0), r"gave \(3, 0\), takes \(Action, state\)"),
        ((PAUSE, 0.5), r"takes \(Action, state\)"),
        ((PAUSE, 1), "gave state 1, takes 0 to 0"),
        ((Action(999), 0), "asks for gear 999; snapdragon-8gen2 has gears 0 to"),
        ((Action(-1), 0), "asks for gear -1"),
        ((Action(True), 0), "asks for gear True"),
        ((Action(0, -1.0), 0), "asks for a rest of -1.0 s, takes 0 to 3600"),
        ((Action(0, math.nan), 0), "asks for a rest of nan s"),
        ((Action(0, 1e9), 0), "asks for a rest of"),
    ],
)
def test_what_nobody_can_do_is_refused(answer: Answer, message: str, make_setting: MakeSetting) -> None:
    with pytest.raises(PolicyError, match=message):
        tabulate(policy(answer), make_setting())


def test_a_grid_that_cannot_be_is_refused(make_setting: MakeSetting) -> None:
    skin = Dimension(Observable.SKIN, (30.0, 31.0))
    wide = tuple(Dimension(o, tuple(float(n) for n in range(1, 16))) for o in list(Observable)[4:9])
    for dimensions, states, message in [
        ((skin, skin), 1, "found 2 dimensions, takes at most 6 different ones"),
        (tuple(Dimension(o, (0.5,)) for o in list(Observable)[:7]), 1, "found 7 dimensions"),
        ((Dimension(Observable.SKIN, (31.0, 30.0)),), 1, "SKIN: found edges .* ascending order"),
        ((Dimension(Observable.SKIN, (math.nan,)),), 1, "takes finite numbers in ascending order"),
        (wide, 1, "cells takes 2097152 bytes, at most 1000000 are allowed"),
        ((skin,), 257, "found 257 states"),
    ]:
        with pytest.raises(PolicyError, match=message):
            tabulate(policy((PAUSE, 0), dimensions=dimensions, states=states), make_setting())

    def broken(setting: Setting) -> tuple[Dimension, ...]:
        raise RuntimeError("oh")

    with pytest.raises(PolicyError, match="its dimensions raised RuntimeError"):
        tabulate(Policy("mine", broken, policy(None).decide), make_setting())


def test_more_actions_than_a_byte_are_refused(make_setting: MakeSetting) -> None:
    skin = Dimension(Observable.SKIN, tuple(float(n) for n in range(300)))

    def decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
        return Action(0, min(observation[Observable.SKIN], 400.0)), 0

    with pytest.raises(PolicyError, match="uses more than 256 different actions"):
        tabulate(Policy("mine", lambda setting: (skin,), decide), make_setting())


def test_a_policy_sees_only_its_dimensions_and_the_cautious_edge(make_setting: MakeSetting) -> None:
    seen: list[tuple[float, float]] = []
    dimensions = (Dimension(Observable.SKIN, (30.0,)), Dimension(Observable.BATTERY, (0.3,)))

    def decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
        seen.append((observation[Observable.SKIN], observation[Observable.BATTERY]))
        with pytest.raises(KeyError, match="SCREEN is not among the policy's dimensions"):
            observation[Observable.SCREEN]
        return PAUSE, 0

    tabulate(Policy("mine", lambda setting: dimensions, decide), make_setting())
    assert seen == [(30.0, 0.0), (30.0, 0.3), (math.inf, 0.0), (math.inf, 0.3)]


def looked_up(name: str, setting: Setting, **seen: float) -> tuple[int, float]:
    """What the engine's own code finds in the table: gear and rest in seconds."""
    table = tabulate(POLICIES[name], setting)
    values = np.zeros(len(Observable))
    values[Observable.MEMORY_MB] = 1e6
    values[Observable.BATTERY] = 1.0
    for key, value in seen.items():
        values[Observable[key]] = value
    keep: list[np.ndarray] = []  # type: ignore[type-arg]
    decision = function("daypack_decide")(byref(table_structure(table, setting, keep)), values.ctypes.data, 0)
    return decision.gear, decision.rest_ms / 1000


def test_mobilefinetuner_is_the_published_rule(make_setting: MakeSetting) -> None:
    setting = make_setting()
    full = setting.everything
    assert setting.gears[full].threads == setting.profile.cores
    assert looked_up("mobilefinetuner", setting, BATTERY=0.5, SKIN=30) == (full, 0.5)
    assert looked_up("mobilefinetuner", setting, BATTERY=0.19, SKIN=30) == (full, 2.0)
    assert looked_up("mobilefinetuner", setting, BATTERY=0.5, SKIN=42.1) == (full, 2.0)
    assert looked_up("mobilefinetuner", setting, BATTERY=0.01, SKIN=60) == (full, 2.0)  # no limit stops it


def test_the_others_do_as_they_are_called(make_setting: MakeSetting) -> None:
    setting = make_setting()
    fastest, frugal = setting.fastest, setting.frugal[0]
    assert looked_up("always", setting, BATTERY=0.01, SKIN=60) == (setting.everything, 0)
    assert looked_up("charge-only", setting, SKIN=30)[0] == -1
    assert looked_up("charge-only", setting, SKIN=30, CHARGING=1)[0] == fastest
    assert looked_up("race-to-idle", setting, SKIN=30)[0] == fastest
    assert looked_up("race-to-idle", setting, SKIN=41)[0] == -1
    assert looked_up("pace", setting, DEMAND=0.1)[0] == frugal
    assert looked_up("pace", setting, DEMAND=2.0)[0] == fastest
    third = setting.frugal[2]
    assert looked_up("pace", setting, DEMAND=setting.share(third) * 0.999)[0] == third
    assert looked_up("lookahead", setting, DEMAND=2.0, SKIN=25, FORECAST=1)[0] == fastest
    slower = looked_up("lookahead", setting, DEMAND=2.0, SKIN=40.4, FORECAST=1)[0]
    assert setting.watts(slower) < setting.watts(fastest)


def test_limits_pause_whatever_the_table_says(make_setting: MakeSetting) -> None:
    calm = {"SKIN": 25.0, "DEMAND": 1.0}
    for limits, seen in [
        ({"reserve": 0.3}, {"BATTERY": 0.29}),
        ({"skin_celsius": 40.0}, {"SKIN": 39.6}),
        ({"only_charging": True}, {}),
        ({"only_screen_off": True}, {"SCREEN": 1.0}),
        ({"quiet_hours": (22, 6)}, {"HOUR": 23.0}),
        ({"quiet_hours": (22, 6)}, {"HOUR": 5.9}),
        ({"joules_per_day": 100.0}, {"SPENT_J": 100.0}),
        ({"written_bytes": 10.0}, {"WRITTEN_BYTES": 10.0}),
        ({}, {"MEMORY_MB": 100.0}),
    ]:
        setting = make_setting(**limits)
        assert looked_up("pace", setting, **{**calm, **seen})[0] == -1, limits
    assert looked_up("pace", make_setting(quiet_hours=(22, 6)), **calm, HOUR=12.0)[0] >= 0


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"reserve": 2.0}, "limits.reserve: got 2, takes a number from 0 to 1"),
        ({"skin_celsius": -1.0}, "limits.skin_celsius: got -1"),
        ({"quiet_hours": (20.0, 25.0)}, "limits.quiet_hours: got 25, takes a number from 0 to 24"),
        ({"joules_per_day": math.nan}, "limits.joules_per_day: got nan"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Limits(**limits)  # type: ignore[arg-type]


def test_a_policy_of_ones_own_is_loaded_from_a_file(tmp_path: Path, make_setting: MakeSetting) -> None:
    (tmp_path / "mine.py").write_text(
        "from daypack.runtime.policies import *\n"
        "def decide(seen, state, setting):\n"
        "    return Action(setting.frugal[0]) if seen[Observable.CHARGING] else PAUSE, state\n"
        "gentle = Policy('gentle', lambda setting: (CHARGING,), decide)\n"
        "other = 3\n"
    )
    found = policy_named(f"{tmp_path}/mine.py:gentle")
    assert tabulate(found, make_setting()).policy == "gentle"
    with pytest.raises(SpecError, match="mine.py:other: found 3 under that name, takes a Policy"):
        policy_named(f"{tmp_path}/mine.py:other")
    with pytest.raises(SpecError, match="there is no Python file"):
        policy_named(f"{tmp_path}/none.py:gentle")
    with pytest.raises(SpecError, match="unknown policy 'nothing'; known: always, mobilefinetuner"):
        policy_named("nothing")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(SpecError, match="the file raised ZeroDivisionError"):
        policy_named(f"{tmp_path}/bad.py:gentle")
