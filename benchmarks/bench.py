"""Time and peak memory of a GPT-2 124M step: the engine, `jax.jit`, and PyTorch where it is installed.

The contenders take their turns one after the other, several rounds; the table gives each one's median step,
its peak of resident memory over the steps, and both as ratios to JAX. `--layers 2` tries the script out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.contenders import Contender, Engine, Times, in_turns, jax_worker, torch_worker
from parity.figures import Figure, keep, table
from parity.specs import FULL, LORA, gpt2
from parity.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parent.parent
CASES: dict[str, dict[str, Any]] = {"lora": LORA, "full": FULL}


def measure(work: Workspace, name: str, rounds: int, steps: int) -> list[Times]:
    """All contenders in turns on one method."""
    spec = gpt2(work.ids, work.config, CASES[name])
    built = work.build(spec)
    contenders: list[Contender] = [Engine(built.bundle), jax_worker(built.bundle, spec)]
    if all(importlib.util.find_spec(package) for package in ("torch", "transformers", "peft")):
        contenders.append(torch_worker(spec, len(os.sched_getaffinity(0))))
    return in_turns(contenders, rounds, steps)


def figures_of(name: str, times: list[Times]) -> list[Figure]:
    """The table of one method; ratios are to JAX."""
    jax = next(entry for entry in times if entry.name == "jax")
    figures: list[Figure] = []
    for entry in times:
        figures.append(Figure(name, f"{entry.name}: step, median of {len(entry.seconds)}", entry.median, "s"))
        figures.append(Figure(name, f"{entry.name}: VmHWM of the steps", entry.peak_rss_bytes, "bytes"))
        if entry is not jax:
            figures.append(Figure(name, f"{entry.name} / jax: time", entry.median / jax.median, "ratio"))
            memory = entry.peak_rss_bytes / jax.peak_rss_bytes
            figures.append(Figure(name, f"{entry.name} / jax: memory", memory, "ratio"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a turn")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    figures: list[Figure] = []
    details: dict[str, Any] = {"layers": given.layers}
    with tempfile.TemporaryDirectory(prefix="daypack-bench-") as folder:
        work = Workspace(Path(folder), given.layers, given.steps)
        for name in given.cases or CASES:
            times = measure(work, name, given.rounds, given.steps)
            details[name] = [asdict(entry) for entry in times]
            found = figures_of(name, times)
            figures += found
            print("\n".join(table(found)), flush=True)
    if given.results or given.layers == 12:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]])
        print(f"kept in {keep(place, 'bench', command, figures, details, REPOSITORY)}")


if __name__ == "__main__":
    main()
