"""Every call to the platform fails once: a documented exit status, and never a half-written state."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

#: What a failure of the function may lead to. Closing, removing, hints and measuring may fail without harm.
STATUSES = {
    "open_read": {2, 4},
    "open_update": {2, 6},
    "open_directory": {0, 2},  # one that is above the state directory, or only asked for, is left alone
    "make_directory": {2},
    "lock": {2},
    "file_bytes": {2, 4},
    "read_at": {4, 6},
    "will_read": {0},
    "will_sync": {0},
    "write": {6},
    "print": {6},
    "reserve": {6},
    "sync": {6},
    "close": {0, 6},
    "rename": {6},
    "exchange": {0},
    "remove": {0},
    "map": {5},
    "start_thread": {5},
    "stop_requested": {0, 6},  # how often it is asked depends on the threads
    "peak_rss_bytes": {0},
}
#: Called once a tile: every tenth failure will do.
STRIDE = {"stop_requested": 10}
#: What only a plan with transfers calls.
PAGED_ONLY = ("will_read", "will_sync", "exchange")
#: Once asked to stop, always.
LATCHED = {"stop_requested": "+"}


def counts(case: Any, *arguments: str) -> dict[str, int]:
    run = case.run(*arguments, env={"COUNTS": "1"})
    assert run.status == 0, run
    lines = [line.split() for line in run.stderr.splitlines()]
    return {name: int(number) for word, name, number in lines if word == "count"}


def state_of(path: Path) -> int | None:
    """The step of the state on disk; opening it proves that it is whole."""
    return int(load_file(path)["clock/step"]) if path.exists() else None


@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
@pytest.mark.parametrize("function", STATUSES)
def test_every_call_fails_once(
    make_case: Callable[..., Any], example: Any, function: str, paged: bool, tmp_path: Path
) -> None:
    if function in PAGED_ONLY and not paged:
        return
    case = make_case(variant="faulty", **(example.paged_plan() if paged else {}))
    arguments = ("--steps", "2", "--threads", "3")
    whole = states(case, tmp_path / "whole", 4)
    total = counts(case, *arguments)[function]
    assert total > 0
    for number in range(1, total + 1, STRIDE.get(function, 1)):
        state = tmp_path / f"state-{number}"
        run = case.run(
            *arguments,
            "--state",
            str(state),
            env={"FAULT": f"{function}:{number}{LATCHED.get(function, '')}"},
        )
        assert run.status in STATUSES[function], (number, run)
        assert run.status == 0 or said(run), (number, run)
        step = state_of(state / "state.safetensors")
        assert step in ({2} if run.status == 0 else {None, 0, 1, 2}), number
        left = {path.name for path in state.iterdir()} if state.exists() else set[str]()
        assert function == "remove" or left <= {"state.safetensors"}, (number, left)
        again = case.run("--steps", "2", "--state", str(state))
        assert again.status == 0
        assert (state / "state.safetensors").read_bytes() == whole[(step or 0) + 2], number


def states(case: Any, folder: Path, steps: int) -> dict[int, bytes]:
    """The file of each generation of a training that nothing befalls."""
    found: dict[int, bytes] = {}
    for step in range(1, steps + 1):
        assert case.run("--steps", "1", "--state", str(folder)).status == 0
        found[step] = (folder / "state.safetensors").read_bytes()
    return found


#: How reads and writes may fail besides (fault_main.c), and what the run may then end with.
KINDS = {
    ("read_at", "end"): {4, 6},
    ("read_at", "one"): {0},
    ("read_at", "again"): {0},
    ("write", "eio"): {6},
    ("write", "end"): {6},
    ("write", "one"): {0},
    ("write", "again"): {0},
    ("print", "end"): {6},
    ("print", "one"): {0},
    ("print", "again"): {0},
}
#: A run of two windows takes a few hundredths of a second; this one hangs.
HANGS_SECONDS = 10.0


@pytest.mark.parametrize(("function", "kind"), KINDS)
@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
def test_every_read_and_write_is_short_or_fails(
    make_case: Callable[..., Any], example: Any, function: str, kind: str, paged: bool, tmp_path: Path
) -> None:
    case = make_case(variant="faulty", **(example.paged_plan() if paged else {}))
    arguments = ("--steps", "2", "--threads", "2")
    whole = states(case, tmp_path / "whole", 3)
    total = counts(case, *arguments)[function]
    for number in range(1, total + 1, 1 + total // 40):
        state = tmp_path / f"state-{number}"
        begun = time.monotonic()
        run = case.run(*arguments, "--state", str(state), env={"FAULT": f"{function}:{number}", "KIND": kind})
        assert time.monotonic() - begun < HANGS_SECONDS
        assert run.status in KINDS[function, kind], (number, run)
        step = state_of(state / "state.safetensors") or 0
        assert step == 2 if run.status == 0 else said(run), (number, run)
        assert step == 0 or (state / "state.safetensors").read_bytes() == whole[step], number
        if step < 3 and number % 3 == 0:
            assert case.run("--steps", str(3 - step), "--state", str(state)).status == 0
            assert (state / "state.safetensors").read_bytes() == whole[3], number


@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
def test_a_slow_disk_changes_nothing(
    make_case: Callable[..., Any], example: Any, paged: bool, tmp_path: Path
) -> None:
    case = make_case(variant="faulty", **(example.paged_plan() if paged else {}))
    whole = states(case, tmp_path / "whole", 2)
    run = case.run("--steps", "2", "--threads", "2", env={"SLOW": "2000"})
    assert run.status == 0 and case.state.read_bytes() == whole[2]


@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
def test_faults_under_address_sanitizer(
    make_case: Callable[..., Any], example: Any, paged: bool, tmp_path: Path
) -> None:
    """Some calls of each function; the proof has all. Neither a leak nor a bad access."""
    case = make_case(variant="faulty, asan", **(example.paged_plan() if paged else {}))
    arguments = ("--steps", "2", "--threads", "3")
    rng = random.Random(paged)
    for function, total in counts(case, *arguments).items():
        if function not in STATUSES or total == 0:
            continue
        fault = f"{function}:{rng.randrange(1, total + 1)}{LATCHED.get(function, '')}"
        run = case.run(*arguments, "--state", str(tmp_path / function), env={"FAULT": fault})
        assert run.status in STATUSES[function], (fault, run)
        assert "Sanitizer" not in run.stderr and "runtime error" not in run.stderr


def said(run: Any) -> bool:
    """The message is on standard output, or, when that is what fails, on standard error."""
    return run.events[-1:] and run.events[-1]["event"] == "error" or run.stderr.startswith("error: ")


@pytest.mark.parametrize(("paged", "writes"), [(False, 10), (True, 18)])
def test_a_full_disk_keeps_the_last_state(
    make_case: Callable[..., Any], example: Any, paged: bool, writes: int
) -> None:
    """Every write after the first generation fails, as on a disk that filled up during the run.

    Writes: the header, 4 + 4 + 1 pieces of tensors; paged, also 4 of the swap and 4 of `out` once more.
    """
    case = make_case(variant="faulty", **(example.paged_plan() if paged else {}))
    assert case.run("--steps", "1").status == 0
    before = case.state.read_bytes()
    for number in range(1, writes + 1):
        run = case.run("--steps", "1", env={"FAULT": f"write:{number}+"})
        assert run.status == 6 and "No space left on device" in run.stderr
        assert case.state.read_bytes() == before
        assert [path.name for path in case.state.parent.iterdir()] == ["state.safetensors"]


def test_a_state_directory_below_a_file_is_an_error_before_the_run(case: Any) -> None:
    run = case.run("--state", f"{case.bundle}/engine/state")
    assert run.status == 2 and "cannot create the state directory: Not a directory" in run.message
    assert [event["event"] for event in run.events] == ["error"]
