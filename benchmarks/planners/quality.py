"""Extra cost of every planner on random layered graphs; time and memory on traced steps; layouts.

`python benchmarks/planners/quality.py` runs everything (hours); `--quick` takes about two minutes. Sections:

quality   graphs of 100 to 1,000 nodes, seeds 0 to 19, at 90, 80, 70 and 50 % of the given order's peak
steps     traced steps of GPT-2 124M, LoRA and full, 8 x 128, at the same shares
exact     graphs of 100 nodes: does `cpsat` in ten minutes prove `auto` optimal or within 2 %, or that no plan
          fits; `--exact-seeds 3 --exact-seconds 60` is a sample
scale     a traced 26-layer step of 1B parameters, and steps of 6 to 48 layers (`scale.py`)
layout    the public MiniMalloc instances (`--minimalloc FOLDER`, or MINIMALLOC in the environment)

Every plan is judged by the validator before it counts. Exit code 1 if a limit is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from scale import reported, traced_problem

from daypack.planners.buffers_csv import read_buffers
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.instances import layered_problem
from daypack.planners.keep_all import keep_all_order
from daypack.planners.layout import fit
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.registry import PlannerName, planner_named
from daypack.planners.validate import validate_layout, validate_plan

SHARES = (0.9, 0.8, 0.7, 0.5)
LIMITS_PERCENT = {0.9: 0.2, 0.8: 2.0, 0.7: 6.0}
"""Median extra cost of `auto` on 1,000 nodes in 36 s on one core."""
CLOSE = 1e-6
EXACT_PERCENT, EXACT_CLOSE = 2.0, 1e-4
"""How far `auto` may be proven to be from the optimum at 100 nodes, and what counts as equal (percent)."""
LAYOUT_S, LAYOUTS_SOLVED = 10.0, 5


@dataclass(frozen=True, slots=True)
class Row:
    """One planner on one problem; `extra_percent` is None where it found no plan."""

    section: str
    problem: str
    share: float
    planner: str
    extra_percent: float | None
    bound_percent: float
    proven: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run and how long each planner may take."""

    nodes: tuple[int, ...]
    seeds: int
    seconds: float
    exact_seconds: float
    exact_seeds: int
    planners: tuple[str, ...]
    minimalloc: Path | None


def planned(section: str, name: str, problem: Problem, share: float, planner: str, seconds: float) -> Row:
    """Plan, judge, and compare with every node once."""
    memory_bytes = int(share * keep_all_order(problem).peak_bytes)
    base = sum(node.cost for node in problem.nodes)
    began = time.monotonic()
    try:
        plan: Plan = planner_named(planner)(problem, memory_bytes, PlanOptions(time_limit_s=seconds))
    except PlanInfeasible as error:
        refuted = "infeasible" if error.bound_bytes > memory_bytes else ""
        return Row(section, name, share, planner, None, 0.0, refuted, time.monotonic() - began)
    took = time.monotonic() - began
    validate_plan(problem, plan, memory_bytes)
    extra, bound = (100 * (cost / base - 1) for cost in (plan.cost, plan.lower_bound_cost))
    return Row(section, name, share, planner, extra, bound, "optimal" if plan.proven_optimal else "", took)


def quality(settings: Settings) -> Iterator[Row]:
    """Every planner on every graph."""
    for count in settings.nodes:
        for seed in range(settings.seeds):
            problem = layered_problem(count, seed)
            for share in SHARES:
                for planner in settings.planners:
                    name = f"layered {count} seed {seed}"
                    yield planned("quality", name, problem, share, planner, settings.seconds)


def steps(settings: Settings) -> Iterator[Row]:
    """Every planner on real steps: weights, moments and activations may be paged, some nodes run once."""
    for method in ("lora", "full"):
        problem = traced_problem(method, 12, 768, 12)
        for share in SHARES:
            for planner in settings.planners:
                yield planned("quality", f"GPT-2 124M {method}", problem, share, planner, settings.seconds)


