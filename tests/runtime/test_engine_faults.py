"""Every call to the platform fails once: a documented exit status, and never a half-written state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

#: What a failure of the function may lead to. Closing, removing, hints and measuring may fail without harm.
STATUSES = {
    "open_read": {2, 4},
    "open_update": {2, 6},
    "open_directory": {0, 2},  # one that is above the state directory and not ours is left alone
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
        assert again.status == 0 and state_of(state / "state.safetensors") == (step or 0) + 2


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
