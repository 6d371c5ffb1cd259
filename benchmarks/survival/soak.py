"""A training that is killed and goes on for as long as asked, and what grew meanwhile.

Memory is the peak of each run's own process, descriptors are those that a run has open in the middle of its
steps, files are those of the state directory after a kill; the first tenth of the time is the baseline.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from daypack.runtime.state_file import NAME
from survival.kills import Resumed, step_of
from survival.subjects import Subject

#: Names that a kill may leave beside the state; the next run removes them.
TEMPORARY = {"state.safetensors.tmp", "swap.tmp"}


@dataclass(slots=True)
class Seen:
    """The largest values of one part of the time."""

    peak_rss_bytes: int = 0
    descriptors: int = 0
    threads: int = 0

    def add(self, rss: int, descriptors: int, threads: int) -> None:
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
        self.descriptors = max(self.descriptors, descriptors)
        self.threads = max(self.threads, threads)


@dataclass(slots=True)
class Soaked:
    """What a soak gave; growths are from the first tenth of the time to the rest of it."""

    seconds: float = 0.0
    kills: int = 0
    stops: int = 0
    steps: int = 0
    identical: bool = False
    left: int = 0
    first: Seen = field(default_factory=Seen)
    rest: Seen = field(default_factory=Seen)


def soak(subject: Subject, folder: Path, seconds: float, seed: int = 1) -> Soaked:
    """Train for `seconds`: each run lasts up to a few seconds, then SIGKILL or SIGTERM."""
    rng = random.Random(seed)
    state = folder / "soaked"
    shutil.rmtree(state, ignore_errors=True)
    found = Soaked()
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < seconds:
        part = found.first if elapsed < seconds / 10 or found.kills < 3 else found.rest
        polite = rng.random() < 0.2
        _run(subject, state, rng.expovariate(1.0), part, polite=polite)
        found.stops += polite
        found.kills += not polite
        strange = {path.name for path in state.iterdir()} - TEMPORARY - {NAME}
        if strange:
            raise Resumed(f"expected the state and its temporary files, found {sorted(strange)}")
    found.seconds = time.monotonic() - begun
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    for place, steps in ((state, 1), (whole, 0)):
        command = _command(subject, place, steps or step_of(state))
        subprocess.run(command, check=True, capture_output=True)
    found.steps = step_of(state)
    found.identical = (state / NAME).read_bytes() == (whole / NAME).read_bytes()
    found.left = len(list(state.iterdir())) - 1
    return found


def _run(subject: Subject, state: Path, seconds: float, part: Seen, *, polite: bool) -> None:
    process = subprocess.Popen(_command(subject, state, 1_000_000), stdout=subprocess.PIPE)
    if process.stdout is None:
        raise ValueError("no standard output")
    end = time.monotonic() + seconds
    events = 0
    while events < 3 or time.monotonic() < end:
        event = json.loads(process.stdout.readline() or "{}")
        if event.get("event") not in ("start", "step"):
            raise Resumed(f"expected a run that goes on, found {event}")
        events += 1
        if event["event"] == "step" and (events == 3 or events % 64 == 0):
            part.add(event["peak_rss_bytes"], *_held(process.pid))
    process.send_signal(signal.SIGTERM if polite else signal.SIGKILL)
    process.stdout.read()
    process.stdout.close()
    if process.wait() not in ((6,) if polite else (-signal.SIGKILL,)):
        raise Resumed(f"expected an end by the signal, found {process.returncode}")


def _held(process: int) -> tuple[int, int]:
    """(descriptors that may leak, threads). The engine opens one more file a moment at a time."""
    folder = f"/proc/{process}"
    return len(os.listdir(f"{folder}/fd")), len(os.listdir(f"{folder}/task"))


def _command(subject: Subject, state: Path, steps: int) -> list[str]:
    words = [str(subject.engines["plain"]), "--bundle", str(subject.bundle), "--state", str(state)]
    return [*words, "--steps", str(steps), "--threads", "2"]