def exact(settings: Settings) -> Iterator[Row]:
    """The solver with time, beside `auto` with little."""
    for seed in range(settings.exact_seeds):
        problem = layered_problem(100, seed)
        for share in SHARES:
            for planner, seconds in (("auto", settings.seconds), ("cpsat", settings.exact_seconds)):
                yield planned("exact", f"layered 100 seed {seed}", problem, share, planner, seconds)


def layout(folder: Path) -> Iterator[Row]:
    """The public instances within their capacity, which their names carry."""
    for path in sorted(folder.glob("*.csv")):
        capacity = int(path.name.split(".")[1])
        buffers = read_buffers(path).buffers
        began = time.monotonic()
        found = fit(buffers, capacity_bytes=capacity, alignment_bytes=1, time_limit_s=LAYOUT_S, seed=0)
        took = time.monotonic() - began
        validate_layout(buffers, found, 1)
        over = 100 * (found.total_bytes / capacity - 1)
        yield Row("layout", path.name, 1.0, "layout", over, 0.0, "fits" if over <= 0 else "", took)


def broken(rows: list[Row], settings: Settings) -> list[str]:
    """The limits that the rows break."""
    found = list(_worse_than_single(rows))
    for share, limit in LIMITS_PERCENT.items():
        judged = [
            row for row in rows if row.planner == "auto" and row.share == share and " 1000 " in row.problem
        ]
        counted = [row for row in judged if row.proven != "infeasible"]
        if counted:
            extra = [float("inf") if row.extra_percent is None else row.extra_percent for row in counted]
            if statistics.median(extra) > limit:
                found.append(
                    f"1,000 nodes at {share:.0%}: median {statistics.median(extra):.2f} % above {limit} %"
                )
    found += _exact_complaints(rows)
    solved = [row for row in rows if row.section == "layout"]
    if solved and sum(row.proven == "fits" for row in solved) < LAYOUTS_SOLVED:
        found.append(
            f"layout: {sum(row.proven == 'fits' for row in solved)} within capacity of {len(solved)}"
        )
    return found


def _worse_than_single(rows: list[Row]) -> Iterator[str]:
    best = {
        (row.problem, row.share): row for row in rows if row.planner == "auto" and row.section == "quality"
    }
    for row in rows:
        auto = best.get((row.problem, row.share))
        if auto is None or row.section != "quality" or row.extra_percent is None:
            continue
        if auto.extra_percent is None or auto.extra_percent > row.extra_percent + CLOSE:
            yield f"{row.problem} at {row.share:.0%}: auto {auto.extra_percent} worse than {row.planner}"


def exact_gaps(rows: list[Row]) -> dict[tuple[str, float], float]:
    """By how many percent `auto` may be above the optimum, by problem and share; 0 where no plan fits.

    Infinite where `auto` found no plan and nothing proves that there is none.
    """
    judged = [row for row in rows if row.section == "exact"]
    proofs = {(row.problem, row.share): row for row in judged if row.planner == "cpsat"}
    gaps: dict[tuple[str, float], float] = {}
    for row in judged:
        key = (row.problem, row.share)
        if row.planner != "auto" or key not in proofs:
            continue
        if proofs[key].proven == "infeasible":
            gaps[key] = 0.0
        elif row.extra_percent is None:
            gaps[key] = float("inf")
        else:
            bound = max(row.bound_percent, proofs[key].bound_percent)
            gaps[key] = max(0.0, 100 * ((100 + row.extra_percent) / (100 + bound) - 1))
    return gaps


def _exact_complaints(rows: list[Row]) -> Iterator[str]:
    for (problem, share), gap in exact_gaps(rows).items():
        if gap > EXACT_PERCENT:
            yield f"{problem} at {share:.0%}: auto may be {gap:.2f} % above the optimum"


