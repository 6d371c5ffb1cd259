"""Shared by the model tests: strict dtype promotion, and one tiny GPT-2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import pytest

TINY: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 37,
    "n_positions": 16,
    "n_embd": 12,
    "n_layer": 2,
    "n_head": 3,
}


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def tiny_config() -> dict[str, Any]:
    return dict(TINY)
