"""The figures of proof sections `kill`, `power-loss`, `faults`, `flips`, `sanitizers`, `fuzz` and `soak`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from parity.figures import Figure

from survival import fuzz_seeds, fuzzing

#: Lines of a loader that its harness must reach.
LEAST_COVERED = 0.9


def fuzz_figures(harnesses: Sequence[str], work: Path, seconds: int) -> list[Figure]:
    """Failed inputs of each harness, runs, and lines of its loader that its corpus does not reach."""
    figures: list[Figure] = []
    for harness in harnesses:
        corpus = work / "corpus" / harness
        fuzz_seeds.write_seeds(harness, corpus)
        for path in (fuzzing.REGRESSIONS / harness).glob("*"):
            shutil.copy(path, corpus)
        program = fuzzing.build_harness(harness, work, libfuzzer=True)
        ran = fuzzing.fuzz(program, harness, corpus, work / "found" / harness, seconds)
        for path in ran.found:
            print(f"{harness}: an input failed: {path}", flush=True)
        counted = fuzzing.build_harness(harness, work, coverage=True)
        covered = fuzzing.coverage(counted, harness, sorted(corpus.iterdir()))
        figures.append(Figure("fuzz", f"{harness}: fuzzed", ran.seconds, "s"))
        figures.append(Figure("fuzz", f"{harness}: inputs tried", ran.runs, "count"))
        figures.append(Figure("fuzz", f"{harness}: inputs that failed", len(ran.found), "count", 0))
        for name, share in covered.items():
            label = f"{harness}: share of lines of {name} not reached"
            figures.append(Figure("fuzz", label, 1 - share, "ratio", 1 - LEAST_COVERED))
        print(f"{harness}: {ran.runs} inputs, {len(ran.found)} failed, lines reached: {covered}", flush=True)
    return figures
