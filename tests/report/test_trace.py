"""The trace keeps the rules of its format, so that Perfetto shows all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daypack.report.record import Record
from daypack.report.run_file import Run, Step
from daypack.report.trace import trace_text

RUN = Run((Step(1, 0.25, 190, None, None), Step(2, 0.5, 199, None, None)), "measured")


def check_format(text: str) -> list[dict[str, Any]]:
    """The rules: known phases, whole microseconds, order by time, threads that nest, counters of numbers."""
    events: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    timed = [e for e in events if e["ph"] != "M"]
    assert events[: len(events) - len(timed)] == [e for e in events if e["ph"] == "M"]
    assert [e["ts"] for e in timed] == sorted(e["ts"] for e in timed)
    open_until: dict[tuple[int, int], list[int]] = {}
    for event in timed:
        assert event["ph"] in ("X", "C")
        for key in ("pid", "tid", "ts", *(["dur"] if event["ph"] == "X" else [])):
            assert type(event[key]) is int and event[key] >= 0, event
        assert isinstance(event["name"], str) and event["name"]
        if event["ph"] == "C":
            assert [type(v) for v in event["args"].values()] == [int]
            continue
        ends = open_until.setdefault((event["pid"], event["tid"]), [])
        while ends and ends[-1] <= event["ts"]:
            ends.pop()
        end = event["ts"] + event["dur"]
        assert not ends or end <= ends[-1], event
        ends.append(end)
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert open_until.keys() <= named
    assert {e["pid"] for e in timed} == {e["pid"] for e in events if e["name"] == "process_name"}
    return events


def slices(events: list[dict[str, Any]], thread: int) -> list[tuple[str, int, int]]:
    found = [e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == (1, thread)]
    return [(e["name"], e["ts"], e["dur"]) for e in found]


def test_the_plan_by_hand(record: Record) -> None:
    events = check_format(trace_text(record))
    assert slices(events, 1) == [
        ("shard 0", 1_000_000, 5_000_000),
        ("compute layer · h.0 uint8[50]", 1_000_000, 1_000_000),
        ("compute layer uint8[60]", 2_000_000, 2_000_000),
        ("compute layer · h.0 uint8[30]", 5_000_000, 1_000_000),
        ("shard 1", 6_000_000, 2_000_000),
        ("compute again layer · h.0 uint8[50]", 6_000_000, 1_000_000),
        ("compute sum/grad/h.0.weight uint8[10]", 7_000_000, 1_000_000),
    ]
    assert slices(events, 2) == [
        ("read h.0.weight uint8[100]", 0, 1_000_000),
        ("read h.0.weight uint8[100]", 4_000_000, 1_000_000),
    ]


def test_counters(record: Record) -> None:
    events = check_format(trace_text(record))
    counts: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        if event["ph"] == "C":
            counts.setdefault(event["name"], []).append((event["ts"] // 1_000_000, event["args"]["bytes"]))
    resident = [(0, 115), (1, 165), (2, 145), (4, 175), (5, 205), (6, 195), (7, 95), (8, 15)]
    assert counts["resident bytes"] == resident
    assert counts["planned bytes"] == [(0, 208), (8, 208)]
    assert counts["budget bytes"] == [(0, 210), (8, 210)]
    assert max(size for _, size in counts["frozen weights bytes"]) == 100
    assert counts["workspaces bytes"] == [(0, 0), (2, 20), (4, 0)]
    layers = {n: s for n, s in counts.items() if n not in ("resident bytes", "planned bytes", "budget bytes")}
    assert sum(sizes[-1][1] for sizes in layers.values()) == 15


def test_reasons_and_lines_are_arguments(record: Record) -> None:
    events = check_format(trace_text(record))
    (again,) = [e for e in events if e["name"].startswith("compute again")]
    assert again["args"]["why"].startswith("Keeping it until instruction 8 would have taken the memory to")
    assert again["args"]["line"] == "model.py:7 (layer)"


def test_a_run_is_a_process_of_its_own(record: Record) -> None:
    events = check_format(trace_text(record, RUN))
    steps = [(e["name"], e["ts"], e["dur"], e["cat"]) for e in events if e["ph"] == "X" and e["pid"] == 2]
    assert steps == [("step 1", 0, 250_000, "measured"), ("step 2", 250_000, 500_000, "measured")]
    peaks = [e["args"]["bytes"] for e in events if e["name"] == "peak resident bytes"]
    assert peaks == [190, 199]
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert names == ["plan (modelled)", "run (measured)"]


def test_the_check_can_fail(record: Record) -> None:
    root = json.loads(trace_text(record))
    crossing = next(e for e in root["traceEvents"] if e["name"] == "compute layer uint8[60]")
    crossing["dur"] += 10_000_000
    with pytest.raises(AssertionError):
        check_format(json.dumps(root))
