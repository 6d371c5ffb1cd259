"""A run that stops and goes on leaves the bits of a run that never stopped."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity.engine import run_engine, state_file
from parity.specs import FULL, gpt2
from safetensors.numpy import load_file

CONFIG = {"n_layer": 2, "n_embd": 48, "n_head": 3, "n_inner": 200, "vocab_size": 300, "n_positions": 40}
STEPS = 6


@pytest.fixture
def bundle(request: pytest.FixtureRequest, compiled: Callable[..., Path], ids: Callable[[int], Path]) -> Path:
    """Full training with dropout, a schedule and a window; every draw depends on the step."""
    save_steps = getattr(request, "param", 1)
    train = {
        "gradient_accumulation_steps": 2,
        "dropout": 0.2,
        "schedule": "cosine",
        "warmup_steps": 2,
        "save_steps": save_steps,
    }
    return compiled(gpt2(ids(300), CONFIG, FULL, sequence=40, **train))


def test_in_two_halves(bundle: Path, tmp_path: Path) -> None:
    whole = run_engine(bundle, STEPS, state=tmp_path / "whole")
    first = run_engine(bundle, 2, state=tmp_path / "halves", threads=2)
    second = run_engine(bundle, STEPS - 2, state=tmp_path / "halves", threads=1, fresh=False)
    assert first.losses + second.losses == whole.losses
    assert _bytes(bundle, tmp_path / "halves") == _bytes(bundle, tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("bundle", [1, 2], ids=["every step saved", "every second step saved"], indirect=True)
def test_after_a_signal(bundle: Path, number: signal.Signals, tmp_path: Path) -> None:
    run_engine(bundle, STEPS, state=tmp_path / "whole")
    state = tmp_path / "stopped"
    _stop_after_a_step(bundle, state, number)
    saved = _step(bundle, state)
    print(f"{number.name}: saved at step {saved}")
    if saved > STEPS:  # the machine was quick: judge it against a longer run
        run_engine(bundle, saved, state=tmp_path / "whole")
    elif saved < STEPS:
        run_engine(bundle, STEPS - saved, state=state, fresh=False)
    assert _bytes(bundle, state) == _bytes(bundle, tmp_path / "whole")


def _stop_after_a_step(bundle: Path, state: Path, number: signal.Signals) -> None:
    command = [str(bundle / "engine"), "--bundle", str(bundle), "--state", str(state), "--steps", "10000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"step"' in line and '"loss"' in line and '"step":3' in line.replace(" ", ""):
                process.send_signal(number)
                break
        process.communicate(timeout=60)
    assert process.returncode in ((-number,) if number is signal.SIGKILL else (6,))


def _step(bundle: Path, state: Path) -> int:
    return int(np.asarray(load_file(state_file(bundle, state))["clock/step"]))


def _bytes(bundle: Path, state: Path) -> bytes:
    return state_file(bundle, state).read_bytes()
