"""A trained matrix in parts of rows, end to end: the numbers of JAX, and the same bits under every plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from parity.compare import compare
from parity.engine import run_engine, state_file
from parity.reference import Reference, batches_of
from parity.specs import FULL, gpt2
from safetensors.numpy import load_file

from daypack import api
from daypack.operators import loss_head

VOCABULARY, BLOCK = 3000, 1440
TINY = {"n_layer": 1, "n_embd": 96, "n_head": 3, "n_inner": 96, "vocab_size": VOCABULARY, "n_positions": 40}
LOSS, CHANGE = 5e-6, 1e-3
SHARE = 0.85
"""Of the memory that is used without a budget."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of the table, large enough to be paged, and two chunks of tokens a micro-step."""
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(loss_head, "CHUNK_TOKENS", 48)


def test_parts_train_as_the_whole_does(ids: Callable[[int], Path], tmp_path: Path) -> None:
    spec = gpt2(ids(VOCABULARY), TINY, FULL, sequence=40, learning_rate=1e-3)
    bundle = tmp_path / "free.bundle"
    free = api.compile_spec(spec, out=bundle)
    ours = run_engine(bundle, 4)
    reference = Reference(spec)
    found = compare(reference.initial(), ours, reference.run(batches_of(bundle, spec, 4)))
    print(found.line())
    assert found.worst_loss <= LOSS
    assert found.worst_array.relative <= CHANGE
    assert found.unchanged == ()
    table = load_file(state_file(bundle))["transformer.wte.weight"]
    assert table.shape == (VOCABULARY, 96), "the state holds the table as one tensor"

    tight = tmp_path / "tight.bundle"
    small = api.compile_spec(spec, out=tight, memory_bytes=int(SHARE * free.predicted.peak_bytes))
    print(f"predicted {free.predicted.peak_bytes} bytes, under a budget {small.predicted.peak_bytes}")
    assert small.predicted.peak_bytes <= SHARE * free.predicted.peak_bytes
    again = run_engine(tight, 4)
    assert again.losses == ours.losses
    assert _digest(tight) == _digest(bundle)


def _digest(bundle: Path) -> str:
    """The tensors of the state, by name."""
    digest = hashlib.sha256()
    for name, array in sorted(load_file(state_file(bundle)).items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()
