"""schedule.json: what is written is what is read, and what cannot be is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daypack.compiler.schedule_file import ScheduleFile, parse_schedule, schedule_text
from daypack.errors import BundleError


def test_round_trip(schedule: ScheduleFile) -> None:
    assert parse_schedule(schedule_text(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "b/schedule.json: expected JSON"),
        ("[]", "expected the format 'daypack-schedule/1', found None; compile the bundle again"),
        ('{"format": "daypack-schedule/2"}', "found 'daypack-schedule/2'"),
        ('{"format": "daypack-schedule/1"}', "expected the key 'fixed', found none"),
    ],
)
def test_what_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(BundleError) as error:
        parse_schedule(text, "b/schedule.json")
    assert message in error.value.message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("notes", [], "notes: expected 6 entries, one a node, found 0"),
        ("parts", 3, "expected daypack-schedule/1 as its writer makes it"),
        ("texts", [], "expected daypack-schedule/1 as its writer makes it"),
        ("shard_ends", ["x"], "expected daypack-schedule/1 as its writer makes it"),
        ("plan", {}, "schedule.json: plan"),
        ("problem", {"format": "daypack-problem/1", "nodes": [{"id": 0}]}, "problem: nodes[0]"),
    ],
)
def test_a_wrong_field_is_named(schedule: ScheduleFile, key: str, value: Any, message: str) -> None:
    root = json.loads(schedule_text(schedule))
    root[key] = value
    with pytest.raises(BundleError) as error:
        parse_schedule(json.dumps(root))
    assert message in error.value.message
