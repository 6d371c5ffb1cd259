"""How near the time model comes: predicted seconds of every shard against the engine's, on this machine.

This machine is calibrated first (`daypack calibrate host`), then GPT-2 124M is compiled with that profile,
LoRA and full, without a budget and within a tight one, and run in `--turns` of `--steps` steps each. Measured
is the median of each shard over the steps of the quickest turn, which others disturbed least. Transfers go
past the system's cache where there are any, as the profile's flash figures do.

With `--folder` profile, bundles and what was measured of each case are kept there, and reused: `--prepare`
only makes profile and bundles, so that what is timed can be run by itself on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import Figure, keep, table
from parity.specs import FULL, LORA, gpt2
from parity.workspace import Workspace

from daypack import api
from daypack.calibration import calibrate
from daypack.compiler.cost import KernelCost, kernel_seconds
from daypack.compiler.schedule_file import NAME, parse_schedule
from daypack.devices import Profile, load_profile
from daypack.planners.cost import clock

REPOSITORY = Path(__file__).resolve().parent.parent
CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "lora": (LORA, None),
    "lora-160MB": (LORA, "160MB"),
    "full": (FULL, None),
    "full-256MB": (FULL, "256MB"),
}
WARM_STEPS = 1
LIMIT = 0.15
"""Median over the shards of the error, |predicted / measured - 1|."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: seconds predicted and measured."""

    case: str
    number: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return abs(self.predicted / self.measured - 1)


def predicted_shards(bundle: Path) -> list[float]:
    """Modelled seconds of each shard of the first plan, transfers beside kernels."""
    schedule = parse_schedule((bundle / NAME).read_text(), NAME)
    done = [computed for computed, _ in clock(schedule.problem, schedule.plan.sequence)]
    ends = [0.0, *(done[end - 1] for end in schedule.shard_ends)]
    return [end - begin for begin, end in zip(ends, ends[1:], strict=False)]


def bundle_of(work: Workspace, name: str, profile_path: Path) -> Path:
    """The bundle of a case, compiled where there is none yet."""
    bundle = work.folder / f"{name}.bundle"
    if not bundle.exists():
        method, memory = CASES[name]
        work.compile(gpt2(work.ids, work.config, method, memory=memory), str(profile_path), bundle.name)
    return bundle


def run_case(work: Workspace, name: str, profile_path: Path, turns: int, steps: int) -> dict[str, Any]:
    """Run one case, or find what was measured of it before: its shards and its kernels."""
    kept = work.folder / f"{name}.json"
    if not kept.exists():
        found = _run(bundle_of(work, name, profile_path), name, turns, steps, load_profile(str(profile_path)))
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def _run(bundle: Path, name: str, turns: int, steps: int, profile: Profile) -> dict[str, Any]:
    quickest: list[Any] = []
    for _ in range(turns):
        events = api.run_bundle(
            bundle,
            steps=WARM_STEPS + steps,
            fresh=True,
            profile=True,
            direct=CASES[name][1] is not None,
        )
        profiles = [event.profile for event in list(events)[WARM_STEPS:] if event.profile]
        if not quickest or _seconds(profiles) < _seconds(quickest):
            quickest = profiles
    measured = [statistics.median(times) for times in zip(*(p["shards"] for p in quickest), strict=True)]
    pairs = zip(predicted_shards(bundle), measured, strict=True)
    shards = [Shard(name, number, *pair) for number, pair in enumerate(pairs)]
    return {
        "shards": [asdict(shard) for shard in shards],
        "kernels": kernel_table(bundle, quickest, profile),
        "transfer_seconds": statistics.median(p["transfer_seconds"] for p in quickest),
        "store_seconds": statistics.median(p["store_seconds"] for p in quickest),
    }


def _seconds(profiles: Sequence[Any]) -> float:
    """Median of a step of a turn."""
    return statistics.median(sum(p["shards"]) for p in profiles)


def kernel_table(bundle: Path, profiles: Sequence[Any], profile: Profile) -> list[dict[str, Any]]:
    """Each kernel's seconds of a step, predicted and measured."""
    known = json.loads((bundle / "bundle.json").read_text())["kernels"]
    rows: list[dict[str, Any]] = []
    for number, about in enumerate(known):
        times = [found["kernels"][number] for found in profiles]
        calls = int(times[0]["calls"])
        kind = str(about["name"]).rsplit("_", 1)[0]
        cost = KernelCost(float(about["flops"]), int(about["bytes"]))
        rows.append(
            {
                "kernel": about["name"],
                "kind": kind,
                "made_at": about["source"],
                "calls": calls,
                "flops": cost.flops,
                "bytes": cost.bytes_moved,
                "predicted": calls * kernel_seconds(kind, cost, profile),
                "measured": statistics.median(float(time["seconds"]) for time in times),
            }
        )
    return [row for row in rows if row["calls"]]


