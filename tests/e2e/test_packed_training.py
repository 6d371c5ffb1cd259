"""Packed rows of a JSONL file, shuffled: against JAX, in windows, under the emulator, killed mid-epoch."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity.compare import compare, relative_losses
from parity.engine import run_engine, state_file
from parity.reference import QUICK_COMPILE, Reference, batches_of

from daypack import api
from daypack.api.saved import steps_done
from daypack.errors import SpecError
from daypack.spec import TrainSpec, check_spec

STEPS = 7  # of 4 examples: beyond the first epoch
GPT2 = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 256, "n_positions": 48}
QWEN = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": 256,
}


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts and completions of unequal lengths, 14 to 26 rows of 48 bytes."""
    rng = random.Random(3)
    words = ["day", "pack", "naïve", "11", "the", "rows,", "of"]
    lines = [
        {"prompt": " ".join(rng.choices(words, k=rng.randint(1, 6))), "completion": rng.choice(words) * 2}
        for _ in range(40)
    ]
    path = tmp_path_factory.mktemp("raw") / "notes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def spec(path: Path, family: str = "gpt2", window: int = 2, method: str = "full") -> TrainSpec:
    train: dict[str, Any] = {
        "method": method,
        "learning_rate": 1e-3,
        "batch": 4,
        "gradient_accumulation_steps": window,
        "sequence": 48,
        "max_steps": STEPS,
        "save_steps": 1,
        "dropout": 0.0,
    }
    config = GPT2 if family == "gpt2" else QWEN
    data = {"path": str(path), "kind": "jsonl", "packing": True, "seed": 9}
    model = {"family": family, "seed": 1, "config": config}
    return check_spec({"model": model, "train": train, "device": {"profile": "host"}, "data": data})


@pytest.mark.parametrize(("family", "method"), [("gpt2", "full"), ("qwen2", "lora")])
def test_the_engine_trains_on_packed_rows_as_jax_does(
    family: str, method: str, conversations: Path, compiled: Callable[..., Path]
) -> None:
    wanted = spec(conversations, family, method=method)
    bundle = compiled(wanted)
    batches = batches_of(bundle, wanted, STEPS)
    assert any((np.diff(row) > 1).any() for batch in batches for row in batch["segments"])
    reference = Reference(wanted, QUICK_COMPILE)
    figures = compare(reference.initial(), run_engine(bundle, STEPS), reference.run(batches))
    print(figures.line())
    assert figures.worst_loss <= 5e-6 and figures.worst_array.relative <= 1e-3


def test_windows_of_unequal_label_counts_are_the_large_batch(
    conversations: Path, compiled: Callable[..., Path]
) -> None:
    whole, parts = (run_engine(compiled(spec(conversations, window=window)), STEPS) for window in (1, 4))
    counts = {
        (batch["labels"] != -100).sum()
        for batch in batches_of(compiled(spec(conversations, window=4)), spec(conversations, window=4), STEPS)
    }
    assert len(counts) > 1
    assert max(relative_losses(parts.losses, whole.losses)) <= 5e-6
    assert whole.losses[-1] < whole.losses[0]


def test_the_emulator_takes_the_same_examples(
    conversations: Path, compiled: Callable[..., Path], emulator: str
) -> None:
    here = run_engine(compiled(spec(conversations)), STEPS)
    phone = compiled(spec(conversations), "cortex-a76")
    there = run_engine(phone, STEPS, via="emulated")
    assert max(relative_losses(there.losses, here.losses)) <= 5e-6
    raw = phone.with_name("raw.state")
    events = api.run_bundle(phone, data=conversations, steps=STEPS, via="emulated", state=raw)
    assert tuple(event.loss for event in events) == there.losses
    assert without_source(raw / "tokens.bin") == (phone / "data.bin").read_bytes()


def test_the_emulator_evaluates_as_this_machine_does(
    conversations: Path, compiled: Callable[..., Path], emulator: str
) -> None:
    here = api.evaluate_bundle(compiled(spec(conversations)), data=conversations, before=True)
    phone = compiled(spec(conversations), "cortex-a76")
    there = api.evaluate_bundle(phone, data=conversations, before=True, via="emulated")
    assert there.source == "emulated" and (there.labels, there.step) == (here.labels, 0)
    assert abs(there.loss - here.loss) <= 5e-6 * here.loss


def without_source(tokens: Path) -> bytes:
    """The bytes of a data file, but for what it was made of."""
    data = tokens.read_bytes()
    return data[:48] + bytes(16) + data[64:]


def test_the_engine_makes_the_same_rows_of_raw_lines(
    conversations: Path, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = compiled(spec(conversations))
    run_engine(bundle, STEPS, state=tmp_path / "host")
    made = list(api.run_bundle(bundle, data=conversations, steps=STEPS, state=tmp_path / "raw"))
    assert len(made) == STEPS
    assert without_source(tmp_path / "raw" / "tokens.bin") == (bundle / "data.bin").read_bytes()
    states = [state_file(bundle, tmp_path / name).read_bytes() for name in ("host", "raw")]
    assert states[0] == states[1]


def test_a_kill_in_the_middle_of_an_epoch_changes_no_bit(
    conversations: Path, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = compiled(spec(conversations))
    run_engine(bundle, STEPS, state=tmp_path / "whole")
    state = tmp_path / "killed"
    command = [str(bundle / "engine"), "--bundle", str(bundle), "--state", str(state), "--steps", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if '"event":"step"' in line)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    saved = steps_done(state_file(bundle, state))
    whole = max(STEPS, saved + 2)
    run_engine(bundle, whole, state=tmp_path / "whole")
    run_engine(bundle, whole - saved, state=state, fresh=False)
    assert state_file(bundle, state).read_bytes() == state_file(bundle, tmp_path / "whole").read_bytes()


def test_no_label_at_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text('{"prompt": "question", "completion": ""}\n')
    with pytest.raises(SpecError, match="no label in 8 tokens: no token that is learnt follows another"):
        api.compile_spec(spec(path), out=tmp_path / "never.bundle")
    assert not (tmp_path / "never.bundle").exists()
