"""How much larger than its load the arena of a traced step is, at full depth.

`python benchmarks/planners/layouts.py` plans GPT-2 124M, 8 x 128: LoRA and full fine-tuning, windows of 1 and
4 micro-steps, clipped, with and without dropout, without a budget and under budgets from tight to loose.
Nothing is compiled. `--layers 2` is for trying it out. Exit code 1 if an arena is above 1.01 of its load.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.specs import FULL, LORA, gpt2, write_ids

from daypack import api
from daypack.compiler import apply
from daypack.compiler.means import Means
from daypack.compiler.pipeline import assemble_step
from daypack.compiler.planning import Options, Planned, plan_window
from daypack.devices import load_profile
from daypack.errors import BudgetInfeasible
from daypack.models.task import build_task
from daypack.planners.layout import Buffer, Layout, lay_out, near_load

OVER = 1.01
SHARES = (0.02, 0.1, 0.3, 0.6)
"""Budgets between the least and what keeping everything takes."""
WINDOW = {"gradient_accumulation_steps": 4}
DROPOUT = {"dropout": 0.1}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "lora": (LORA, {}, 160_000_000),
    "lora, dropout": (LORA, DROPOUT, 160_000_000),
    "lora, window of 4": (LORA, WINDOW, 160_000_000),
    "full": (FULL, {}, 256_000_000),
    "full, dropout": (FULL, DROPOUT, 256_000_000),
    "full, window of 4": (FULL, WINDOW, 288_000_000),
}


@dataclass(slots=True)
class Watch:
    """Layouts made: how many, their seconds of processor time, and first fit's ratio for the last."""

    count: int = 0
    seconds: float = 0.0
    first_fit: float = 1.0

    def lay_out(self, buffers: list[Buffer], **options: Any) -> Layout:
        """`near_load`, watched."""
        began = time.process_time()
        layout = near_load(buffers, **options)
        self.count, self.seconds = self.count + 1, self.seconds + time.process_time() - began
        self.first_fit = lay_out(buffers).total_bytes / max(1, layout.max_load_bytes)
        return layout


def planner(spec: Any) -> Callable[[int | None], Planned]:
    """Memory → the step planned."""
    (step,) = api.train_steps(build_task(spec), spec)
    profile = load_profile(spec.device.profile)
    window, table = assemble_step(step, profile, Means())
    return lambda memory: plan_window(step, window, table, profile, Options(memory_bytes=memory))


def rows(name: str, plan: Callable[[int | None], Planned], published: int | None) -> Iterator[float]:
    """Print a line a budget; the ratios."""
    watch = Watch()
    apply.near_load = watch.lay_out
    free = plan(None)
    yield line(name, None, free, watch)
    try:
        plan(1_000_000)
        return
    except BudgetInfeasible as refused:
        least = int(str(refused.details()["smallest_feasible_bytes"]))
    span = free.priced.plan.peak_bytes - least
    budgets = [int(1.02 * least + share * span) for share in SHARES]
    for memory in sorted(budgets + ([published] if published else [])):
        watch = Watch()
        apply.near_load = watch.lay_out
        try:
            yield line(name, memory, plan(memory), watch)
        except BudgetInfeasible:
            print(f"{name:20} {memory / 1e6:7.1f} MB: no plan", flush=True)


def line(name: str, memory: int | None, made: Planned, watch: Watch) -> float:
    """Print one line; the ratio of arena and load."""
    ratio = made.applied.arena_bytes / max(1, made.applied.max_load_bytes)
    budget = "no budget" if memory is None else f"{memory / 1e6:.1f} MB"
    load = made.applied.max_load_bytes / 1e6
    print(
        f"{name:20} {budget:>10}: load {load:8.2f} MB, first fit {watch.first_fit:.4f}, arena {ratio:.4f}, "
        f"layouts {watch.count} in {watch.seconds:.1f} s, "
        f"step {made.priced.measure.seconds:.3f} s (modelled)",
        flush=True,
    )
    return ratio


def main() -> int:
    """Run, print; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"some of: {'; '.join(CASES)}; all by itself")
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    config: dict[str, Any] = {} if arguments.layers is None else {"n_layer": arguments.layers}
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        ids = write_ids(Path(folder) / "ids.jsonl", 50257, 20_000)
        for name in arguments.cases or CASES:
            method, train, published = CASES[name]
            spec = gpt2(ids, config, method, batch=8, **train)
            ratios += rows(name, planner(spec), None if arguments.layers else published)
    above = sum(ratio > OVER for ratio in ratios)
    print(f"{len(ratios)} layouts, {above} above {OVER}, the worst {max(ratios):.4f}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
