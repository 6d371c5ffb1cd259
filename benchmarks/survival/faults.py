"""The n-th call of every function of the platform fails in a compiled training, under AddressSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daypack.runtime.state_file import NAME
from survival.kills import PATIENCE_SECONDS, step_of
from survival.subjects import Subject

STEPS = 2
#: What a run may end with: done, bad input, corrupt, missing, stopped.
STATUSES = {0, 2, 4, 5, 6}
#: Further ways in which reads and writes fail (fault_main.c).
KINDS = {"read_at": ("end", "one", "again"), "write": ("eio", "end", "one", "again"), "print": ("end", "one")}
#: Called once a chunk of tiles: once it says stop, it says so from then on.
LATCHED = "stop_requested"


@dataclass(slots=True)
class Failed:
    """Runs with a fault, and how many of them did what none may."""

    runs: int = 0
    strange: int = 0
    silent: int = 0
    sanitizer: int = 0
    slow: int = 0
    corrupt: int = 0
    worst_seconds: float = 0.0


def fail_everywhere(subject: Subject, folder: Path, engine: str, most: int) -> Failed:
    """At most `most` calls of each function, spread evenly; a run that follows ends as if nothing was."""
    found = Failed()
    wholes = _wholes(subject, folder / "wholes")
    for number, (function, call, kind) in enumerate(_faults(subject, folder, engine, most)):
        state = folder / "failing"
        shutil.rmtree(state, ignore_errors=True)
        latched = "+" if function == LATCHED else ""
        begun = time.monotonic()
        try:
            done = _run(subject, state, engine, {"FAULT": f"{function}:{call}{latched}", "KIND": kind})
        except subprocess.TimeoutExpired:
            found.slow += 1
            continue
        found.worst_seconds = max(found.worst_seconds, time.monotonic() - begun)
        found.runs += 1
        found.strange += done.returncode not in STATUSES
        said = b'"event":"error"' in done.stdout or b"error: " in done.stderr
        found.silent += done.returncode != 0 and not said
        found.sanitizer += b"Sanitizer" in done.stderr or b"runtime error" in done.stderr
        step = step_of(state)
        good = step == 0 or (state / NAME).read_bytes() == wholes[step]
        if good and step < STEPS and number % 3 == 0:
            again = _run(subject, state, "plain", {}, STEPS - step)
            good = again.returncode == 0 and (state / NAME).read_bytes() == wholes[STEPS]
        found.corrupt += not good
    return found


def _faults(subject: Subject, folder: Path, engine: str, most: int) -> Iterator[tuple[str, int, str]]:
    """(function, number of the call, kind)."""
    counted = _run(subject, folder / "counted", engine, {"COUNTS": "1"})
    for line in counted.stderr.decode().splitlines():
        word, _, rest = line.partition(" ")
        if word != "count":
            continue
        function, total = rest.split()
        for kind in ("error", *KINDS.get(function, ())):
            for call in range(1, int(total) + 1, 1 + int(total) // most):
                yield function, call, kind


def _wholes(subject: Subject, folder: Path) -> dict[int, bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    found: dict[int, bytes] = {}
    for step in range(1, STEPS + 1):
        _run(subject, folder, "plain", {}, 1).check_returncode()
        found[step] = (folder / NAME).read_bytes()
    return found


def _run(
    subject: Subject, state: Path, engine: str, environment: dict[str, str], steps: int = STEPS
) -> subprocess.CompletedProcess[bytes]:
    words = [str(subject.engines[engine]), "--bundle", str(subject.bundle), "--state", str(state)]
    return subprocess.run(
        [*words, "--steps", str(steps), "--threads", "2"],
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, **environment},
    )
