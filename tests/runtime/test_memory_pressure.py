"""The system takes memory back by its own readings: the engine goes on in the smaller plan, and returns."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daypack.runtime.plan_file import Order, Zero
from daypack.runtime.plan_format import write_plan
from daypack.runtime.simulator_library import library

EXTRA_BYTES = 48 << 20
LARGE, SMALL = 60_000_000, 8_000_000
CALM = {
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 3000000 kB",
    "proc/self/status": "VmRSS: 60000 kB",
    "proc/pressure/memory": "some avg10=0.20 avg60=0 avg300=0 total=1",
}
PRESSED = {"proc/pressure/memory": "some avg10=33.10 avg60=0 avg300=0 total=1"}
TIGHT = {"proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 30000 kB"}
LIES: dict[str, dict[str, str | None]] = {
    "missing": dict.fromkeys(CALM),
    "no pressure": {"proc/pressure/memory": None},
    "garbage": {"proc/pressure/memory": "some avg10=much", "proc/meminfo": "MemAvailable: \x80\x81 kB"},
    "out of range": {"proc/pressure/memory": "some avg10=4000.0 avg60=0"},
    "negative": {"proc/pressure/memory": "some avg10=-1 avg60=0", "proc/meminfo": "MemAvailable: -3 kB"},
    "empty": {"proc/pressure/memory": "", "proc/meminfo": ""},
    "a folder": {"proc/pressure/memory/x": "1"},
}


def write_tree(root: Path, files: dict[str, str | None]) -> str:
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n", encoding="latin-1")
    return str(root)


@pytest.fixture
def two(make_case: Callable[..., Any], example: Any) -> Any:
    """A plan of 48 MB more than it needs, and one without."""
    case = make_case(name="two")
    first, *rest = case.plan.steps
    large = {
        "steps": (Zero(example.ARENA_BYTES, EXTRA_BYTES), first, *rest),
        "arena_bytes": example.ARENA_BYTES + EXTRA_BYTES,
    }
    small = replace(case.plan, budget_bytes=SMALL, order=Order.DEFERRED)
    case.set_plan(**large, budget_bytes=LARGE)
    case.set_file("plan-1.bin", write_plan(small))
    return case


def changes(run: Any) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "plan"]


def notes(run: Any) -> list[str]:
    return [event["message"] for event in run.events if event["event"] == "note"]


@pytest.mark.parametrize("sign", [PRESSED, TIGHT], ids=["pressure", "available"])
def test_the_engine_goes_on_in_the_smaller_plan(
    sign: dict[str, str], two: Any, make_case: Callable[..., Any], tmp_path: Path
) -> None:
    plain = make_case(name="plain")
    assert plain.run("--steps", "8").status == 0
    root = write_tree(tmp_path / "root", {**CALM, **sign})
    run = two.run("--steps", "8", "--sensors", root)
    assert run.status == 0, run
    (change,) = changes(run)
    assert change["budget_bytes"] == SMALL and 0 < change["rss_bytes"] < SMALL
    (note,) = notes(run)
    assert note.startswith("memory: pressure 0.") and note.endswith("on in less memory")
    assert two.state.read_bytes() == plain.state.read_bytes()


@pytest.mark.parametrize("lie", ["none", *LIES])
def test_what_cannot_be_read_changes_nothing(lie: str, two: Any, tmp_path: Path) -> None:
    files = {**CALM, **LIES.get(lie, {})}
    if lie == "a folder":
        del files["proc/pressure/memory"]
    run = two.run("--steps", "4", "--sensors", write_tree(tmp_path / "root", files))
    assert run.status == 0 and changes(run) == [] and notes(run) == []


class Watch(ctypes.Structure):
    _fields_ = (("pressed", ctypes.c_int), ("roomy", ctypes.c_int), ("roomy_s", ctypes.c_double))


def wishes(readings: list[tuple[float, float, float]], running: float = 400.0) -> list[int]:
    """What (seconds, pressure, MB available) come to, with a whole plan of 400 MB."""
    weigh = library().daypack_weigh_memory
    weigh.argtypes = (ctypes.POINTER(Watch), *(ctypes.c_double,) * 5)
    watch = Watch()
    return [weigh(ctypes.byref(watch), s, pressure, mb, running, 400.0) for s, pressure, mb in readings]


def test_memory_comes_back_when_there_was_enough_for_a_while() -> None:
    none = math.nan
    assert wishes([(0, 0.0, 3000), (1, none, none), (2, 0.09, 500)]) == [0, 0, 0]
    assert wishes([(0, 0.2, 3000), (1, 0.0, 3000), (30, 0.0, 3000), (31, 0.0, 3000), (99, 0.0, 3000)]) == [
        1,
        0,
        0,
        -1,
        0,
    ]
    assert wishes([(0, none, 460), (1, none, 600), (20, none, 500), (40, none, 600), (69, none, 600)]) == [
        1,
        0,
        0,
        0,
        0,
    ]
    assert wishes([(0, 0.2, none), (1, 0.0, none), (20, 0.05, none), (40, 0.0, none), (71, 0.0, none)]) == [
        1,
        0,
        0,
        0,
        -1,
    ]
    gone = [(0, 0.2, 3000), *((float(s), none, none) for s in range(1, 99))]
    assert wishes(gone) == [1] + 98 * [0]
