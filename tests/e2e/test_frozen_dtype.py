"""Frozen matrices stored in every element type: the engine against JAX on the same stored numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import pytest
from parity.compare import compare, relative_losses
from parity.engine import run_engine, state_file
from parity.reference import Reference, batches_of
from parity.specs import LORA, gpt2
from safetensors.numpy import save_file

from daypack import api
from daypack.errors import BudgetInfeasible
from daypack.models.task import build_task
from daypack.spec import TrainSpec, check_spec

LOSS, CHANGE, ZERO = 5e-6, 1e-3, 1e-5
VOCABULARY = 4099
SMALL: dict[str, Any] = {"n_layer": 1, "n_embd": 64, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 32}
FORMS: dict[str, dict[str, Any]] = {
    "bfloat16": {},
    "float16": {},
    "int8": {"frozen_group": 64},
    "int4": {},
}
STEPS = 3


def spec_of(dtype: str, ids: Callable[[int], Path], config: dict[str, Any] = SMALL) -> TrainSpec:
    form = {"frozen_dtype": dtype, **FORMS[dtype]}
    return gpt2(ids(config["vocab_size"]), config, LORA, batch=2, sequence=32, **form)


def check_parity(spec: TrainSpec, bundle: Path) -> None:
    reference = Reference(spec)
    theirs = reference.run(batches_of(bundle, spec, STEPS))
    figures = compare(reference.initial(), run_engine(bundle, STEPS), theirs)
    print(figures.line())
    assert figures.worst_loss <= LOSS, figures.losses
    assert figures.worst_array.relative <= CHANGE, figures.worst_array
    assert figures.worst_zero <= ZERO, figures.zero
    assert figures.unchanged == ()


@pytest.mark.parametrize("dtype", FORMS)
def test_the_engine_trains_as_jax_does(
    dtype: str, compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    spec = spec_of(dtype, ids)
    bundle = compiled(spec)
    check_parity(spec, bundle)
    results = {
        (trained.losses, state_file(bundle, tmp_path / str(threads)).read_bytes())
        for threads in (1, 2)
        for trained in [run_engine(bundle, STEPS, threads=threads, state=tmp_path / str(threads))]
    }
    assert len(results) == 1, "1 and 2 threads"


@pytest.mark.parametrize("dtype", ["bfloat16", "int4"])
def test_a_budget_changes_no_bit(dtype: str, ids: Callable[[int], Path], tmp_path: Path) -> None:
    """The table is larger than half of what is used without a budget: its blocks are paged as they are."""
    spec = spec_of(dtype, ids, {**SMALL, "n_embd": 128, "vocab_size": 9001})
    free = api.compile_spec(spec, out=tmp_path / "free.bundle")
    with pytest.raises(BudgetInfeasible) as refused:
        api.compile_spec(spec, out=tmp_path / "none.bundle", memory_bytes=1_000_000)
    least = int(str(refused.value.details()["smallest_feasible_bytes"]))
    tight = api.compile_spec(spec, out=tmp_path / "tight.bundle", memory_bytes=int(1.05 * least))
    print(f"{dtype}: {free.predicted.peak_bytes} bytes, under a budget {tight.predicted.peak_bytes}")
    assert tight.predicted.peak_bytes < free.predicted.peak_bytes
    before, after = (run_engine(result.bundle, STEPS) for result in (free, tight))
    assert before.losses == after.losses
    assert state_file(free.bundle).read_bytes() == state_file(tight.bundle).read_bytes()


def test_a_phone_computes_the_same_from_int4(
    compiled: Callable[..., Path], ids: Callable[[int], Path], emulator: str
) -> None:
    spec = spec_of("int4", ids)
    here = run_engine(compiled(spec), STEPS)
    there = run_engine(compiled(spec, "cortex-a76"), STEPS, via="emulated")
    assert max(relative_losses(there.losses, here.losses)) <= LOSS


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, "float16"], ids=["bfloat16", "float16"])
def test_a_checkpoint_is_not_widened_on_disk(
    kind: Any, compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    """A 16-bit checkpoint, without a word of it in the spec, against JAX; the weights keep their size."""
    task = build_task(spec_of("bfloat16", ids))
    tensors = {name: task.source.read(name).astype(kind) for name in task.frozen}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **SMALL}))
    document = spec_of("bfloat16", ids).model_dump(exclude_unset=True)
    train = {key: value for key, value in document["train"].items() if key != "frozen_dtype"}
    spec = check_spec(
        {
            "model": {"checkpoint": str(tmp_path)},
            "train": {**train, "targets": list(train["targets"])},
            "data": {"path": str(ids(VOCABULARY)), "kind": "ids"},
        }
    )
    bundle = compiled(spec)
    check_parity(spec, bundle)
    vectors = sum(array.nbytes for array in tensors.values() if array.ndim == 1)
    matrices = sum(array.nbytes for array in tensors.values() if array.ndim == 2)
    padding = 64 * (len(tensors) + 4)
    assert (bundle / "weights.bin").stat().st_size <= matrices + 2 * vectors + padding
