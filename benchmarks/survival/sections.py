"""The figures of proof sections `kill`, `power-loss`, `faults`, `flips`, `fuzz` and `soak`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.figures import Figure
from parity.workspace import Workspace

from survival import fuzz_seeds, fuzzing, subjects
from survival.faults import fail_everywhere
from survival.flips import flip_weights
from survival.kills import PATIENCE_SECONDS, kill
from survival.power import lose
from survival.soak import soak

#: Lines of a loader that its harness must reach.
LEAST_COVERED = 0.9
FUZZ_SECONDS = 1800
KILLS = LOSSES = 1000
FLIPS = 10_000
#: Of each function of the platform: the most calls that fail, one a run.
CALLS = 150
#: The system counts resident pages of each thread in batches, so that a peak is not known better.
COUNTED_BYTES = 300_000


def fuzz_figures(harnesses: Sequence[str], work: Path, seconds: float) -> list[Figure]:
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
        figures.append(Figure("fuzz", f"{harness}: processor time", ran.processor_seconds, "s"))
        figures.append(Figure("fuzz", f"{harness}: inputs tried", ran.runs, "count"))
        figures.append(Figure("fuzz", f"{harness}: inputs that failed", len(ran.found), "count", 0))
        for name, share in covered.items():
            label = f"{harness}: share of lines of {name} not reached"
            figures.append(Figure("fuzz", label, 1 - share, "ratio", 1 - LEAST_COVERED))
        print(
            f"{harness}: {ran.runs} inputs in {ran.processor_seconds:.1f} s of a processor, "
            f"{len(ran.found)} failed, lines reached: {covered}",
            flush=True,
        )
    return figures


def kill_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """A thousand SIGKILLs, spread over LoRA and full fine-tuning that pages its state."""
    folder = work.folder / "kill"
    third = KILLS // 3
    figures: list[Figure] = []
    for name, subject, kills in (
        ("LoRA", subjects.lora(folder, subjects.SMALL), third),
        ("LoRA, every third window saved", subjects.lora(folder, subjects.SMALL, save_steps=3), third),
        ("paged full", subjects.paged(folder, subjects.SMALL), KILLS - 2 * third),
    ):
        found = kill(subject, folder, kills, seed=kills)
        details[f"kill, {name}"] = asdict(found)
        figures += [
            Figure("kill", f"{name}: kills after progress, each resumed", found.kills, "count"),
            Figure("kill", f"{name}: kills before any progress besides", found.early, "count"),
            Figure("kill", f"{name}: windows trained", found.steps, "count"),
            Figure("kill", f"{name}: most told windows lost", found.lost, "count", subject.save_steps),
            Figure("kill", f"{name}: final states that differ", not found.identical, "count", 0),
            Figure("kill", f"{name}: files left beside the state", len(found.left), "count", 0),
        ]
    return figures


def power_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """A thousand losses of power at random changes of the disk."""
    folder = work.folder / "power"
    half = LOSSES // 2
    figures: list[Figure] = []
    for name, subject in (
        ("LoRA", subjects.lora(folder, subjects.SMALL, "power")),
        ("paged full", subjects.paged(folder, subjects.SMALL, "power")),
    ):
        found = lose(subject, folder, half, seed=3)
        details[f"power-loss, {name}"] = asdict(found)
        figures += [
            Figure("power-loss", f"{name}: losses, each resumed", found.losses, "count", source="emulated"),
            Figure("power-loss", f"{name}: of which pages survived by chance", found.torn, "count"),
            Figure("power-loss", f"{name}: windows trained", found.steps, "count"),
            Figure("power-loss", f"{name}: most told windows lost", found.undone, "count", 0),
            Figure("power-loss", f"{name}: final states that differ", not found.identical, "count", 0),
        ]
    return figures


def faults_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Every function of the platform fails at up to 150 of its calls, under AddressSanitizer and UBSan."""
    folder = work.folder / "faults"
    figures: list[Figure] = []
    for name, subject in (
        ("LoRA", subjects.lora(folder, subjects.TINY, "fault-asan")),
        ("paged full", subjects.paged(folder, subjects.TINY, "fault-asan")),
    ):
        found = fail_everywhere(subject, folder, "fault-asan", CALLS)
        details[f"faults, {name}"] = asdict(found)
        figures += [
            Figure("faults", f"{name}: runs with a fault", found.runs, "count"),
            Figure("faults", f"{name}: longest run", found.worst_seconds, "s", PATIENCE_SECONDS),
            Figure("faults", f"{name}: hangs", found.slow, "count", 0),
            Figure("faults", f"{name}: undocumented ends", found.strange, "count", 0),
            Figure("faults", f"{name}: failures without a message", found.silent, "count", 0),
            Figure("faults", f"{name}: reports of sanitizers", found.sanitizer, "count", 0),
            Figure("faults", f"{name}: states not whole, or resumed to others", found.corrupt, "count", 0),
        ]
    return figures


