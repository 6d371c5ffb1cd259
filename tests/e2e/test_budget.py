"""The memory budget is a promise: kept by the engine process, predicted, and without a trace in the results.

Real widths, two layers, few budgets; `make proof` runs ten budgets of the published size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.specs import FULL, LORA, gpt2

from daypack import api
from daypack.errors import BudgetInfeasible
from daypack.spec import TrainSpec

REAL = {"n_layer": 2, "vocab_size": 20011}
STEPS = 2
PREDICTED_WITHIN = 0.03

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {}),
    "lora, dropout": (LORA, {"dropout": 0.1, "lora_dropout": 0.05, "sequence": 64}),
    "full": (FULL, {}),
}


def _run(spec: TrainSpec, folder: Path, memory_bytes: int | None) -> tuple[api.CompileResult, int, str]:
    """(what was compiled, peak resident bytes of the engine, hash of losses and final state)."""
    result = api.compile_spec(spec, out=folder / "b.bundle", memory_bytes=memory_bytes)
    state = folder / "state"
    events = list(api.run_bundle(result.bundle, steps=STEPS, state=state, fresh=True, threads=2))
    digest = hashlib.sha256((state / "state.safetensors").read_bytes())
    digest.update(repr([event.loss for event in events]).encode())
    return result, max(event.peak_rss_bytes for event in events), digest.hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_budgets_are_kept_and_change_no_bit(
    name: str, ids: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, train = CASES[name]
    spec = gpt2(ids(20011), REAL, method, **train)
    free, free_peak, free_digest = _run(spec, tmp_path, None)
    with pytest.raises(BudgetInfeasible) as refused:
        api.compile_spec(spec, out=tmp_path / "small.bundle", memory_bytes=1_000_000)
    least = int(str(refused.value.details()["smallest_feasible_bytes"]))
    assert not (tmp_path / "small.bundle").exists()
    for share in (0.05, 0.5):
        budget = int(least * 1.05 + share * (free_peak - least))
        result, peak, digest = _run(spec, tmp_path, budget)
        predicted = result.predicted.peak_bytes
        with capsys.disabled():
            print(
                f"\n{name}: budget {budget / 1e6:.1f} MB, measured {peak / 1e6:.1f}, "
                f"predicted {predicted / 1e6:.1f}, without a budget {free_peak / 1e6:.1f}"
            )
        assert peak <= budget
        assert abs(predicted - peak) <= PREDICTED_WITHIN * peak
        assert digest == free_digest
    assert abs(free.predicted.peak_bytes - free_peak) <= PREDICTED_WITHIN * free_peak
