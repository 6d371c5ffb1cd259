"""`lookahead` against the oracle and against MobileFineTuner's rule, over made-up days and devices. All
modelled.

Usage: `python benchmarks/energy.py [--out FOLDER] [--seeds N] [--first-seed N] [--rows FILE]`. Writes
`DATE-energy.md`, and `DATE-energy.json` with the same figures and a summary of the jobs by device, workload
and scene; `--rows` keeps every job. Exits 1 if a figure that must hold does not. Also tells how much faster
than real time the simulator is.

A job fits where the oracle says that a tenth more work than the job's would be feasible by the same
deadline. Habits come from five other days of the same owner. Deadlines are, in the first part, multiples of
the least time in which the oracle can do it; in the second, the moment at which MobileFineTuner's rule
finished.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import commit

from daypack.devices import load_profile
from daypack.runtime.days import OWNERS, plausible_days
from daypack.runtime.habits import free_shares
from daypack.runtime.limits import Limits
from daypack.runtime.policies import POLICIES, Setting, setting_of, tabulate
from daypack.runtime.policies.oracle import OracleInfeasible, oracle
from daypack.runtime.recording import Recording
from daypack.runtime.simulator import Job, Outcome, simulate
from daypack.runtime.workload import KNOWN

HOUR_S = 3600.0
DEVICES = ("midrange-a78", "pixel8", "snapdragon-8gen2", "snapdragon-8gen3")
STARTS_S = (9 * HOUR_S, 18 * HOUR_S, 22 * HOUR_S)
SPARE = 1.1
SLACK = 1.25
"""What counts as slack: the deadline over the time of the fastest gear alone."""
SLACKS = (1.25, 1.7, 3.0)
CHARGED_S = 30 * HOUR_S
SCENES = {
    "free": Limits(),
    "screen off": Limits(only_screen_off=True),
    "charger": Limits(only_charging=True),
    "cool": Limits(skin_celsius=38.0),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One job; joules of lookahead over those of what it is compared with."""

    part: str
    device: str
    owner: str
    workload: str
    scene: str
    start_h: float
    deadline_s: float
    joules: float
    other_j: float
    bound_j: float
    met: bool
    late_s: float
    over_limit_s: float
    under_reserve_s: float
    acted: bool
    slack: float

    @property
    def regret(self) -> float:
        return self.joules / self.bound_j - 1

    @property
    def saving(self) -> float:
        return 1 - self.joules / self.other_j

    @property
    def possible(self) -> float:
        return 1 - self.bound_j / self.other_j


def settings(scenes: dict[str, Limits]) -> Iterator[tuple[str, str, str, Setting]]:
    for device, workload, (scene, limits) in product(DEVICES, KNOWN, scenes.items()):
        yield device, workload, scene, setting_of(load_profile(device), KNOWN[workload], limits)


def looked_ahead(setting: Setting, owner: str, day: Recording, job: Job) -> Outcome:
    past = [plausible_days(owner, 1000 + seed) for seed in range(5)]
    free = free_shares(past, setting.limits, setting.workload.peak_bytes / 1e6)
    return simulate(setting, day, job, tabulate(POLICIES["lookahead"], setting, free))