def flips_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Every single-bit flip of a small state and plan through their loaders, under the sanitizers; and
    10,000 flips of weights that a run reads, which must end it.

    The first byte of a state's input chooses how it is read (state_fuzz.c): its flips are not the state's.
    """
    folder = work.folder / "flips"
    figures: list[Figure] = []
    for harness, inputs in (("state", (0, 1, 2, 3)), ("plan", (0, 1, 2))):
        program = fuzzing.build_harness(harness, folder)
        seeds = fuzz_seeds.write_seeds(harness, folder / harness)
        flips = bad = unseen = 0
        for number in inputs:
            done = fuzzing.replay(program, [seeds[number]], flip=True)
            flips += 8 * seeds[number].stat().st_size
            bad += done.returncode != 0
            if harness == "state" and number < 2 and done.returncode == 0:
                unseen += int(done.stdout.split()[2]) - 1 - 8
        figures += [
            Figure("flips", f"{harness}: flips of a bit", flips, "count"),
            Figure("flips", f"{harness}: inputs with a flip that sanitizers report", bad, "count", 0),
        ]
        if harness == "state":
            figures.append(Figure("flips", "state: flips that its checks did not find", unseen, "count", 0))
    subject = subjects.lora(folder, subjects.WIDE)
    found = flip_weights(subject, folder, FLIPS, seed=5)
    details["flips, weights"] = asdict(found)
    figures += [
        Figure("flips", "weights: flips of a bit in what a run reads", found.flips, "count"),
        Figure("flips", "weights: flips that did not end the run with code 4", found.unseen, "count", 0),
        Figure("flips", "weights: runs without a flip that differ", not found.identical, "count", 0),
    ]
    return figures


def soak_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """`--seconds` of training, half LoRA and half paged, killed about once a second."""
    folder = work.folder / "soak"
    figures: list[Figure] = []
    for name, subject in (
        ("LoRA", subjects.lora(folder, subjects.SMALL)),
        ("paged full", subjects.paged(folder, subjects.SMALL)),
    ):
        found = soak(subject, folder, work.seconds / 2)
        details[f"soak, {name}"] = asdict(found)
        grown = found.rest.peak_rss_bytes - found.first.peak_rss_bytes
        more = found.rest.descriptors - found.first.descriptors
        threads = found.rest.threads - found.first.threads
        figures += [
            Figure("soak", f"{name}: time", found.seconds, "s"),
            Figure("soak", f"{name}: kills", found.kills, "count"),
            Figure("soak", f"{name}: stops", found.stops, "count"),
            Figure("soak", f"{name}: windows trained", found.steps, "count"),
            Figure("soak", f"{name}: final states that differ", not found.identical, "count", 0),
            Figure("soak", f"{name}: growth of peak memory", grown, "bytes", COUNTED_BYTES),
            Figure("soak", f"{name}: growth of open descriptors", more, "count", 0),
            Figure("soak", f"{name}: growth of threads", threads, "count", 0),
            Figure("soak", f"{name}: files left beside the state", found.left, "count", 0),
        ]
    return figures


def fuzz_section(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Half an hour of a processor for each harness."""
    return fuzz_figures(fuzzing.HARNESSES, work.folder / "fuzz", FUZZ_SECONDS)


SURVIVAL: dict[str, Callable[[Workspace, dict[str, Any]], list[Figure]]] = {
    "kill": kill_section,
    "power-loss": power_section,
    "faults": faults_section,
    "flips": flips_section,
    "fuzz": fuzz_section,
    "soak": soak_section,
}
