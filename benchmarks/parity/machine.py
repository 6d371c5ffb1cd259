"""The most that this machine's memory and cores give, measured by a program of our own (machine.c)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("machine.c")


@dataclass(frozen=True, slots=True)
class Peaks:
    """On all cores that this process may use."""

    bytes_per_s: float
    flops_per_s: float


def measured_peaks() -> Peaks:
    """Compile and run machine.c.

    Raises:
        RuntimeError: it does not compile or run.
    """
    with tempfile.TemporaryDirectory(prefix="daypack-machine-") as folder:
        program = Path(folder) / "machine"
        compiler = [sys.executable, "-m", "ziglang", "cc", "-O3", "-march=native", "-ffp-contract=fast"]
        _output([*compiler, "-fno-sanitize=all", str(SOURCE), "-lpthread", "-o", str(program)])
        said = json.loads(_output([str(program), str(len(os.sched_getaffinity(0)))]))
    return Peaks(float(said["bytes_per_s"]), float(said["flops_per_s"]))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
