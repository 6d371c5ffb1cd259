"""What products in float16 do to a loss curve, and what they gain.

Loss: a small GPT-2 on text, 200 steps from random weights and 200 of LoRA from a trained one, in float32
and in float16. This machine computes float16's bits from float32 (ADR 0034); a few steps are repeated under
the emulator, by the arithmetic of a Cortex-A76. Gain: the modelled step of GPT-2 124M, 4 x 128.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.compare import relative_losses
from parity.engine import run_engine
from parity.figures import Figure, keep, table
from parity.specs import FULL, LORA, gpt2, write_ids
from precision import REPOSITORY, SMALL, pretrained, small

from daypack import api
from daypack.compiler.cost import kernel_cost, kernel_seconds
from daypack.compiler.means import Means
from daypack.compiler.pipeline import assemble_step
from daypack.compiler.window import CallKind
from daypack.devices import Profile, load_profile
from daypack.models.task import build_task
from daypack.spec import TrainSpec

LOSS_LIMIT, GAIN_LIMIT, EMULATED_LIMIT = 0.01, 1.5, 1e-4
DEVICES = ("cortex-a76", "cortex-x3", "cortex-a510", "pixel8")
SMOOTH = 10
"""Losses of a curve are averaged over this many steps: one batch's loss is mostly the batch."""


def losses_of(spec: TrainSpec, folder: Path, steps: int, device: str = "host") -> tuple[float, ...]:
    """A run from the spec's start, here or under the emulator."""
    bundle = folder / "one.bundle"
    if bundle.exists():
        bundle = folder / f"{len(list(folder.glob('*.bundle')))}.bundle"
    api.compile_spec(spec, out=bundle, target=device, emulate=True)
    return run_engine(bundle, steps, via="local" if device == "host" else "emulated").losses


def curve(losses: tuple[float, ...]) -> list[float]:
    return [statistics.mean(losses[n : n + SMOOTH]) for n in range(0, len(losses) - SMOOTH + 1)]


def loss_figures(folder: Path, steps: int, emulated: int) -> tuple[list[Figure], dict[str, Any]]:
    """Both methods' curves, each against float32's."""
    model, _ = pretrained(folder)
    cases: dict[str, dict[str, Any]] = {
        "full": {"model": {"family": "gpt2", "config": SMALL}, **FULL, "learning_rate": 2e-3},
        "lora": {"model": {"checkpoint": str(model)}, **LORA, "learning_rate": 1e-3},
    }
    figures: list[Figure] = []
    curves: dict[str, dict[str, tuple[float, ...]]] = {}
    for name, case in cases.items():
        train = {key: value for key, value in case.items() if key != "model"}
        specs = {
            arithmetic: small(case["model"], **train, max_steps=steps, arithmetic=arithmetic)
            for arithmetic in ("float32", "float16")
        }
        found = {arithmetic: losses_of(spec, folder, steps) for arithmetic, spec in specs.items()}
        exact, half = found["float32"], found["float16"]
        there = losses_of(specs["float16"], folder, emulated, "cortex-a76")
        worst = max(relative_losses(tuple(curve(half)), tuple(curve(exact))))
        each = max(relative_losses(half, exact))
        apart = max(relative_losses(there, half[:emulated]))
        figures += [
            Figure(name, f"float32: first loss of {steps}", exact[0], "nat"),
            Figure(name, "float32: mean of the last 10 losses", curve(exact)[-1], "nat"),
            Figure(
                name, f"float16: means of {SMOOTH} losses, relative to float32, worst", worst, "", LOSS_LIMIT
            ),
            Figure(name, "float16: single losses, relative to float32, worst", each, "", LOSS_LIMIT),
            Figure(
                name,
                f"float16: {emulated} steps, Cortex-A76 against here",
                apart,
                "",
                EMULATED_LIMIT,
                "emulated",
            ),
        ]
        curves[name] = {**found, "cortex-a76": there}
    return figures, curves


def gain_figures(folder: Path) -> list[Figure]:
    """Modelled seconds of a step of the published size in float32 by those in float16, planning apart."""
    ids = write_ids(folder / "ids.jsonl", 50257, 20_000)
    profiles = [load_profile(device) for device in DEVICES]
    figures: list[Figure] = []
    for name, method in (("lora", LORA), ("full", FULL)):
        exact, half = (
            modelled(gpt2(ids, {}, method, arithmetic=each, gradient_accumulation_steps=1), profiles)
            for each in ("float32", "float16")
        )
        for profile, slow, quick in zip(profiles, exact, half, strict=True):
            label = f"{profile.name}: step in float16, relative to float32"
            figures.append(Figure(name, label, quick / slow, "ratio", 1 / GAIN_LIMIT, "modelled"))
            figures.append(Figure(name, f"{profile.name}: step in float16", quick, "s", None, "modelled"))
    return figures


def modelled(spec: TrainSpec, profiles: Sequence[Profile]) -> list[float]:
    """Seconds of all kernels of a window of one micro-step, by device."""
    task = build_task(spec)
    step = api.train_steps(task, spec)[0]
    window, table = assemble_step(step, profiles[0], Means())
    kernels = [table.kernels[call.kernel] for call in window.calls if call.kind is CallKind.KERNEL]
    costs = [(kernel.kind, kernel_cost(kernel.body)) for kernel in kernels]
    return [sum(kernel_seconds(kind, cost, profile) for kind, cost in costs) for profile in profiles]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="fewer, to try the script out")
    parser.add_argument("--emulated", type=int, default=3, help="steps under the emulator")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daypack-half-") as folder:
        figures = gain_figures(Path(folder))
        print("\n".join(table(figures)), flush=True)
        more, curves = loss_figures(Path(folder), given.steps, given.emulated)
    print("\n".join(table(more)), flush=True)
    if given.results or given.steps == 200:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/half_arithmetic.py", *sys.argv[1:]])
        where = keep(place, "half-arithmetic", command, figures + more, {"losses": curves}, REPOSITORY)
        print(f"kept in {where}")
    sys.exit(0 if all(figure.kept for figure in figures + more) else 1)


if __name__ == "__main__":
    main()