def exact_summary(rows: list[Row]) -> Iterator[str]:
    """What the solver proves of `auto`: a line a share."""
    gaps = exact_gaps(rows)
    refuted = {
        (row.problem, row.share)
        for row in rows
        if row.section == "exact" and row.planner == "cpsat" and row.proven == "infeasible"
    }
    for share in SHARES:
        found = {key: gap for key, gap in gaps.items() if key[1] == share}
        if not found:
            continue
        planned = [gap for key, gap in found.items() if key not in refuted]
        optimal = sum(gap <= EXACT_CLOSE for gap in planned)
        near = sum(EXACT_CLOSE < gap <= EXACT_PERCENT for gap in planned)
        yield (
            f"exact at {share:.0%}: of {len(found)} budgets {optimal} auto optimal, {near} within "
            f"{EXACT_PERCENT:g} %, {len(found) - len(planned)} proven infeasible, "
            f"{len(planned) - optimal - near} open; worst gap {max(planned, default=0.0):.2f} %"
        )


def summary(rows: list[Row]) -> str:
    """Medians over the seeds: one line a size, share and planner."""
    groups: dict[tuple[str, str, float, str], list[Row]] = {}
    for row in rows:
        group = row.problem.split(" seed")[0]
        groups.setdefault((row.section, group, row.share, row.planner), []).append(row)
    lines = ["section,problem,share,planner,runs,planned,optimal,infeasible,median extra %,worst %,median s"]
    for (section, group, share, planner), members in groups.items():
        extra = [row.extra_percent for row in members if row.extra_percent is not None]
        middle, worst = (f"{statistics.median(extra):.3f}", f"{max(extra):.3f}") if extra else ("-", "-")
        counts = [sum(row.proven == word for row in members) for word in ("optimal", "infeasible")]
        took = statistics.median(row.seconds for row in members)
        lines.append(
            f"{section},{group},{share},{planner},{len(members)},{len(extra)},{counts[0]},{counts[1]},"
            f"{middle},{worst},{took:.2f}"
        )
    return "\n".join(lines)


def _settings(arguments: argparse.Namespace) -> Settings:
    quick = arguments.quick
    folder = arguments.minimalloc or os.environ.get("MINIMALLOC")
    names = tuple(name.value for name in PlannerName)
    return Settings(
        tuple(arguments.nodes or ((60, 250) if quick else (100, 250, 500, 1000))),
        arguments.seeds or (1 if quick else 20),
        arguments.seconds or (2.0 if quick else 36.0),
        arguments.exact_seconds or (5.0 if quick else 600.0),
        arguments.exact_seeds or (1 if quick else 20),
        tuple(arguments.planners or names),
        Path(folder) if folder else None,
    )


def main() -> int:
    """Run, print, keep; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="quality, steps, exact, scale, layout; all by itself")
    parser.add_argument("--quick", action="store_true", help="few seeds and seconds")
    parser.add_argument("--nodes", type=int, nargs="+")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--exact-seconds", type=float)
    parser.add_argument("--exact-seeds", type=int)
    parser.add_argument("--planners", nargs="+")
    parser.add_argument("--minimalloc", type=Path, metavar="FOLDER")
    parser.add_argument("--results", type=Path, help="write the rows here as JSON")
    arguments = parser.parse_args()
    settings = _settings(arguments)
    wanted = arguments.sections or ["quality", "steps", "exact", "scale", "layout"]
    runs = {"quality": quality, "steps": steps, "exact": exact}
    rows: list[Row] = []
    slow: list[str] = []
    for section in wanted:
        if section == "scale":
            slow = reported(["lora", "full"])[1]
            continue
        if section == "layout":
            if settings.minimalloc is None:
                print("layout: left out; --minimalloc says where the instances are", file=sys.stderr)
                continue
            made = layout(settings.minimalloc)
        else:
            made = runs[section](settings)
        for row in made:
            rows.append(row)
            print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
    print(summary(rows))
    for line in exact_summary(rows):
        print(line)
    if arguments.results is not None:
        arguments.results.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    complaints = broken(rows, settings)
    for line in complaints:
        print(f"limit broken: {line}")
    return 1 if complaints or slow else 0


if __name__ == "__main__":
    sys.exit(main())
