"""How long a traced step takes to plan, and how much memory: a GPT-2 of 26 layers with 1B parameters.

`python benchmarks/planners/scale.py` plans LoRA and full AdamW steps of 26 layers, and of 6 to 48 layers for
the growth. Each is a process of its own that traces shapes, optimizes, fuses, schedules, projects, plans
under a tight budget and lays out; no weight is ever made. Seconds are those of the process's CPU, imports
left out, so other work on the machine counts little. The growth is the exponent of a power law through the
sizes: of the whole, and of all but the search (whose time is a limit, not a need).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from daypack.planners.problem import Problem

if TYPE_CHECKING:
    from daypack.spec import TrainSpec

LAYERS, GROWTH_LAYERS = 26, (6, 12, 24, 48)
WIDTH, HEADS, VOCABULARY = 1728, 27, 50257
"""26 layers of this width and vocabulary have 1.02e9 parameters."""
BATCH, SEQUENCE = 8, 128
DEVICE = "pixel8"
BUDGET_BYTES = {"lora": 0.8, "full": 1.0}
"""Of memory a parameter: below the weights alone, which have 4, and with moments and gradients 16."""
LIMIT_S, LIMIT_BYTES, LIMIT_EXPONENT = 60.0, 4e9, 1.1


@dataclass(frozen=True, slots=True)
class Figures:
    """One step planned; `extra_percent` is the plan's cost above every node once, 0 s: without the search."""

    method: str
    layers: int
    parameters: int
    nodes: int
    budget_bytes: int
    peak_bytes: int
    extra_percent: float
    search_s: float
    cpu_s: float
    peak_rss_bytes: int
    stages: dict[str, float]


def spec_of(method: str, layers: int, width: int = WIDTH, heads: int = HEADS) -> TrainSpec:
    """The step as a spec."""
    from daypack.spec import parse_spec

    adapter = 'rank = 8\ntargets = ["c_attn", "c_proj"]' if method == "lora" else ""
    text = f"""
[model]
family = "gpt2"
[model.config]
n_layer = {layers}
n_head = {heads}
n_embd = {width}
vocab_size = {VOCABULARY}
[train]
method = "{method}"
{adapter}
learning_rate = 1e-4
max_steps = 100
batch = {BATCH}
gradient_accumulation_steps = 1
sequence = {SEQUENCE}
[device]
profile = "{DEVICE}"
"""
    return parse_spec(text, base=Path(), where="scale")


def traced_problem(method: str, layers: int, width: int, heads: int) -> Problem:
    """What planners see of a step, from its shapes."""
    from daypack.api import compile_options, train_steps
    from daypack.compiler.pipeline import problem_of_step
    from daypack.devices import load_profile
    from daypack.models.task import build_task

    spec = spec_of(method, layers, width, heads)
    (step,) = train_steps(build_task(spec), spec)
    return problem_of_step(step, load_profile(DEVICE), compile_options(spec, None))


def planned(method: str, layers: int, search_s: float | None) -> Figures:
    """Plan one step in this process. `search_s` None: as long as the compiler searches."""
    from daypack.api import compile_options, train_steps
    from daypack.compiler.pipeline import plan_steps
    from daypack.devices import load_profile
    from daypack.models.task import build_task

    spec = spec_of(method, layers)
    task = build_task(spec)
    steps, profile = train_steps(task, spec), load_profile(DEVICE)
    parameters = sum(math.prod(shape.shape) for shape in {**task.trainable, **task.frozen}.values())
    options = compile_options(spec, int(BUDGET_BYTES[method] * parameters))
    if search_s is not None:
        options = replace(options, plan_seconds=search_s)
    stages: dict[str, float] = {}
    began = time.process_time()
    found = plan_steps(steps, profile, options, lambda name, _: stages.update({name: time.process_time()}))
    ended = time.process_time()
    times = [*stages.values(), ended]
    extra = 100 * (found.priced.cost / found.priced.nodes_cost - 1)
    return Figures(
        method,
        layers,
        parameters,
        len(found.projection.problem.nodes),
        options.memory_bytes or 0,
        found.plan.peak_bytes,
        extra,
        options.plan_seconds,
        ended - began,
        1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        {name: after - before for name, before, after in zip(stages, times, times[1:], strict=False)},
    )


def in_a_process(method: str, layers: int, search_s: float | None) -> Figures:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--worker", method, str(layers)]
    command += [] if search_s is None else ["--search", str(search_s)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def exponent(rows: list[Figures]) -> float:
    """The slope of log seconds over log layers, by least squares."""
    xs, ys = [math.log(row.layers) for row in rows], [math.log(row.cpu_s) for row in rows]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def measured(methods: list[str]) -> Iterator[Figures]:
    """Every run: the 1B steps first, then the growth without and with the search."""
    for method in methods:
        yield in_a_process(method, LAYERS, None)
        for search_s in (0.0, None):
            for layers in GROWTH_LAYERS:
                yield in_a_process(method, layers, search_s)


def line(row: Figures) -> str:
    """One row of the table."""
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in row.stages.items())
    return (
        f"{row.method} {row.layers} layers, {row.parameters / 1e9:.2f}B, {row.nodes} nodes, "
        f"{row.budget_bytes / 1e6:.0f} MB, search {row.search_s:g} s: {row.cpu_s:.1f} s CPU ({stages}), "
        f"{row.peak_rss_bytes / 1e6:.0f} MB resident, cost +{row.extra_percent:.1f} %"
    )


def verdicts(rows: list[Figures]) -> Iterator[tuple[str, bool]]:
    """What the figures come to, and whether it keeps the limit."""
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        billion = next(row for row in own if row.layers == LAYERS)
        text = f"{method}, {LAYERS} layers: {billion.cpu_s:.1f} s, {billion.peak_rss_bytes / 1e6:.0f} MB"
        yield text, billion.cpu_s <= LIMIT_S and billion.peak_rss_bytes <= LIMIT_BYTES
        for name, searched in (("all but the search", False), ("the whole", True)):
            some = [row for row in own if row.layers != LAYERS and (row.search_s > 0) == searched]
            if len(some) > 1:
                slope = exponent(some)
                yield f"{method}, {name}: seconds grow with layers^{slope:.2f}", slope <= LIMIT_EXPONENT


def reported(methods: list[str]) -> tuple[list[Figures], list[str]]:
    """Run and print all; the rows, and the limits that they break."""
    rows: list[Figures] = []
    for row in measured(methods):
        rows.append(row)
        print(line(row), flush=True)
    found = list(verdicts(rows))
    for text, good in found:
        print(text if good else f"limit broken: {text}")
    return rows, [text for text, good in found if not good]


def main() -> int:
    """Run and print; exit code 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=["lora", "full"])
    parser.add_argument("--worker", nargs=2, metavar=("METHOD", "LAYERS"))
    parser.add_argument("--search", type=float, metavar="S")
    parser.add_argument("--results", type=Path, help="write the rows here as JSON")
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(asdict(planned(given.worker[0], int(given.worker[1]), given.search))))
        return 0
    rows, complaints = reported(given.methods)
    if given.results is not None:
        given.results.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
