"""Every family through the whole way: declared, compiled, trained by the engine, compared with `jax.jit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.compare import compare
from parity.engine import run_engine
from parity.reference import Reference, batches_of
from parity.specs import training

LOSS, CHANGE, ZERO = 5e-6, 1e-3, 1e-5
VOCABULARY = 301
SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": True,
}
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA: dict[str, Any] = {"method": "lora", "rank": 3}
WINDOWED = {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen2, lora, tied": ("qwen2", SMALL, LORA),
    "qwen2, full, untied, dropout": (
        "qwen2",
        SMALL | {"tie_word_embeddings": False},
        {"method": "full", "dropout": 0.1, "gradient_accumulation_steps": 2},
    ),
    "qwen3, lora everywhere": ("qwen3", SMALL, LORA | {"targets": EVERYWHERE}),
    "llama, full": ("llama", SMALL, {"method": "full"}),
    "gemma3, lora, beyond the window": ("gemma3", SMALL | WINDOWED, LORA),
    "qwen2, norms and one layer, int8": (
        "qwen2",
        SMALL | {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
        {"method": "partial", "train_only": ["norms", "layers.1"], "frozen_dtype": "int8"},
    ),
    "gemma3, full": ("gemma3", SMALL | WINDOWED, {"method": "full"}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_engine_trains_as_jax_does(
    name: str, compiled: Callable[..., Path], ids: Callable[[int], Path]
) -> None:
    family, config, method = CASES[name]
    settings = {"batch": 2, "sequence": 21, **method}
    spec = training(family, ids(VOCABULARY), config, settings)
    bundle = compiled(spec)
    reference = Reference(spec)
    theirs = reference.run(batches_of(bundle, spec, 3))
    figures = compare(reference.initial(), run_engine(bundle, 3), theirs)
    print(figures.line())
    assert figures.worst_loss <= LOSS, figures.losses
    assert figures.worst_array.relative <= CHANGE, figures.worst_array
    assert figures.worst_zero <= ZERO, figures.zero
    assert figures.unchanged == ()
