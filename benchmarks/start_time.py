"""What the hash tree costs and saves: time to the start of a run and of its steps, with it and without.

    python benchmarks/start_time.py [--megabytes N] [--pairs N]

The runtime's example, whose step also fetches all of a large weights.bin. Without blocks.bin the same engine
hashes the whole file before it starts. Runs alternate, the file is in the system's cache: what is told is the
price of the checks, not of the flash. Steps after the first are compared by the processor's time, which a
busy machine changes less than the clock's. Exits 1 where one takes over 2 % longer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import Figure, table
from survival.fuzz_seeds import TRIPLE, example, state

from daypack.runtime import build
from daypack.runtime.bundle import MANIFEST, new_bundle
from daypack.runtime.data_file import write_data
from daypack.runtime.hash_tree import NAME
from daypack.runtime.plan_file import Fetch, FileKind, Instr, Wait
from daypack.runtime.plan_format import write_plan

PIECE_BYTES = 16 << 20
STEPS = 20
MOST_SLOWER = 1.02
LABELS = {
    "start": "to the first event",
    "first": "first step",
    "later": "a later step",
    "computed": "a later step, the processor's time",
}


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the start of the process to its first event, of the first step, and of a later one; of
    the processor, for a later one.
    """

    start: float
    first: float
    later: float
    computed: float


def make_bundle(out: Path, kernels: bytes, megabytes: int) -> None:
    """The example with `megabytes` more weights, which every step fetches into the same place."""
    case = example()
    with new_bundle(out) as staging:
        built = build.build_engine(
            triple=TRIPLE,
            kernel_object=kernels,
            kernels=case.KERNELS,
            scratch_bytes=case.SCRATCH_BYTES,
            out=staging / "engine",
        )
        plan = case.example_plan(case.HOST, built.kernel_id)
        own = case.weights()[0].tobytes() + np.full(16, case.weights()[1], np.float32).tobytes()
        fetches: list[Instr] = [
            Fetch(FileKind.WEIGHTS, len(own) + at, case.ARENA_BYTES, PIECE_BYTES)
            for at in range(0, megabytes << 20, PIECE_BYTES)
        ]
        steps = (*fetches, Wait(len(fetches)), *plan.steps)
        arena = case.ARENA_BYTES + PIECE_BYTES
        plan = replace(plan, steps=steps, arena_bytes=arena, budget_bytes=0)
        (staging / "plan.bin").write_bytes(write_plan(plan))
        with (staging / "weights.bin").open("wb") as file:
            file.write(own)
            for number in range(len(fetches)):
                file.write(np.random.default_rng(number).bytes(PIECE_BYTES))
        (staging / "bundle.json").write_text("{}\n")
        (staging / "state.safetensors").write_bytes(state())
        write_data(staging / "data.bin", case.INPUTS, case.records())


def without_tree(bundle: Path, out: Path) -> None:
    """The same files but for blocks.bin; the large one is shared."""
    out.mkdir()
    for path in bundle.iterdir():
        if path.name == "weights.bin":
            (out / path.name).hardlink_to(path)
        elif path.name != NAME:
            shutil.copy(path, out)
    lines = (bundle / MANIFEST).read_text().splitlines(keepends=True)
    (out / MANIFEST).write_text("".join(line for line in lines if not line.endswith(f" {NAME}\n")))


def timed(bundle: Path) -> Times:
    start, seconds, computed = run(bundle, STEPS)
    once = run(bundle, 1)[2]
    later = statistics.median(seconds[1:])
    return Times(start, seconds[0], later, (computed - once) / (STEPS - 1))


def run(bundle: Path, steps: int) -> tuple[float, list[float], float]:
    """Seconds to the first event, of each step, and of the processor for the whole process."""
    command = [str(bundle / "engine"), "--bundle", str(bundle), "--fresh", "--steps", str(steps)]
    begin = time.monotonic()
    with subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic() - begin
        events = [json.loads(line) for line in process.stdout]
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = [event["seconds"] for event in events if event["event"] == "step"]
    if process.returncode != 0 or len(seconds) != steps:
        raise RuntimeError(f"{bundle}: ended with {process.returncode}: {events[-1:]}")
    return start, seconds, used.ru_utime + used.ru_stime


def figures_of(pairs: list[tuple[Times, Times]]) -> list[Figure]:
    figures: list[Figure] = []
    for place, name in enumerate(("with the tree", "hashed whole")):
        runs = [pair[place] for pair in pairs]
        for part, label in LABELS.items():
            value = statistics.median(getattr(run, part) for run in runs)
            figures.append(Figure("start", f"{name}: {label}", value, "s"))
    ratio = statistics.median(tree.computed / whole.computed for tree, whole in pairs)
    label = f"{LABELS['computed']}, with the tree over without"
    figures.append(Figure("start", label, ratio, "ratio", MOST_SLOWER))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512, help="of weights, a multiple of 16")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daypack-start-") as temporary:
        folder = Path(temporary)
        source = Path(__file__).resolve().parents[1] / "tests" / "runtime" / "native" / "kernels.c"
        words = ["-m", "ziglang", "cc", "-target", TRIPLE, "-O2", "-ffp-contract=off", "-fno-sanitize=all"]
        subprocess.run([sys.executable, *words, "-c", str(source), "-o", str(folder / "k.o")], check=True)
        make_bundle(folder / "tree", (folder / "k.o").read_bytes(), given.megabytes)
        without_tree(folder / "tree", folder / "whole")
        pairs = [(timed(folder / "tree"), timed(folder / "whole")) for _ in range(given.pairs)]
    figures = figures_of(pairs)
    print("\n".join(table(figures)))
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
