"""What the compiler chooses and refuses besides memory: micro-batch, seconds, joules, written bytes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.specs import FULL, LORA, gpt2

from daypack import api
from daypack.compiler.accumulation import cheapest
from daypack.compiler.pipeline import plan_step
from daypack.compiler.planning import Planned
from daypack.devices import load_profile
from daypack.errors import BudgetInfeasible, ExitCode, SpecError
from daypack.models.task import build_task
from daypack.runtime.bundle import read_bundle
from daypack.spec import TrainSpec, check_spec, to_toml

SMALL = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512, "n_positions": 64}


def document_of(spec: TrainSpec) -> dict[str, Any]:
    return tomllib.loads(to_toml(spec))


def spec_of(ids: Path, budget: dict[str, Any], device: str = "pixel8", **train: Any) -> TrainSpec:
    method = train.pop("method", LORA)
    document = document_of(gpt2(ids, SMALL, method, device=device, sequence=64, **train))
    return check_spec({**document, "budget": budget})


def planned(spec: TrainSpec) -> Planned:
    """All of a compilation but the kernels' code."""
    profile, options = load_profile(spec.device.profile), api.compile_options(spec)
    steps = api.train_steps(build_task(spec), spec)
    return cheapest(steps, lambda step: plan_step(step, profile, options))


def compiled(spec: TrainSpec, out: Path) -> api.CompileResult:
    return api.compile_spec(spec, out=out / "a.bundle")


def test_figures_of_every_unit_are_predicted(ids: Callable[[int], Path], tmp_path: Path) -> None:
    predicted = compiled(spec_of(ids(512), {}), tmp_path).predicted
    assert predicted.source == "modelled"
    assert predicted.step_joules is not None
    assert predicted.step_joules > predicted.step_seconds > 0


def test_a_device_without_power_figures_has_no_joules(ids: Callable[[int], Path]) -> None:
    assert planned(spec_of(ids(512), {}, device="host")).priced.measure.joules is None
    with pytest.raises(SpecError, match="no power figures"):
        planned(spec_of(ids(512), {"objective": "energy"}, device="host"))


@pytest.mark.parametrize("unit", ["seconds", "joules"])
def test_a_limit_is_kept_or_refused_with_the_least_found(
    unit: str, ids: Callable[[int], Path], tmp_path: Path
) -> None:
    key = f"step_{unit}"
    free = float(getattr(planned(spec_of(ids(512), {})).priced.measure, unit))
    kept = planned(spec_of(ids(512), {key: free * 1.1})).priced.measure
    assert float(getattr(kept, unit)) <= free * 1.1
    with pytest.raises(BudgetInfeasible, match="raise the limit or the memory budget") as refused:
        compiled(spec_of(ids(512), {key: free / 10}), tmp_path)
    details = refused.value.details()
    assert refused.value.code is ExitCode.BUDGET_INFEASIBLE
    assert details["error"] == "limit-infeasible"
    assert details["smallest_feasible"] == pytest.approx(free)
    assert not list(tmp_path.glob("a.bundle"))


def test_the_state_is_saved_as_seldom_as_a_limit_on_written_bytes_asks(ids: Callable[[int], Path]) -> None:
    free = planned(spec_of(ids(512), {}, max_steps=100))
    state_bytes = free.written_bytes
    assert free.save_steps == 1
    for budget in ({"step_written": state_bytes // 10}, {"run_written": state_bytes * 10}):
        found = planned(spec_of(ids(512), budget, max_steps=100))
        assert found.written_bytes <= found.priced.measure.written_bytes <= state_bytes / 10
        assert found.save_steps in (20, 21)
    for budget in ({"step_written": state_bytes // 1000}, {"run_written": 100}):
        with pytest.raises(BudgetInfeasible, match="written bytes a step"):
            planned(spec_of(ids(512), budget, max_steps=100))
    with pytest.raises(BudgetInfeasible, match="written bytes a step"):
        planned(spec_of(ids(512), {"step_written": 1000}, max_steps=100, save_steps=1))


def test_paged_state_counts_once_under_a_limit_on_written_bytes(
    ids: Callable[[int], Path], tmp_path: Path
) -> None:
    """A plan that pages the state writes it in every step, and nothing saves it once more."""
    wide = {**SMALL, "n_embd": 256, "n_positions": 16}
    whole = document_of(gpt2(ids(512), wide, FULL, batch=1, sequence=16, max_steps=100))

    def under(**budget: int) -> TrainSpec:
        return check_spec({**whole, "budget": budget})

    memory = int(0.6 * planned(under()).peak_bytes)
    paged = planned(under(memory=memory))
    assert paged.applied.pages_state
    written = paged.written_bytes
    kept = planned(under(memory=memory, step_written=int(1.01 * written)))
    assert kept.written_bytes <= kept.priced.measure.written_bytes <= 1.01 * written
    result = compiled(under(memory=memory, step_written=int(1.01 * written)), tmp_path)
    assert result.predicted.flash_written_bytes <= 1.01 * written
    (event,) = api.run_bundle(result.bundle, steps=1, fresh=True)
    assert event.written_bytes == pytest.approx(result.predicted.flash_written_bytes, rel=0.01)


def test_the_micro_batch_is_the_largest_that_fits(ids: Callable[[int], Path], tmp_path: Path) -> None:
    train = {"batch": 8, "method": FULL}
    free = spec_of(ids(512), {}, **train)
    open_ended = document_of(free)
    del open_ended["train"]["gradient_accumulation_steps"]
    whole = compiled(check_spec(open_ended), tmp_path)
    assert read_bundle(whole.bundle).plan.window == 1
    windows: list[int] = []
    losses: list[list[float]] = []
    for share in (1.05, 0.6, 0.5, 0.4):
        memory = int(whole.predicted.peak_bytes * share)
        spec = check_spec({**open_ended, "budget": {"memory": memory}, "device": {"profile": "host"}})
        try:
            result = compiled(spec, tmp_path)
        except BudgetInfeasible:
            break
        assert result.predicted.peak_bytes <= memory
        windows.append(read_bundle(result.bundle).plan.window)
        losses.append([event.loss for event in api.run_bundle(result.bundle, steps=3, fresh=True)])
    assert windows[0] == 1
    assert max(windows) > 1
    for other in losses[1:]:  # the effective batch is the same, whatever it is cut into
        assert other == pytest.approx(losses[0], rel=5e-6)