def against_oracle(seeds: range) -> Iterator[Row]:
    """The same deadline: a multiple of what the fastest gear takes, or long after the charger is in."""
    number = 0
    for scene, device, owner, seed in product(SCENES, DEVICES, OWNERS, seeds):
        number += 1
        workload = list(KNOWN)[number % len(KNOWN)]
        setting = setting_of(load_profile(device), KNOWN[workload], SCENES[scene])
        start_s, slack = STARTS_S[number % 3], SLACKS[number // 3 % 3]
        day = plausible_days(owner, seed)
        alone_s = (0.4, 1.0)[number % 2] * HOUR_S
        steps = round(alone_s / setting.costs[setting.fastest].seconds)
        least_s = CHARGED_S - start_s if scene == "charger" else alone_s
        job = Job(steps, start_s, start_s + least_s * (1.0 if scene == "charger" else slack))
        try:
            oracle(setting, day, Job(round(steps * SPARE), start_s, job.deadline_s))
            bound = oracle(setting, day, job)
        except OracleInfeasible:
            continue
        found = looked_ahead(setting, owner, day, job)
        joules = bound.joules
        yield row(
            "oracle", device, owner, workload, scene, job, found, joules, joules, acted=True, alone_s=alone_s
        )


def against_rule(seeds: range) -> Iterator[Row]:
    """MobileFineTuner's rule without limits first; then lookahead within them by the time it took."""
    scenes = {"free": Limits()}
    for (device, workload, scene, setting), owner, seed in product(settings(scenes), OWNERS, seeds):
        day = plausible_days(owner, seed)
        for number, start_s in enumerate(STARTS_S):
            steps = round((0.4, 0.8, 1.5)[number] * HOUR_S / setting.costs[setting.fastest].seconds)
            rule = simulate(
                setting, day, Job(steps, start_s, day.end_s), tabulate(POLICIES["mobilefinetuner"], setting)
            )
            if rule.finish_s is None:
                continue
            job = Job(steps, start_s, start_s + rule.finish_s)
            try:
                oracle(setting, day, Job(round(steps * SPARE), start_s, job.deadline_s))
                bound = oracle(setting, day, job)
            except OracleInfeasible:
                continue
            found = looked_ahead(setting, owner, day, job)
            acted = rule.slowed_s > 0 or rule.throttled_s > 0
            alone_s = steps * setting.costs[setting.fastest].seconds
            yield row(
                "rule", device, owner, workload, scene, job, found, rule.joules, bound.joules, acted=acted,
                alone_s=alone_s,
            )  # fmt: skip


def row(
    part: str, device: str, owner: str, workload: str, scene: str, job: Job, found: Outcome, other_j: float,
    bound_j: float, *, acted: bool, alone_s: float,
) -> Row:  # fmt: skip
    deadline_s = job.deadline_s - job.start_s
    return Row(
        part=part,
        device=device,
        owner=owner,
        workload=workload,
        scene=scene,
        start_h=job.start_s / HOUR_S,
        deadline_s=deadline_s,
        joules=found.joules,
        other_j=other_j,
        bound_j=bound_j,
        met=found.met_deadline,
        late_s=max((found.finish_s or math.inf) - deadline_s, 0.0),
        over_limit_s=found.over_limit_s,
        under_reserve_s=found.under_reserve_s,
        acted=acted,
        slack=deadline_s / alone_s,
    )


def speed() -> float:
    """Seconds of a recording for a second of one core, `lookahead` over two days of a commuter."""
    setting = setting_of(load_profile("snapdragon-8gen2"), KNOWN["gpt2-lora"], Limits())
    day, table = plausible_days("commuter", 0), tabulate(POLICIES["lookahead"], setting)
    job = Job(40_000, 0.0, 40 * HOUR_S)
    simulate(setting, day, job, table)
    begin = time.perf_counter()
    rounds = 50
    for _ in range(rounds):
        simulate(setting, day, job, table)
    return rounds * day.end_s / (time.perf_counter() - begin)


Check = tuple[str, float, str, float]
"""A figure's name, its value, `<=` or `>=`, and the bound."""


def holds(check: Check) -> bool:
    _, value, sign, bound = check
    return value <= bound if sign == "<=" else value >= bound


def with_slack(rules: list[Row]) -> list[Row]:
    return [r for r in rules if r.acted or r.slack >= SLACK]


def checks_of(rows: list[Row], times_real: float) -> list[Check]:
    """The figures that must hold."""
    bounds = [r for r in rows if r.part == "oracle"]
    regrets = sorted(r.regret for r in bounds if r.met)
    rules = [r for r in rows if r.part == "rule"]
    slack = with_slack(rules)
    acting = [r.saving for r in rules if r.acted]
    over, under = sum(r.over_limit_s for r in rows), sum(r.under_reserve_s for r in rows)
    return [
        ("regret against the oracle, median", statistics.median(regrets), "<=", 0.05),
        ("regret against the oracle, worst", regrets[-1], "<=", 0.15),
        (
            "fewer joules than mobilefinetuner where it slows down or throttles, median",
            statistics.median(acting),
            ">=",
            0.25,
        ),
        (
            "the same where there is slack as well, over what the oracle saves",
            statistics.median(r.saving for r in slack) / statistics.median(r.possible for r in slack),
            ">=",
            0.95,
        ),
        ("seconds over the skin limit, all jobs", over, "<=", 0.0),
        ("seconds under the reserve, all jobs", under, "<=", 0.0),
        ("real time, one core", times_real, ">=", 100_000.0),
    ]


def report(rows: list[Row], checks: list[Check], how: str) -> str:
    """What was found, for people."""
    bounds, rules = ([r for r in rows if r.part == part] for part in ("oracle", "rule"))
    missed = [r for r in rows if not r.met]
    kinds = {
        "the rule slows down or the phone throttles": [r for r in rules if r.acted],
        f"these, or slack of at least {100 * (SLACK - 1):.0f} %": with_slack(rules),
        "all": rules,
    }
    lines = ["# Energy: policies over made-up days", "", f"All figures are modelled. {how}", ""]
    lines += ["| what | found | must be | holds |", "|---|---|---|---|"]
    for check in checks:
        name, value, sign, limit = check
        lines.append(f"| {name} | {value:.4g} | {sign} {limit:g} | {'yes' if holds(check) else '**no**'} |")
    lines += [
        "",
        "| against mobilefinetuner at its own finish | jobs | lookahead saves | oracle saves |",
        "|---|---|---|---|",
    ]
    for name, chosen in kinds.items():
        saving, possible = (
            statistics.median(v) for v in ([r.saving for r in chosen], [r.possible for r in chosen])
        )
        lines.append(f"| {name} | {len(chosen)} | {saving:.3f} | {possible:.3f} |")
    lines += [
        "",
        f"{len(bounds)} jobs with a deadline, {len(rules)} at the rule's finish; "
        f"{len(missed)} missed their deadline (in the regret only those that met it).",
        "",
        "| device | jobs | saving, median | what the oracle saves, median |",
        "|---|---|---|---|",
    ]
    for device in DEVICES:
        mine = [r for r in rules if r.device == device]
        if mine:
            saving, possible = (
                statistics.median(v) for v in ([r.saving for r in mine], [r.possible for r in mine])
            )
            lines.append(f"| {device} | {len(mine)} | {saving:.3f} | {possible:.3f} |")
    lines += [
        "",
        "| missed: device | owner | workload | scene | start | deadline, s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.device} | {r.owner} | {r.workload} | {r.scene} | {r.start_h:g} | {r.deadline_s:.0f} "
        f"| {r.late_s:.0f} |"
        for r in missed[:30]
    ]
    return "\n".join(lines) + "\n"


def summary(rows: list[Row]) -> list[dict[str, object]]:
    """Jobs by part, device, workload and scene: how many, and how they did."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for r in rows:
        groups.setdefault((r.part, r.device, r.workload, r.scene), []).append(r)
    return [_summed(key, group) for key, group in sorted(groups.items())]


def _summed(key: tuple[str, str, str, str], group: list[Row]) -> dict[str, object]:
    met = [r.regret for r in group if r.met]
    return {
        **dict(zip(("part", "device", "workload", "scene"), key, strict=True)),
        "jobs": len(group),
        "met": len(met),
        "regret_median": _rounded(statistics.median(met)) if met else None,
        "regret_worst": _rounded(max(met)) if met else None,
        "saving_median": _rounded(statistics.median(r.saving for r in group)),
        "possible_median": _rounded(statistics.median(r.possible for r in group)),
        "over_limit_s": _rounded(sum(r.over_limit_s for r in group)),
        "under_reserve_s": _rounded(sum(r.under_reserve_s for r in group)),
        "latest_s": _rounded(max(r.late_s for r in group)),
    }


def _rounded(value: float) -> float | None:
    """Six digits; None for what never ended."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def main() -> int:
    """Run both parts and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--first-seed", type=int, default=100, help="0 is the day that policies were tuned on"
    )
    parser.add_argument("--rows", type=Path, help="a file for every job, one JSON object a line")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = [*against_rule(seeds), *against_oracle(seeds)]
    checks = checks_of(rows, speed())
    command = shlex.join(["python", "benchmarks/energy.py", *sys.argv[1:]])
    found_at = commit(Path(__file__).resolve().parent.parent)
    how = f"Commit {found_at}, `{command}`: seeds {seeds[0]} to {seeds[-1]}."
    text = report(rows, checks, how)
    date = time.strftime("%Y-%m-%d")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{date}-energy.md").write_text(text)
    record = {
        "date": date,
        "commit": found_at,
        "command": command,
        "source": "modelled",
        "checks": [
            {"figure": c[0], "value": c[1], "must_be": f"{c[2]} {c[3]:g}", "holds": holds(c)} for c in checks
        ],
        "jobs": summary(rows),
    }
    groups = ",\n".join(map(json.dumps, record.pop("jobs")))
    head = json.dumps(record, indent=1).removesuffix("\n}")
    (arguments.out / f"{date}-energy.json").write_text(f'{head},\n "jobs": [\n{groups}\n]}}\n')
    if arguments.rows:
        arguments.rows.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows))
    print(text)
    return 0 if all(map(holds, checks)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
