"""Recordings: strict reading with named errors, writing back, and the days of made-up owners."""

from __future__ import annotations

from pathlib import Path

import pytest

from daypack.errors import SpecError
from daypack.runtime.days import OWNERS, plausible_days
from daypack.runtime.habits import free_shares
from daypack.runtime.limits import Limits
from daypack.runtime.recording import RecordingError, parse_recording, read_recording, write_recording

HEADER = "t_s,charging,charge_w,screen,foreground_w,ambient_c,mem_available_mb"
GOOD = f"{HEADER}\n0,0,0,1,1.5,21,2000\n600,1,15,0,0.03,21,2600\n"


def test_rows_are_read() -> None:
    found = parse_recording(GOOD, name="day", where="day.csv")
    assert [row.t_s for row in found.rows] == [0, 600]
    assert found.rows[0].screen and not found.rows[0].charging
    assert found.end_s == 86400


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (HEADER, "t,charging", "line 1: found 't,charging', takes the header t_s,charging,charge_w,screen"),
        (GOOD, "", "line 1: found 'nothing', takes the header"),
        (GOOD, HEADER + "\n", "found no rows, takes at least one"),
        ("0,0,0,1", "5,0,0,1", "line 2: t_s: found 5, takes 0, a midnight, in the first row"),
        ("600,1", "0,1", "line 3: t_s: found 0 after 0, takes a time at least a second later"),
        ("600,1", "600,2", "line 3: charging: found '2', takes 0 or 1"),
        ("1,1.5", "yes,1.5", "line 2: screen: found 'yes', takes 0 or 1"),
        (",15,", ",-1,", "line 3: charge_w: found '-1', takes a number from 0 to 500"),
        ("0.03,21", "nan,21", "line 3: foreground_w: found 'nan', takes a number from 0 to 500"),
        (",21,2000", ",x,2000", "line 2: ambient_c: found 'x', takes a number from -60 to 70"),
        (",2600", ",2600,9", "line 3: found 8 columns, takes 7"),
    ],
)
def test_a_wrong_recording_is_refused(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(RecordingError) as caught:
        parse_recording(GOOD.replace(old, new, 1), name="day", where="day.csv")
    assert caught.value.message.startswith("day.csv: ") and message in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot read the recording .*none.csv: .*No such file"):
        read_recording(tmp_path / "none.csv")


@pytest.mark.parametrize("owner", OWNERS)
def test_days_are_the_same_for_a_seed_and_survive_a_file(owner: str, tmp_path: Path) -> None:
    made = plausible_days(owner, 3)
    assert made == plausible_days(owner, 3) and made.rows != plausible_days(owner, 4).rows
    assert made.end_s == 2 * 86400
    write_recording(made, tmp_path / "days.csv")
    assert read_recording(tmp_path / "days.csv").rows == made.rows


def test_owners_live_as_they_are_described() -> None:
    hours = {owner: [r for seed in range(4) for r in plausible_days(owner, seed).rows] for owner in OWNERS}
    assert min(row.ambient_c for row in hours["cold-outdoors"]) < 5
    assert max(row.foreground_w for row in hours["heavy-gamer"]) > 2.5
    assert min(row.mem_available_mb for row in hours["heavy-gamer"]) < 1000
    night = free_shares(
        [plausible_days("night-charger", seed) for seed in range(8)], Limits(only_charging=True), 500
    )
    assert night[4] == 1.0 and night[28] == 0.0  # at 2 and at 14


def test_an_unknown_owner_and_no_days_are_refused() -> None:
    with pytest.raises(SpecError, match="unknown owner 'nobody'; known: commuter, night-charger"):
        plausible_days("nobody", 0)
    with pytest.raises(SpecError, match="days: got 0, takes a whole number of at least 1"):
        plausible_days("commuter", 0, days=0)


def test_habits_count_what_limits_allow() -> None:
    text = f"{HEADER}\n0,0,0,0,0.03,21,2000\n5400,1,15,0,0.03,21,2000\n7200,1,15,1,1,21,300\n"
    past = [parse_recording(text, name="day", where="day")]
    assert free_shares(past, Limits(), 500)[:5] == (1, 1, 1, 1, 0)  # too little memory from 2:00 on
    assert free_shares(past, Limits(only_charging=True), 100)[:5] == (0, 0, 0, 1, 1)
    assert free_shares(past, Limits(only_screen_off=True), 100)[:5] == (1, 1, 1, 1, 0)
    quiet = free_shares(past, Limits(quiet_hours=(23, 1)), 100)
    assert quiet[:3] == (0, 0, 1) and quiet[46:] == (0, 0)
    assert free_shares([], Limits(), 500) == (1.0,) * 48
