"""`make demo`: a byte-level GPT-2 learns English by full fine-tuning, then Python code by LoRA.

Each of the two specs is compiled for a phone (the emulator, where there is one, runs its first step) and for
this machine, which trains it whole. Then the same step runs under JAX in a process of its own, to compare
losses, peak memory and time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from daypack import api
from daypack.errors import DaypackError, MissingTool
from daypack.models.write_checkpoint import write_checkpoint
from daypack.spec import TrainSpec, format_size, load_spec

EXAMPLES = Path(__file__).resolve().parent
FOLDER = EXAMPLES.parent / "build" / "demo"
LINES = 12
BAR_COLUMNS = 40
JAX_STEPS = 12

console = Console(highlight=False)


@dataclass(frozen=True)
class Trained:
    """One spec's training: on this machine, its first step under the emulator, its first steps under JAX."""

    title: str
    bundle: Path
    budget_bytes: int
    steps: Sequence[api.StepEvent]
    emulated: api.StepEvent | None
    jax: dict[str, Any]

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    @property
    def seconds(self) -> float:
        return statistics.median(step.seconds for step in self.steps)


def main(full_spec: Path = EXAMPLES / "demo-full.toml", lora_spec: Path = EXAMPLES / "demo-lora.toml") -> int:
    """Run both trainings; the exit code is that of the first error."""
    began = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        full = train("full fine-tuning", full_spec)
        lora = train("LoRA", beside_its_files(full, full_spec, lora_spec))
    except DaypackError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.code)
    print_summary([full, lora])
    say(f"\n{time.monotonic() - began:.0f} seconds in all; bundles, states and checkpoint: {FOLDER}")
    return 0


def train(title: str, path: Path) -> Trained:
    """Compile a spec for its phone and for this machine, train it, compare."""
    spec = load_spec(path)
    budget = spec.budget.memory_bytes or 0
    console.rule(f"{title}: {path.name}", align="left", characters="-")
    phone = FOLDER / f"{path.stem}-{spec.device.profile}.bundle"
    host = FOLDER / f"{path.stem}-host.bundle"
    compile_for(spec, phone, None)
    first = emulated_step(phone)
    compile_for(spec, host, "host")
    steps = list(
        shown_steps(api.run_bundle(host, steps=spec.train.max_steps, fresh=True), spec.train.max_steps)
    )
    say(f"the same step under JAX, {JAX_STEPS} times, in a process of its own ...")
    return Trained(title, host, budget, steps, first, under_jax(path))


def compile_for(spec: TrainSpec, out: Path, target: str | None) -> None:
    name = target or spec.device.profile
    with console.status(f"compiling for {name} ...") if console.is_terminal else nullcontext():
        made = api.compile_spec(spec, out=out, target=target)
    peak = format_size(made.predicted.peak_bytes)
    say(
        f"compiled for {name} in {made.compile_seconds:.1f} s: {made.kernels} kernels, "
        f"peak memory {peak} (modelled)"
    )


def emulated_step(bundle: Path) -> api.StepEvent | None:
    """The first step of a phone's bundle under the emulator; None where there is no emulator."""
    try:
        (step,) = api.run_bundle(bundle, steps=1, fresh=True, via="emulated")
    except MissingTool as error:
        say(f"not emulated: {error.message}")
        return None
    say(f"emulated phone, step 1: loss {step.loss:.6f}, {step.seconds:.1f} s ({step.source})")
    return step


def shown_steps(events: Iterator[api.StepEvent], total: int) -> Iterator[api.StepEvent]:
    """Pass the steps on; print a line, with a bar as long as the loss, each time a share of them is done."""
    every = max(1, total // LINES)
    losses: list[float] = []
    longest = 0.0
    for event in events:
        yield event
        losses.append(event.loss)
        if len(losses) == every or event.step == 1:
            mean = statistics.fmean(losses)
            longest = max(longest, mean)
            bar = "#" * round(BAR_COLUMNS * mean / longest)
            peak = format_size(event.peak_rss_bytes)
            say(f"  step {event.step:>4}  loss {mean:.4f}  {event.seconds:.3f} s  peak {peak}  {bar}")
            losses = []


def beside_its_files(full: Trained, full_spec: Path, lora_spec: Path) -> Path:
    """A copy of the LoRA spec, beside the checkpoint and the text that it names."""
    model = load_spec(full_spec).model
    directory = FOLDER / "demo-checkpoint"
    shutil.rmtree(directory, ignore_errors=True)
    state = load_file(full.bundle.with_name(full.bundle.name + ".state") / "state.safetensors")
    weights = {n: a for n, a in state.items() if not n.startswith(("opt/", "clock/", "mutable/"))}
    write_checkpoint(directory, {"model_type": model.family, **model.config}, StateSource(weights))
    say(f"wrote the trained model as a Hugging Face directory: {directory}")
    (FOLDER / "code.txt").write_text(inspect.getsource(argparse))
    return Path(shutil.copy(lora_spec, FOLDER / "demo-lora.toml"))


@dataclass(frozen=True)
class StateSource:
    """Arrays in memory as a source of tensors."""

    arrays: dict[str, np.ndarray]

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.arrays))

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        return self.arrays[name].shape, str(self.arrays[name].dtype)

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]


def under_jax(path: Path) -> dict[str, Any]:
    """What examples/jax_step.py says of this spec."""
    command = [sys.executable, str(EXAMPLES / "jax_step.py"), str(path), str(JAX_STEPS)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_summary(results: Sequence[Trained]) -> None:
    """Loss, memory and time of each training, beside JAX's."""
    console.rule("summary", align="left", characters="-")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for result in results:
        table.add_column(result.title, justify="right")
    rows = [
        ("loss, first step to last twenty", loss_fall),
        ("peak memory, measured", lambda r: format_size(peak_of(r))),
        ("  budget of the spec", lambda r: format_size(r.budget_bytes)),
        ("  JAX, its whole process", lambda r: format_size(r.jax["peak_rss_bytes"])),
        ("median step, measured", lambda r: f"{r.seconds:.3f} s"),
        ("  JAX", lambda r: f"{r.jax['seconds']:.3f} s"),
        (f"{JAX_STEPS} losses, off JAX at most", lambda r: f"{against_jax(r):.1e}"),
        ("loss 1, emulated phone off host", against_emulator),
    ]
    for name, value in rows:
        table.add_row(name, *(value(result) for result in results))
    console.print(table)


def loss_fall(result: Trained) -> str:
    """Single losses of so few tokens are noisy; the end is a mean."""
    return f"{result.losses[0]:.3f} -> {statistics.fmean(result.losses[-20:]):.3f}"


def peak_of(result: Trained) -> int:
    return max(step.peak_rss_bytes for step in result.steps)


def against_jax(result: Trained) -> float:
    """Relative."""
    pairs = zip(result.losses, result.jax["losses"], strict=False)
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)


def against_emulator(result: Trained) -> str:
    if result.emulated is None:
        return "no emulator"
    return f"{abs(result.emulated.loss - result.losses[0]) / result.losses[0]:.1e}"


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
