"""Processes and what they used: time, and the peak of their memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """`peak_rss_bytes` is the larger of the process's own peak and that of any process it waited for."""

    output: str
    seconds: float
    peak_rss_bytes: int


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; RuntimeError with what it said if that is not 0."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)}: ended with {process.returncode}: {errors.read()[-2000:]}"
            )
        return Finished(output.read(), seconds, usage.ru_maxrss * 1024)


def own_peak_rss_bytes() -> int:
    """This process's VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def forget_peak() -> None:
    """Begin VmHWM anew from what is resident now, so that what went before does not count."""
    Path("/proc/self/clear_refs").write_text("5")
