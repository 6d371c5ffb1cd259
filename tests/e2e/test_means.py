"""Means switched off: the plan does without, and what they decide changes no more than it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from parity.ablation import ROWS, Ablated, Ablation, Switches, open_micro_batch
from parity.specs import FULL, LORA, gpt2

from daypack import api
from daypack.compiler.means import Means
from daypack.compiler.pipeline import compile_step, plan_step
from daypack.compiler.planning import Planned
from daypack.devices import load_profile
from daypack.models.task import build_task
from daypack.planners.plan import Op
from daypack.spec import TrainSpec

CONFIG = {"n_layer": 2, "n_embd": 192, "n_head": 3, "vocab_size": 5003, "n_positions": 32}
MEMORY = 29_000_000
"""Full fine-tuning takes 33.3 MB without a budget, and no plan without paging takes less than 29.7."""


@pytest.fixture(scope="module")
def spec(ids: Callable[[int], Path]) -> TrainSpec:
    return gpt2(ids(5003), CONFIG, FULL, batch=2, sequence=32)


def planned(spec: TrainSpec, means: Means, memory_bytes: int = MEMORY) -> Planned:
    (step,) = api.train_steps(build_task(spec), spec)
    options = replace(api.compile_options(spec, memory_bytes), means=means, plan_seconds=1.0)
    return plan_step(step, load_profile(spec.device.profile), options)


def loads(found: Planned, op: Op) -> list[int]:
    return [value for o, value in found.plan.sequence if o is op]


def test_a_means_switched_off_is_not_used(spec: TrainSpec) -> None:
    once = loads(planned(spec, Means(recompute=False)), Op.COMPUTE)
    assert len(once) == len(set(once))
    first = list(dict.fromkeys(loads(planned(spec, Means(reorder=False)), Op.COMPUTE)))
    assert first == sorted(first)
    unpaged = planned(spec, Means(paging=False), 2 * MEMORY)
    assert not unpaged.applied.moved_bytes(fetch=True)
    for cut in (True, False):
        window = planned(spec, Means(cut_rows=cut), 2 * MEMORY).window
        assert any("[" in item.name for item in window.items) == cut


def test_whole_matrices_train_as_cut_ones_do(ids: Callable[[int], Path], tmp_path: Path) -> None:
    spec = gpt2(ids(5003), {**CONFIG, "n_layer": 1}, LORA, batch=1, sequence=32)
    cut, whole = tmp_path / "cut.bundle", tmp_path / "whole.bundle"
    api.compile_spec(spec, out=cut)
    task = build_task(spec)
    compile_step(
        api.train_steps(task, spec),
        load_profile("host"),
        read=task.source.read,
        mutable={},
        out=whole,
        options=replace(api.compile_options(spec), means=Means(cut_rows=False)),
        description={},
    )
    data = cut / "data.bin"
    losses = [
        [event.loss for event in api.run_bundle(bundle, data=data, steps=2, fresh=True)]
        for bundle in (cut, whole)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=5e-6)


def test_the_table_of_means(spec: TrainSpec) -> None:
    """Without paging the smallest budget that is kept is larger; every row keeps the budget it names."""
    ablation = Ablation(open_micro_batch(spec), load_profile("pixel8"))
    wanted: tuple[Switches, ...] = (ROWS[0], ROWS[2], ROWS[-1])
    rows: list[Ablated] = [ablation.row(switches, MEMORY) for switches in wanted]
    whole, unpaged, nothing = rows
    print(*rows, sep="\n")
    assert whole.budget_bytes == MEMORY < min(unpaged.budget_bytes, nothing.budget_bytes)
    assert all(row.peak_bytes <= row.budget_bytes for row in rows)
    assert all(row.joules is not None and row.joules > 0 for row in rows)
    assert (unpaged.read_bytes, nothing.read_bytes) == (0, 0) != whole.read_bytes
    assert nothing.micro_batches == 1
