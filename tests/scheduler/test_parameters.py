"""Parameters of policies: chosen in a spec, on the command line or in a study, checked, and tabulated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.cli.app import main
from daypack.devices import load_profile
from daypack.errors import SpecError
from daypack.runtime.limits import Limits
from daypack.runtime.policies import POLICIES, Action, Parameter, Policy, policy_named, tabulate
from daypack.runtime.shipping import make_policy
from daypack.runtime.study import read_study
from daypack.runtime.workload import known_workload
from daypack.spec import check_spec, parse_spec, to_toml
from tests.scheduler.conftest import MakeSetting

COMMAND = ["simulate", "--device", "pixel8", "--recording", "night-charger:1", "--steps", "50", "--json"]


@pytest.mark.parametrize("name", [name for name, policy in POLICIES.items() if policy.parameters])
def test_every_value_within_its_bounds_can_be_tabulated(name: str, make_setting: MakeSetting) -> None:
    setting, known = make_setting("pixel8"), POLICIES[name].parameters
    default = tabulate(POLICIES[name], setting)
    for parameter, about in known.items():
        assert about.low <= about.default <= about.high
        for value in (about.low, about.high):
            tabulate(policy_named(name, {parameter: value}), setting)
        chosen = tabulate(policy_named(name, {parameter: about.default}), setting)
        assert np.array_equal(chosen.actions, default.actions)
        assert chosen.dimensions == default.dimensions


def test_a_parameter_changes_what_is_shipped() -> None:
    arguments = (load_profile("pixel8"), known_workload("gpt2-lora"), "pace", Limits(), 10, 3600.0)
    plain, faster = make_policy(*arguments).table, make_policy(*arguments, {"margin": 0.5}).table
    assert (faster.gears[faster.actions] <= plain.gears[plain.actions]).all()  # fastest first
    assert not np.array_equal(faster.gears[faster.actions], plain.gears[plain.actions])


def test_the_published_rules_thresholds_move(make_setting: MakeSetting) -> None:
    table = tabulate(policy_named("mobilefinetuner", {"hot_celsius": 40.0, "slow_hz": 0.25}), make_setting())
    assert table.dimensions[1].edges == (40.0,)
    assert set(table.rests_ms.tolist()) == {500, 4000}


def test_a_policy_of_ones_own_has_parameters(make_setting: MakeSetting) -> None:
    mine = Policy(
        "mine",
        lambda setting: (),
        lambda seen, state, setting: (Action(0, setting.parameters["rest"]), state),
        parameters={"rest": Parameter(1.0, 0.5, 2.0, "s")},
    )
    assert tabulate(mine, make_setting()).rests_ms.tolist() == [1000]
    assert tabulate(mine.with_values({"rest": 2.0}), make_setting()).rests_ms.tolist() == [2000]


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("lookahead", {"speed": 1.0}, "policy lookahead: speed: unknown parameter; takes hedge$"),
        ("always", {"speed": 1.0}, "policy always: speed: unknown parameter; takes none$"),
        ("thermal-pid", {"kp": 21.0}, "policy thermal-pid: kp: found 21, takes a number from 0 to 20$"),
        ("thermal-pid", {"kp": float("nan")}, "policy thermal-pid: kp: found nan, takes a number"),
    ],
)
def test_what_a_parameter_cannot_be_is_refused(name: str, chosen: dict[str, float], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        policy_named(name, chosen)


def test_the_guide_lists_every_parameter(repository: Path) -> None:
    text = (repository / "docs" / "policies.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [
        (policy.name, name, f"{about.default:g}", f"{about.low:g}", f"{about.high:g}", about.meaning)
        for policy in POLICIES.values()
        for name, about in policy.parameters.items()
    ]


def test_a_spec_has_the_policys_parameters() -> None:
    document: dict[str, Any] = {
        "model": {"family": "gpt2"},
        "train": {
            "method": "full",
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "batch": 1,
            "sequence": 8,
            "max_steps": 1,
        },
        "energy": {"policy": "pace", "parameters": {"margin": 0.5}},
    }
    spec = check_spec(document)
    assert spec.energy is not None and spec.energy.parameters == {"margin": 0.5}
    again = parse_spec(to_toml(spec), base=Path(), where="s").energy
    assert again is not None and again.parameters == {"margin": 0.5}
    document["energy"] = {"parameters": {"margin": "much"}}
    with pytest.raises(SpecError, match=r"energy\.parameters: got .*, takes a table of the policy's own"):
        check_spec(document)


def test_the_command_sets_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    joules: list[float] = []
    for words in ([], ["--set", "margin=1.5"]):
        assert main([*COMMAND, "--policy", "pace", *words]) == 0
        joules.append(json.loads(capsys.readouterr().out)["joules"])
    assert joules[1] > joules[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("margin", "--set: found 'margin', takes NAME=VALUE with a number"),
        ("margin=much", "--set: found 'margin=much', takes NAME=VALUE with a number"),
        ("speed=2", "policy pace: speed: unknown parameter; takes margin"),
    ],
)
def test_what_the_command_cannot_set(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--policy", "pace", "--set", words]) == 2
    assert json.loads(capsys.readouterr().out)["message"] == message


def test_a_study_crosses_values(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'policies = ["pace", { name = "pace", set = { margin = 0.5 } }]\n'
        'devices = ["pixel8"]\nrecordings = ["night-charger:1"]\nworkloads = ["gpt2-lora"]\n'
    )
    cases = read_study(tmp_path / "s.toml")
    assert [case.label for case in cases] == ["pace", "pace margin=0.5"]
