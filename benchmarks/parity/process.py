"""Processes and what they used: time, and the peak of their memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A process begins with the peak of the one it was forked from, so a small one stands between it and us."""


@dataclass(frozen=True, slots=True)
class Finished:
    """`peak_rss_bytes` is the larger of the process's own peak and that of any process it waited for."""

    output: str
    seconds: float
    peak_rss_bytes: int


class Failed(RuntimeError):
    """A command that did not end with 0: its exit status, and what it wrote to standard output."""

    def __init__(self, command: Sequence[str], status: int, output: str, errors: str) -> None:
        self.status, self.output = status, output
        said = output[-2000:] + errors[-2000:]
        super().__init__(f"{' '.join(command)}: ended with {status}: {said}")


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; `Failed` if that is not 0."""
    with tempfile.NamedTemporaryFile("r") as peak:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCHER, peak.name, *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise Failed(command, done.returncode, done.stdout, done.stderr)
        return Finished(done.stdout, seconds, int(Path(peak.name).read_text()) * 1024)


def own_peak_rss_bytes() -> int:
    """This process's VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def forget_peak() -> None:
    """Begin VmHWM anew from what is resident now, so that what went before does not count."""
    Path("/proc/self/clear_refs").write_text("5")
