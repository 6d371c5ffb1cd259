"""A window of unequal label counts is the one large batch; no label at all is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity.specs import FULL, gpt2

from daypack import api
from daypack.errors import SpecError
from daypack.runtime.bundle import read_bundle
from daypack.runtime.data_file import write_data

TINY = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 128, "n_positions": 16}


def losses(bundle: Path, labels: Any, micro_batch: int) -> list[float]:
    """Three steps over the same four rows; the losses after the first tell of the gradients before."""
    ids = np.random.default_rng(3).integers(0, 128, labels.shape).astype(np.int32)
    parts = [slice(at, at + micro_batch) for at in range(0, len(ids), micro_batch)] * 3
    data = bundle.with_suffix(".bin")
    records = [{"ids": ids[part], "labels": labels[part]} for part in parts]
    write_data(data, read_bundle(bundle).plan.inputs, records)
    return [event.loss for event in api.run_bundle(bundle, data=data, steps=3, fresh=True)]


def test_a_window_of_unequal_labels_is_the_large_batch(ids: Callable[[int], Path], tmp_path: Path) -> None:
    labels = np.random.default_rng(4).integers(0, 128, (4, 16)).astype(np.int32)
    labels[1] = -100  # a micro-batch of none
    labels[2, 1:] = -100
    bundles: dict[int, Path] = {}
    for window in (1, 4):
        settings = {"batch": 4, "sequence": 16, "gradient_accumulation_steps": window, "learning_rate": 1e-2}
        spec = gpt2(ids(128), TINY, FULL, **settings)
        bundles[window] = api.compile_spec(spec, out=tmp_path / f"{window}.bundle").bundle
    whole = losses(bundles[1], labels, 4)
    assert len(whole) == 3 and whole[2] < whole[0] - 0.01
    np.testing.assert_allclose(losses(bundles[4], labels, 1), whole, rtol=5e-6)
    for window, micro_batch in ((1, 4), (4, 1)):
        with pytest.raises(SpecError, match="step 1: no label in its examples"):
            losses(bundles[window], np.full_like(labels, -100), micro_batch)
