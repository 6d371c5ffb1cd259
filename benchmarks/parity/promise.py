"""Sections of the proof on memory: the promise under ten budgets, and the depth it reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from parity.budgets import Ran, between, rows, run_under, smallest_feasible
from parity.contenders import Engine, in_turns
from parity.figures import Figure
from parity.specs import gpt2
from parity.workspace import Workspace

Section = Callable[[Workspace, dict[str, Any]], list[Figure]]
STEPS = 3
PREDICTED_WITHIN = 0.03
DEEP = {"batch": 8, "sequence": 128}
ROUNDS, TURN_STEPS = 3, 3


def budgets_section(name: str, method: dict[str, Any], **train: Any) -> Section:
    """Budgets from the smallest feasible to keeping everything: kept, predicted, without a trace."""

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = gpt2(work.ids, work.config, method, **train)
        free = run_under(work, spec, None, STEPS)[1]
        least, refused = smallest_feasible(work, spec)
        runs: list[Ran] = []
        for budget in between(least, free.peak_rss_bytes, work.budgets):
            runs.append(run_under(work, spec, budget, STEPS)[1])
            print(f"{name}: {runs[-1]}", flush=True)
        details[name] = {"free": asdict(free), "refused": asdict(refused), "runs": rows(runs)}
        over = max(r.peak_rss_bytes / (r.budget_bytes or 1) for r in runs)
        off = max(abs(r.predicted_bytes - r.peak_rss_bytes) / r.peak_rss_bytes for r in (*runs, free))
        results = {r.digest for r in (*runs, free)}
        return [
            Figure(name, "smallest feasible budget", least, "bytes"),
            Figure(name, "proven lower bound of any plan", refused.bound_bytes, "bytes", source="modelled"),
            Figure(name, "without a budget, VmHWM", free.peak_rss_bytes, "bytes"),
            Figure(name, f"VmHWM / budget, worst of {len(runs)} budgets", over, "ratio", 1.0),
            Figure(name, "predicted peak off VmHWM, worst, relative", off, "", PREDICTED_WITHIN),
            Figure(name, "distinct results (losses and state, every bit)", len(results), "count", 1),
        ]

    return run


def depth_section(
    name: str, method: dict[str, Any], memory_bytes: int, ratio: float, written_bytes: int | None
) -> Section:
    """8 x 128 within a small memory, in turns with the same step without a budget; then with a cold cache."""

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = gpt2(work.ids, work.config, method, **DEEP)
        free_bundle, free = run_under(work, spec, None, STEPS)
        bundle, deep = run_under(work, spec, memory_bytes, STEPS)
        least, refused = smallest_feasible(work, spec)
        contenders = [
            Engine(free_bundle.bundle),
            Engine(bundle.bundle, name="within the budget"),
            Engine(bundle.bundle, name="cold", direct=True),
        ]
        unbound, bound, cold = in_turns(contenders, ROUNDS, TURN_STEPS)
        details[name] = {
            "free": asdict(free),
            "deep": asdict(deep),
            "refused": asdict(refused),
            "seconds": [asdict(times) for times in (unbound, bound, cold)],
        }
        figures = [
            Figure(name, "VmHWM", deep.peak_rss_bytes, "bytes", memory_bytes),
            Figure(name, "predicted peak", deep.predicted_bytes, "bytes", source="modelled"),
            Figure(name, "VmHWM without a budget", free.peak_rss_bytes, "bytes"),
            Figure(name, "step, median, without a budget", unbound.median, "s"),
            Figure(name, "step, median, warm page cache", bound.median, "s"),
            Figure(name, "ratio, warm page cache", bound.median / unbound.median, "ratio", ratio),
            Figure(name, "step, median, past the page cache (O_DIRECT)", cold.median, "s"),
            Figure(name, "ratio, past the page cache", cold.median / unbound.median, "ratio"),
            Figure(name, "read from flash a step", deep.read_bytes, "bytes"),
            Figure(name, "written to flash a step", deep.written_bytes, "bytes", written_bytes),
            Figure(name, "smallest feasible budget", least, "bytes"),
            Figure(name, "proven lower bound of any plan", refused.bound_bytes, "bytes", source="modelled"),
            Figure(name, "distinct results", len({free.digest, deep.digest}), "count", 1),
        ]
        forced = ", ".join(f"{v['name']} ({v['size_bytes'] / 1e6:.1f} MB)" for v in refused.forced_by[:6])
        print(f"{name}: the bound is forced by {forced}", flush=True)
        return figures

    return run
