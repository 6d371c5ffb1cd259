"""policy.bin: what is written is read back, decides the same, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime.days import plausible_days
from daypack.runtime.policies import POLICIES, Setting, tabulate
from daypack.runtime.policy_file import (
    parse_policy,
    policy_bytes,
    read_policy,
    shipped_policy,
    write_policy,
)
from daypack.runtime.policy_records import HEADER
from daypack.runtime.simulator import Job, simulate
from tests.scheduler.conftest import MakeSetting

HOUR = 3600.0


@pytest.fixture(scope="module")
def setting(make_setting: MakeSetting) -> Setting:
    return make_setting("cortex-a76", quiet_hours=(1.0, 5.0), joules_per_day=9e4)


@pytest.mark.parametrize("name", POLICIES)
def test_a_table_survives_its_file_and_decides_the_same(name: str, setting: Setting, tmp_path: Path) -> None:
    table = tabulate(POLICIES[name], setting)
    write_policy(shipped_policy(table, setting, 1500, 5 * HOUR), tmp_path / "policy.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.bin"]
    shipped = read_policy(tmp_path / "policy.bin")
    assert (shipped.steps, shipped.deadline_s, shipped.safest) == (1500, 5 * HOUR, setting.safest)
    assert shipped.gears["seconds"].tolist() == [cost.seconds for cost in setting.costs]
    assert policy_bytes(shipped) == (tmp_path / "policy.bin").read_bytes()
    found = shipped.table
    assert (found.policy, found.dimensions, found.states) == (name, table.dimensions, table.states)
    assert (found.limits, found.period_s) == (table.limits, table.period_s)
    day, job = plausible_days("commuter", 6), Job(1500, 17 * HOUR, 24 * HOUR)
    assert simulate(setting, day, job, found) == simulate(setting, day, job, table)


def small(setting: Setting, name: str) -> bytes:
    """A file of few bytes, for tests of each: the gears are those of a device with one cluster."""
    return policy_bytes(shipped_policy(tabulate(POLICIES[name], setting), setting, 1500))


def test_every_cut_is_refused(setting: Setting) -> None:
    data = small(setting, "mobilefinetuner")
    for size in range(len(data)):
        with pytest.raises(BundleError, match="^p: expected"):
            parse_policy(data[:size], "p")
    with pytest.raises(BundleError, match=f"p: expected {len(data)} bytes, found {len(data) + 1}"):
        parse_policy(data + b"\0", "p")


def test_every_flipped_byte_is_read_or_refused(setting: Setting) -> None:
    data = small(setting, "race-to-idle")
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        try:
            table = parse_policy(bytes(broken), "p").table
        except BundleError as error:
            assert error.message.startswith("p: ")
        else:
            assert table.gears.max() < len(setting.gears) and table.actions.max() < len(table.gears)
            assert table.next_states.max() < table.states


def changed(setting: Setting, **fields: object) -> bytes:
    data = bytearray(small(setting, "race-to-idle"))
    header = np.frombuffer(data, HEADER, 1)
    for name, value in fields.items():
        header[name] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": 7}, "expected a policy of version 2, found another file or version"),
        ({"version": 1}, "expected a policy of version 2"),
        ({"dimension_count": 7}, "dimension_count: expected 0 to 6, found 7"),
        ({"state_count": 0}, "state_count: expected 1 to 256, found 0"),
        ({"action_count": 300}, "action_count: expected 1 to 256, found 300"),
        ({"gear_count": 0}, "gear_count: expected 1 to 4096, found 0"),
        ({"safest_gear": 9999}, "safest_gear: expected 0 to"),
        ({"edge_count": 7}, r"expected \d+ bytes, found"),
        ({"state_count": 3}, "cell_count: expected 9, found others"),
        ({"reserve": 7.0}, "expected limits that can be, found: limits.reserve: got 7"),
        ({"fastest_s": float("nan")}, "fastest_s: expected a number of at least 0"),
        ({"deadline_s": 0.0}, "deadline_s: expected a number above 0"),
        ({"period_s": 0.5}, "period_s: expected 0 or a number of at least 1"),
        ({"modes": float("inf")}, "modes: expected finite numbers"),
    ],
)
def test_what_cannot_be_is_named(fields: dict[str, object], message: str, setting: Setting) -> None:
    with pytest.raises(BundleError, match=message):
        parse_policy(changed(setting, **fields), "p")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none.bin: expected a readable policy, found: No such file"):
        read_policy(tmp_path / "none.bin")
