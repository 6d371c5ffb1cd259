"""Time and peak memory of a training step: the engine, `jax.jit`, and PyTorch with transformers and peft.

GPT-2 124M, LoRA and full, 4 x 128, and Qwen2.5-0.5B, LoRA, 1 x 256; seeded random weights of the published
shapes, fp32, no budget. The contenders take their turns one after the other, several rounds; the table gives
each one's median step, its peak of resident memory over the steps, and ours as ratios to the best of the
peers. `--layers 2` tries the script out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.budgets import with_memory
from parity.contenders import Contender, Engine, Times, in_turns, jax_worker, torch_worker
from parity.figures import Figure, keep, table
from parity.specs import FULL, GPT2_124M, LORA, LORA_QV, QWEN25_05B, training, write_ids
from parity.workspace import Workspace

from daypack.spec import TrainSpec, parse_size

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """One step, and how much of the best peer's time and memory ours may take."""

    family: str
    config: Mapping[str, Any]
    method: Mapping[str, Any]
    layers_field: str
    vocabulary: int
    time_limit: float = 1.0
    memory_limit: float | None = None
    tight: str | None = None
    """A memory budget, where the same step under one is another contender."""

    def spec(self, work: Workspace, layers: int | None) -> TrainSpec:
        ids = work.folder / f"ids-{self.vocabulary}.jsonl"
        ids = ids if ids.exists() else write_ids(ids, self.vocabulary, 20_000)
        config = dict(self.config) if layers is None else {**self.config, self.layers_field: layers}
        return training(self.family, ids, config, self.method)


CASES: dict[str, Case] = {
    "gpt2-lora": Case("gpt2", GPT2_124M, LORA, "n_layer", 50257, memory_limit=0.5),
    "gpt2-full": Case("gpt2", GPT2_124M, FULL, "n_layer", 50257, memory_limit=0.85),
    "qwen2.5-lora": Case(
        "qwen2",
        QWEN25_05B,
        {**LORA_QV, "batch": 1, "sequence": 256},
        "num_hidden_layers",
        151936,
        memory_limit=0.5,
        tight="1850MB",
    ),
}


def measure(work: Workspace, spec: TrainSpec, tight: str | None, rounds: int, steps: int) -> list[Times]:
    """All contenders in turns on one step; the last is ours within a budget, if there is one."""
    built = work.build(spec)
    contenders: list[Contender] = [Engine(built.bundle), jax_worker(built.bundle, spec)]
    if all(importlib.util.find_spec(package) for package in ("torch", "transformers", "peft")):
        contenders.append(torch_worker(spec, len(os.sched_getaffinity(0))))
    if tight is not None:
        bound = work.build(with_memory(spec, parse_size(tight)))
        contenders.append(Engine(bound.bundle, name=f"daypack within {tight}"))
    return in_turns(contenders, rounds, steps)


def figures_of(name: str, case: Case, times: list[Times]) -> list[Figure]:
    """The table of one step."""
    figures: list[Figure] = []
    for entry in times:
        figures.append(Figure(name, f"{entry.name}: step, median of {len(entry.seconds)}", entry.median, "s"))
        figures.append(Figure(name, f"{entry.name}: VmHWM of the steps", entry.peak_rss_bytes, "bytes"))
    ours, *peers = times
    bound = peers.pop() if case.tight else None
    faster = min(peers, key=lambda entry: entry.median)
    smaller = min(peers, key=lambda entry: entry.peak_rss_bytes)
    ratio = ours.median / faster.median
    figures.append(
        Figure(name, f"ours / {faster.name}, the faster peer: time", ratio, "ratio", case.time_limit)
    )
    ratio = ours.peak_rss_bytes / smaller.peak_rss_bytes
    figures.append(
        Figure(name, f"ours / {smaller.name}, the smaller peer: memory", ratio, "ratio", case.memory_limit)
    )
    if bound is not None:
        ratio = bound.median / faster.median
        figures.append(Figure(name, f"{bound.name} / {faster.name}: time", ratio, "ratio", case.time_limit))
        ratio = bound.peak_rss_bytes / smaller.peak_rss_bytes
        figures.append(
            Figure(name, f"{bound.name} / {smaller.name}: memory", ratio, "ratio", case.memory_limit)
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--layers", type=int, help="fewer than published, to try the script out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a turn")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    figures: list[Figure] = []
    details: dict[str, Any] = {"layers": given.layers}
    with tempfile.TemporaryDirectory(prefix="daypack-bench-") as folder:
        work = Workspace(Path(folder), given.layers or 12, given.steps)
        for name in given.cases or CASES:
            times = measure(
                work, CASES[name].spec(work, given.layers), CASES[name].tight, given.rounds, given.steps
            )
            details[name] = [asdict(entry) for entry in times]
            found = figures_of(name, CASES[name], times)
            figures += found
            print("\n".join(table(found)), flush=True)
    if given.results or given.layers is None:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]])
        print(f"kept in {keep(place, 'bench', command, figures, details, REPOSITORY)}")
    sys.exit(0 if all(figure.kept for figure in figures) else 1)


if __name__ == "__main__":
    main()
