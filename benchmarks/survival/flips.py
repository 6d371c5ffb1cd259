"""Single-bit flips of weights that a run reads: each must end it with exit code 4 and the file's name."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from daypack.runtime.bundle import read_bundle
from daypack.runtime.hash_tree import BLOCK_BYTES, NAME
from daypack.runtime.plan_file import Fetch, FileKind, PlanFile, Read
from survival.subjects import Subject

WEIGHTS = "weights.bin"


@dataclass(frozen=True, slots=True)
class Flipped:
    """Of so many flips in so many blocks, how many were not found; whether runs without one were alike."""

    flips: int
    blocks: int
    unseen: int
    identical: bool


def blocks_read(plan: PlanFile) -> tuple[int, ...]:
    """Blocks of the weights that hold a byte of a read or fetch."""
    blocks: set[int] = set()
    for step in (*plan.setup, *plan.steps):
        if isinstance(step, Read | Fetch) and step.file is FileKind.WEIGHTS:
            end = step.file_offset_bytes + step.size_bytes
            blocks |= set(range(step.file_offset_bytes // BLOCK_BYTES, -(-end // BLOCK_BYTES)))
    return tuple(sorted(blocks))


def flip_weights(subject: Subject, folder: Path, flips: int, seed: int) -> Flipped:
    """Flip one bit of a block that the plan reads, run a step, flip it back; then a run must succeed."""
    path = subject.bundle / WEIGHTS
    if not (subject.bundle / NAME).exists():
        raise ValueError(
            f"{subject.bundle}: expected a hash tree, found {path.stat().st_size} bytes of weights"
        )
    blocks, size = blocks_read(read_bundle(subject.bundle).plan), path.stat().st_size
    draw = random.Random(seed)
    first, unseen = _run(subject.bundle, folder), 0
    with path.open("r+b", buffering=0) as file:
        for _ in range(flips):
            begin = BLOCK_BYTES * draw.choice(blocks)
            at = draw.randrange(begin, min(begin + BLOCK_BYTES, size))
            file.seek(at)
            (byte,) = file.read(1)
            for bit in (1 << draw.randrange(8), 0):
                file.seek(at)
                file.write(bytes([byte ^ bit]))
                if bit:
                    code, said, _ = _run(subject.bundle, folder)
                    unseen += code != 4 or not said.startswith(f"{WEIGHTS}: block {at // BLOCK_BYTES},")
    return Flipped(flips, len(blocks), unseen, _run(subject.bundle, folder) == first and first[0] == 0)


def _run(bundle: Path, folder: Path) -> tuple[int, str, bytes]:
    """One step from the start: the exit code, what the last event says, the state."""
    state = folder / "flips.state"
    shutil.rmtree(state, ignore_errors=True)
    words = [str(bundle / "engine"), "--bundle", str(bundle), "--state", str(state), "--steps", "1"]
    done = subprocess.run([*words, "--threads", "1"], capture_output=True, check=False, timeout=60)
    last = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    saved = state / "state.safetensors"
    return done.returncode, last.get("message", ""), saved.read_bytes() if saved.exists() else b""
