"""Losses of power at random moments of compiled trainings, on a disk that forgets what was not synced.

The platform is tests/runtime/native/power_main.c. A training goes on from what each loss leaves.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from daypack.runtime.state_file import NAME
from survival.kills import PATIENCE_SECONDS, Resumed, step_of
from survival.subjects import Subject

LOST = 99
#: Windows of a run in which power is lost, at most.
MOST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Lost:
    """`undone`: the most told windows that a loss undid; `torn`: losses of which pages survived by chance."""

    losses: int
    torn: int
    steps: int
    undone: int
    identical: bool


def lose(subject: Subject, folder: Path, losses: int, seed: int) -> Lost:
    """Lose power `losses` times, then end the training and compare it with one that nothing befell."""
    rng = random.Random(seed)
    state = folder / "lost"
    shutil.rmtree(state, ignore_errors=True)
    moments = _moments(subject, state)
    done = torn = undone = 0
    while done < losses:
        chance = rng.randrange(1, 1 << 30) if rng.random() < 0.5 else 0
        before = step_of(state)
        status, told = _run(subject, state, MOST_STEPS, f"{rng.randrange(1, moments + 1)}:{chance}")
        if status not in (0, LOST):
            raise Resumed(f"after loss {done}: expected a run that goes on, found an end with {status}")
        done += status == LOST
        torn += status == LOST and chance > 0
        after = step_of(state)
        undone = max(undone, max(told, before) - after)
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    _finish(subject, state, 1)
    _finish(subject, whole, step_of(state))
    same = (state / NAME).read_bytes() == (whole / NAME).read_bytes()
    return Lost(done, torn, step_of(state), undone, same)


def _moments(subject: Subject, state: Path) -> int:
    """Changes of the disk in a run."""
    done = subprocess.run(
        _command(subject, state, MOST_STEPS),
        capture_output=True,
        check=True,
        env={**os.environ, "COUNTS": "1"},
    )
    shutil.rmtree(state)
    return int(done.stderr.split()[-1])


def _run(subject: Subject, state: Path, steps: int, power: str) -> tuple[int, int]:
    """(status, the last window that was told of)."""
    done = subprocess.run(
        _command(subject, state, steps),
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "POWER": power},
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    return done.returncode, max((event["step"] for event in events if event["event"] == "step"), default=0)


def _finish(subject: Subject, state: Path, steps: int) -> None:
    command = [str(subject.engines["plain"]), *_command(subject, state, steps)[1:]]
    subprocess.run(command, check=True, capture_output=True)


def _command(subject: Subject, state: Path, steps: int) -> list[str]:
    words = [str(subject.engines["power"]), "--bundle", str(subject.bundle), "--state", str(state)]
    return [*words, "--steps", str(steps), "--threads", "2"]
