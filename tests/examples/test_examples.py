"""The examples train as JAX does: losses within 5e-6, the change of every array within 1e-3."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
LOSS, DELTA = 5e-6, 1e-3


@pytest.mark.parametrize("window", [1, 4])
def test_mlp(example: Load, window: int, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = example("mlp").main(window)
    assert comparison.loss_difference <= LOSS
    assert len(comparison.deltas) == 8
    assert max(comparison.deltas.values()) <= DELTA
    assert comparison.losses[-1] < 0.25 * comparison.losses[0]
    assert "largest relative difference of a loss" in capsys.readouterr().out


def test_cnn(example: Load, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = example("cnn").main()
    assert comparison.loss_difference <= LOSS
    assert {"norm/mean", "norm/var"} <= set(comparison.deltas)
    assert max(comparison.deltas.values()) <= DELTA
    assert comparison.losses[-1] < 0.5 * comparison.losses[0]
    assert "accuracy of the trained model" in capsys.readouterr().out
