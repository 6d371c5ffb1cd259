"""Without a number of steps a run ends at the spec's `max_steps`, wherever it started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity.specs import LORA, gpt2

from daypack import api
from daypack.errors import BundleError

TINY = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 300, "n_positions": 40}


def test_runs_go_on_to_max_steps(
    compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    spec = gpt2(ids(300), TINY, LORA, max_steps=5, batch=2, sequence=16)
    bundle, state = compiled(spec), tmp_path / "state"

    def steps(**options: object) -> list[int]:
        return [event.step for event in api.run_bundle(bundle, state=state, **options)]  # type: ignore[arg-type]

    assert steps(steps=2) == [1, 2]
    assert steps() == [3, 4, 5]
    assert steps() == []
    assert steps(steps=1) == [6]
    assert steps(fresh=True) == [1, 2, 3, 4, 5]
    (state / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(BundleError, match="state"):
        steps()