def figures_of(shards: Sequence[Shard], section: str, limit: float | None = None) -> list[Figure]:
    errors = sorted(shard.error for shard in shards)
    total = sum(s.predicted for s in shards) / sum(s.measured for s in shards)
    return [
        Figure(section, "shards", len(errors), "count"),
        Figure(section, "median of the error", statistics.median(errors), "ratio", limit),
        Figure(section, "90th percentile of the error", errors[int(0.9 * (len(errors) - 1) + 0.5)], "ratio"),
        Figure(section, "whole step, predicted / measured", total, "ratio"),
    ]


def by_kind(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds of a step by kind of kernel."""
    kinds: dict[str, dict[str, float]] = defaultdict(lambda: {"predicted": 0.0, "measured": 0.0})
    for row in rows:
        kinds[row["kind"]]["predicted"] += row["predicted"]
        kinds[row["kind"]]["measured"] += row["measured"]
    return dict(kinds)


def lines_of(name: str, shards: Sequence[Shard], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Kinds of kernels, the kernels whose prediction costs most, and the shards that are furthest off."""
    lines = [f"## {name}: seconds of a step by kind of kernel", "", "| kind | predicted | measured | ratio |"]
    lines.append("| --- | --- | --- | --- |")
    for kind, sums in sorted(by_kind(rows).items(), key=lambda item: -item[1]["measured"]):
        ratio = sums["predicted"] / sums["measured"]
        lines.append(f"| {kind} | {sums['predicted']:.4f} | {sums['measured']:.4f} | {ratio:.2f} |")
    lines += ["", f"## {name}: kernels that are furthest off", ""]
    lines += [
        "| kernel | made at | calls | predicted, ms | measured, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: -abs(row["predicted"] - row["measured"]))[:10]:
        ms = f"{1e3 * row['predicted']:.2f} | {1e3 * row['measured']:.2f}"
        lines.append(f"| `{row['kernel']}` | {row['made_at']} | {row['calls']} | {ms} |")
    lines += ["", f"## {name}: shards that are furthest off", "", "| shard | predicted, ms | measured, ms |"]
    lines.append("| --- | --- | --- |")
    for shard in sorted(shards, key=lambda shard: -shard.error)[:10]:
        lines.append(f"| {shard.number} | {1e3 * shard.predicted:.2f} | {1e3 * shard.measured:.2f} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--steps", type=int, default=5, help="measured steps")
    parser.add_argument("--turns", type=int, default=3, help="of which the quickest counts")
    parser.add_argument("--folder", type=Path, help="where profile and bundles are kept, and found")
    parser.add_argument("--prepare", action="store_true", help="make profile and bundles, and run nothing")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daypack-time-", dir=REPOSITORY.parent) as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        profile = folder / "host.toml"
        if not profile.exists():
            calibrate("host", out=profile)
        work = Workspace(folder, given.layers, given.steps)
        if given.prepare:
            for case in given.cases or CASES:
                print(bundle_of(work, case, profile), flush=True)
            return
        good = _measured(work, profile, given)
    sys.exit(0 if good else 1)


def _measured(work: Workspace, profile: Path, given: argparse.Namespace) -> bool:
    """Run the cases, print and keep what was found; whether every figure is within its limit."""
    shards: list[Shard] = []
    details: dict[str, Any] = {
        "layers": given.layers,
        "turns": given.turns,
        "steps": given.steps,
        "profile": profile.read_text(),
    }
    figures: list[Figure] = []
    lines: list[str] = []
    for name in given.cases or CASES:
        case = run_case(work, name, profile, given.turns, given.steps)
        found, rows = [Shard(**shard) for shard in case["shards"]], case["kernels"]
        shards += found
        figures += figures_of(found, name)
        lines += lines_of(name, found, rows)
        details[name] = case
        print("\n".join([*table(figures_of(found, name)), "", *lines_of(name, found, rows)]), flush=True)
    figures = [*figures_of(shards, "all", LIMIT), *figures]
    print("\n".join(table(figures)))
    if given.results or given.layers == 12:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/time_model.py", *sys.argv[1:]])
        page = keep(place, "time-model", command, figures, details, REPOSITORY)
        page.write_text(page.read_text() + "\n" + "\n".join(lines))
        print(f"kept in {page}")
    return all(figure.kept for figure in figures)


if __name__ == "__main__":
    main()
