"""SIGKILL at random moments, and the run that goes on: what was lost, and whether the end is the same."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from daypack.runtime.state_file import NAME
from survival.subjects import Subject

#: Events of a run that a kill waits for, at most; the first is its start.
MOST_EVENTS = 5
#: A run that is quiet for as long hangs.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Killed:
    """`lost`: the most windows that a kill undid; `early`: kills before a run's first window was done."""

    kills: int
    early: int
    steps: int
    lost: int
    identical: bool
    left: tuple[str, ...]


class Resumed(RuntimeError):
    """A run that did not go on after a kill."""


def kill(subject: Subject, folder: Path, kills: int, seed: int, early: float = 0.1) -> Killed:
    """Kill `kills` runs after some progress, each going on where the one before it was killed; then train as
    many windows without a kill and compare the states byte for byte.

    A share `early` of all kills comes besides, before any progress: while a run checks, opens and restores.
    """
    rng = random.Random(seed)
    state = folder / "killed"
    shutil.rmtree(state, ignore_errors=True)
    done = done_early = lost = 0
    while done < kills:
        before = step_of(state)
        if rng.random() < early:
            _kill_early(subject, state, rng)
            done_early += 1
            reported = before
        else:
            reported = _kill_underway(subject, state, before, rng)
            done += 1
        saved = step_of(state)
        if saved < before:
            raise Resumed(f"kill {done}: expected step {before} or a later one on disk, found {saved}")
        lost = max(lost, reported - saved)
    return Killed(done, done_early, step_of(state) + 1, lost, *_finish(subject, folder, state))


def step_of(state: Path) -> int:
    """The completed steps of the state on disk; opening it proves that it is whole."""
    if not (state / NAME).exists():
        return 0
    return int(load_file(state / NAME)["clock/step"])


def _kill_early(subject: Subject, state: Path, rng: random.Random) -> None:
    process = _start(subject, state)
    time.sleep(rng.random() * 0.02)
    process.kill()
    _wait(process, (-signal.SIGKILL,))


def _kill_underway(subject: Subject, state: Path, before: int, rng: random.Random) -> int:
    """The last step that the run told of, which is one more than it started from or later."""
    process = _start(subject, state)
    if process.stdout is None:
        raise ValueError("no standard output")
    reported = before
    begun = time.monotonic()
    told = 0.0
    for _ in range(rng.randrange(2, MOST_EVENTS + 1)):
        event = json.loads(process.stdout.readline() or "{}")
        if event.get("event") not in ("start", "step"):
            raise Resumed(f"after a kill at step {before}: expected a run that goes on, found {event}")
        told = event.get("seconds", 0.0) + event.get("save_seconds", 0.0)
        reported = event["step"]
    time.sleep(rng.random() * 2 * told)
    process.kill()
    for line in process.stdout.read().splitlines():
        if line.startswith(b'{"event":"step"') and line.endswith(b"}"):
            reported = json.loads(line)["step"]
    _wait(process, (-signal.SIGKILL,))
    if time.monotonic() - begun > PATIENCE_SECONDS:
        raise Resumed(f"a run from step {before}: expected it to last less than {PATIENCE_SECONDS} s")
    return reported


def _finish(subject: Subject, folder: Path, state: Path) -> tuple[bool, tuple[str, ...]]:
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    _wait(_start(subject, state, 1), (0,))
    _wait(_start(subject, whole, step_of(state)), (0,))
    left = tuple(sorted(path.name for path in state.iterdir() if path.name != NAME))
    return (state / NAME).read_bytes() == (whole / NAME).read_bytes(), left


def _start(subject: Subject, state: Path, steps: int = 1_000_000) -> subprocess.Popen[bytes]:
    command = [str(subject.engines["plain"]), "--bundle", str(subject.bundle), "--state", str(state)]
    return subprocess.Popen([*command, "--steps", str(steps), "--threads", "2"], stdout=subprocess.PIPE)


def _wait(process: subprocess.Popen[bytes], statuses: tuple[int, ...]) -> None:
    said, _ = process.communicate()
    if process.returncode not in statuses:
        raise Resumed(f"expected an end with {statuses}, found {process.returncode}: {said[-500:]!r}")
