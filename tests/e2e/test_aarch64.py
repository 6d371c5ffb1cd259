"""The same training on aarch64, under the emulator, against x86-64."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.compare import relative_losses
from parity.engine import run_engine
from parity.specs import FULL, LORA, gpt2

SMALL = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512, "n_positions": 32}
STEPS = 20


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the comparison is with x86-64")
@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_losses_of_twenty_steps(
    method: dict[str, Any], compiled: Callable[..., Path], ids: Callable[[int], Path], emulator: str
) -> None:
    spec = gpt2(ids(512), SMALL, method, batch=2, sequence=32, max_steps=STEPS, learning_rate=1e-3)
    here = run_engine(compiled(spec, "host"), STEPS)
    there = run_engine(compiled(spec, "cortex-a76"), STEPS, via="emulated")
    differences = relative_losses(there.losses, here.losses)
    print(
        f"{STEPS} steps, loss {here.losses[0]:.4f} to {here.losses[-1]:.4f}: {max(differences):.1e} relative"
    )
    assert max(differences) <= 5e-6, differences
    assert here.losses[-1] < here.losses[0]
    assert there.arrays.keys() == here.arrays.keys()
