"""The arena of a traced step is hardly larger than its load: real widths, two layers, with and without a
budget. Nothing is compiled: planning ends with the layout. `benchmarks/planners/layouts.py` does it at full
depth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.specs import FULL, LORA, gpt2

from daypack import api
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.pipeline import kernel_target, optimize_step
from daypack.compiler.planning import Options, Planned, plan_window
from daypack.compiler.step import trace_micro, trace_update
from daypack.compiler.window import assemble
from daypack.devices import load_profile
from daypack.errors import BudgetInfeasible
from daypack.models.task import build_task

REAL = {"n_layer": 2, "vocab_size": 20011}
OVER = 1.01
SHARES = (0.05, 0.3, 0.7)
"""Budgets between the least and what keeping everything takes."""

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {}),
    "lora, dropout": (LORA, {"dropout": 0.1, "lora_dropout": 0.05}),
    "lora, window of 4": (LORA, {"gradient_accumulation_steps": 4}),
    "full": (FULL, {}),
}


def _planner(spec: Any) -> Callable[[int | None], Planned]:
    """Memory → the step planned; no clock decides about a plan."""
    (step,) = api.train_steps(build_task(spec), spec)
    profile = load_profile(spec.device.profile)
    table = KernelTable(kernel_target(profile))
    window = assemble(step, *optimize_step(trace_micro(step), trace_update(step)), table)

    def plan(memory_bytes: int | None) -> Planned:
        options = Options(memory_bytes=memory_bytes, plan_seconds=0.0)
        return plan_window(step, window, table, profile, options)

    return plan


@pytest.mark.parametrize("name", CASES)
def test_an_arena_is_hardly_larger_than_its_load(
    name: str, ids: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    method, train = CASES[name]
    plan = _planner(gpt2(ids(20011), REAL, method, **train))
    free = plan(None)
    with pytest.raises(BudgetInfeasible) as refused:
        plan(1_000_000)
    least = int(str(refused.value.details()["smallest_feasible_bytes"]))
    overhead = free.priced.plan.peak_bytes - free.applied.max_load_bytes
    most = free.applied.arena_bytes + overhead
    planned = {None: free} | {m: plan(m) for m in (int(1.05 * least + s * (most - least)) for s in SHARES)}
    with capsys.disabled():
        print()
        for memory, made in planned.items():
            arena, load = made.applied.arena_bytes, made.applied.max_load_bytes
            budget = "no budget" if memory is None else f"{memory / 1e6:.1f} MB"
            print(f"{name}, {budget}: arena {arena / 1e6:.2f} MB, {arena / load:.4f} of its load")
    for memory, made in planned.items():
        assert made.applied.arena_bytes <= OVER * made.applied.max_load_bytes
        assert memory is None or made.priced.plan.peak_bytes <= memory
