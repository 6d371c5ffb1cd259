"""policy.bin: what is written is read back, decides the same, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime.days import plausible_days
from daypack.runtime.policies import POLICIES, Setting, tabulate
from daypack.runtime.policy_file import parse_policy, policy_bytes, read_policy, write_policy
from daypack.runtime.simulator import Job, simulate
from tests.scheduler.conftest import MakeSetting

HOUR = 3600.0


@pytest.fixture(scope="module")
def setting(make_setting: MakeSetting) -> Setting:
    return make_setting(quiet_hours=(1.0, 5.0), joules_per_day=9e4)


@pytest.mark.parametrize("name", POLICIES)
def test_a_table_survives_its_file_and_decides_the_same(name: str, setting: Setting, tmp_path: Path) -> None:
    table = tabulate(POLICIES[name], setting)
    write_policy(table, len(setting.gears), tmp_path / "policy.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.bin"]
    found = read_policy(tmp_path / "policy.bin")
    assert (found.policy, found.dimensions, found.states) == (name, table.dimensions, table.states)
    assert (found.limits, found.period_s) == (table.limits, table.period_s)
    day, job = plausible_days("commuter", 6), Job(1500, 17 * HOUR, 24 * HOUR)
    assert simulate(setting, day, job, found) == simulate(setting, day, job, table)


def test_every_cut_is_refused(setting: Setting) -> None:
    data = policy_bytes(tabulate(POLICIES["mobilefinetuner"], setting), len(setting.gears))
    for size in range(len(data)):
        with pytest.raises(BundleError, match="^p: expected"):
            parse_policy(data[:size], "p")
    with pytest.raises(BundleError, match=f"p: expected {len(data)} bytes, found {len(data) + 1}"):
        parse_policy(data + b"\0", "p")


def test_every_flipped_byte_is_read_or_refused(setting: Setting) -> None:
    data = policy_bytes(tabulate(POLICIES["race-to-idle"], setting), len(setting.gears))
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        try:
            table = parse_policy(bytes(broken), "p")
        except BundleError as error:
            assert error.message.startswith("p: ")
        else:
            assert table.gears.max() < len(setting.gears) and table.actions.max() < len(table.gears)
            assert table.next_states.max() < table.states


def changed(setting: Setting, **fields: object) -> bytes:
    from daypack.runtime import policy_file

    data = bytearray(policy_bytes(tabulate(POLICIES["race-to-idle"], setting), len(setting.gears)))
    header = np.frombuffer(data, policy_file._HEADER, 1)  # pyright: ignore[reportPrivateUsage]
    for name, value in fields.items():
        header[name] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": b"DPOTHER"}, "expected a policy of version 1, found another file or version"),
        ({"version": 2}, "expected a policy of version 1"),
        ({"dimensions": 7}, "dimensions: expected 0 to 6, found 7"),
        ({"states": 0}, "states: expected 1 to 256, found 0"),
        ({"actions": 300}, "actions: expected 1 to 256, found 300"),
        ({"gear_count": 0}, "gear: expected numbers from -1 to below 0, found others"),
        ({"reserve": 7.0}, "expected limits that can be, found: limits.reserve: got 7"),
    ],
)
def test_what_cannot_be_is_named(fields: dict[str, object], message: str, setting: Setting) -> None:
    with pytest.raises(BundleError, match=message):
        parse_policy(changed(setting, **fields), "p")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none.bin: expected a readable policy, found: No such file"):
        read_policy(tmp_path / "none.bin")
