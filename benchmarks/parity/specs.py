"""Specs of trainings and the token ids they learn from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daypack.spec import TrainSpec, check_spec

LORA: dict[str, Any] = {"method": "lora", "rank": 8, "targets": ["c_attn", "c_proj"]}
FULL: dict[str, Any] = {"method": "full"}
GPT2_124M: dict[str, Any] = {}
"""The published architecture: every field of the config at its default."""


def published(family: str) -> dict[str, Any]:
    """The shapes in `examples/families`, which are those of a published model."""
    path = Path(__file__).resolve().parents[2] / "examples" / "families" / f"{family}-lora.toml"
    return dict(tomllib.loads(path.read_text())["model"]["config"])


QWEN25_05B = published("qwen2")
GEMMA3_270M = published("gemma3")
GEMMA3_1B: dict[str, Any] = {
    **GEMMA3_270M,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_hidden_layers": 26,
}
"""Gemma 3 1B as published."""
LORA_QV: dict[str, Any] = {"method": "lora", "rank": 8, "targets": ["q_proj", "v_proj"]}


def write_ids(path: Path, vocabulary: int, count: int, seed: int = 0) -> Path:
    """A file of `count` ids of [0, vocabulary), as frequent as words are (Zipf's law), in documents of 40 to
    400.

    So every row of an embedding may be hit, some are hit many times in one batch, and the last position of
    each document has no label.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = 1.0 / np.arange(1, vocabulary + 1)
    ranks = generator.choice(vocabulary, size=count, p=weights / weights.sum())
    ids = generator.permutation(vocabulary)[ranks]
    cuts = np.cumsum(generator.integers(40, 400, size=count // 40))
    documents = np.split(ids, cuts[cuts < count])
    path.write_text("".join(json.dumps({"ids": document.tolist()}) + "\n" for document in documents))
    return path


def gpt2(ids: Path, config: Mapping[str, Any], method: Mapping[str, Any], **settings: Any) -> TrainSpec:
    """A GPT-2; the rest as in `training`."""
    return training("gpt2", ids, config, method, **settings)


def training(
    family: str,
    ids: Path | None,
    config: Mapping[str, Any],
    method: Mapping[str, Any],
    *,
    device: str = "host",
    memory: str | None = None,
    evaluation: bool = False,
    tokenizer: Path | None = None,
    **train: Any,
) -> TrainSpec:
    """A family from seeded weights; unless `train` says, AdamW at 1e-4, clipped at 1.0, 4 x 128.

    Learns from a file of ids, or without one from text that the engine tokenizes by `tokenizer`.
    """
    settings = {
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "max_grad_norm": 1.0,
        "batch": 4,
        "sequence": 128,
        "max_steps": 10,
        "dropout": 0.0,
        **method,
        **train,
    }
    if not {"micro_batch", "gradient_accumulation_steps"} & set(settings):
        settings["gradient_accumulation_steps"] = 1
    document: dict[str, Any] = {
        "model": {"family": family, "seed": 1, "config": dict(config)},
        "train": settings,
        "device": {"profile": device},
        "data": {"tokenizer": str(tokenizer)} if ids is None else {"path": str(ids), "kind": "ids"},
        "evaluation": {"enabled": evaluation},
    }
    if memory is not None:
        document["budget"] = {"memory": memory}
    return check_spec(document)
