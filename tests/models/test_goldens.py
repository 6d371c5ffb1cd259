"""Every family in float32 against `transformers` and `peft` in float64 (tools/goldens/make.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.models.config_fields import ConfigReader
from daypack.models.document import NO_LABEL
from daypack.models.lora import LoraConfig, adapt, divide
from daypack.models.loss import language_model_loss, language_model_score
from daypack.models.registry import by_model_type
from daypack.models.structure import structure_of

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.npz"))
CLOCK = {name: np.uint32(0) for name in ("seed", "step", "micro")}
TOLERANCE = 1e-5
QUICK = {"xla_backend_optimization_level": 0}


def compute(golden: dict[str, np.ndarray]) -> tuple[Any, Any, dict[str, Any], Any]:
    """(logits, mean loss, gradients of the mean, each row's log-likelihood) of the golden's model by
    Daypack.
    """
    published = json.loads(str(golden["config"]))
    family = by_model_type(published["model_type"], "golden")
    config = family.parse_config(ConfigReader(published, "golden"))
    adapter = json.loads(str(golden["adapter"])) if "adapter" in golden else None

    def build() -> Any:
        model = family.build(config)
        if adapter is None:
            return model
        targets = tuple(adapter["target_modules"])
        return adapt(model, LoraConfig(targets, rank=adapter["r"], alpha=adapter["lora_alpha"]))

    structure = structure_of(build)
    arrays = {
        key.removeprefix("weight/"): value for key, value in golden.items() if key.startswith("weight/")
    }
    assert set(arrays) == set(structure.parameters)
    trainable_specs, frozen_specs = divide(structure.parameters, lora=adapter is not None)
    trainable = {name: jnp.asarray(arrays[name]) for name in trainable_specs}
    frozen = {name: jnp.asarray(arrays[name]) for name in frozen_specs}
    batch = {name: jnp.asarray(golden[name]) for name in ("ids", "labels", "segments") if name in golden}
    loss = language_model_loss(structure)

    def mean(trainable: Any) -> Any:
        loss_sum, weight, _ = loss(trainable, frozen, {}, batch, CLOCK)
        return loss_sum / weight

    value, gradients = jax.jit(jax.value_and_grad(mean), compiler_options=QUICK)(trainable)
    score = language_model_score(structure)
    ids = batch["ids"][:, : golden["logits"].shape[1]]

    def forward(trainable: Any) -> Any:
        return structure.bind(frozen | trainable)(ids), score(trainable, frozen, batch)

    logits, (log_likelihood, _) = jax.jit(forward, compiler_options=QUICK)(trainable)
    if "attended" in golden:
        logits = jnp.where(golden["attended"][..., None], logits, 0.0)
    return logits, value, gradients, log_likelihood


def row_sums(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each row's log-likelihood from all logits, float64."""
    highest = logits.max(axis=-1, keepdims=True)
    logarithms = logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(logarithms, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return np.where(labels == NO_LABEL, 0.0, picked).sum(axis=-1)


def _under(prefix: str, golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


def relative(found: Any, expected: np.ndarray) -> float:
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_logits_loss_and_every_gradient(path: Path) -> None:
    with np.load(path) as file:
        golden = {key: file[key] for key in file.files}
    logits, loss, gradients, log_likelihood = compute(golden)
    assert relative(logits, golden["logits"]) <= TOLERANCE
    assert relative(loss, golden["loss"]) <= TOLERANCE
    sums = row_sums(golden["logits"].astype(np.float64), golden["labels"])
    assert relative(log_likelihood, sums) <= TOLERANCE
    compare_gradients(golden, gradients)


def compare_gradients(golden: dict[str, np.ndarray], gradients: dict[str, Any]) -> None:
    expected = _under("grad/", golden)
    assert set(gradients) == set(expected)
    for name, gradient in gradients.items():
        if name.endswith("c_attn.bias"):
            # A constant added to every key moves a row of scores alike: that third is zero but for rounding.
            width = gradient.size // 3
            keys = np.s_[width : 2 * width]
            scale = np.abs(expected[name]).max()
            assert np.abs(expected[name][keys]).max() <= 1e-12 * scale
            assert np.abs(np.asarray(gradient)[keys]).max() <= 1e-5 * scale, name
            gradient, expected[name] = np.delete(gradient, keys), np.delete(expected[name], keys)
        assert relative(gradient, expected[name]) <= TOLERANCE, name


PACKED = ("gpt2_masked", "gemma3_beyond_the_window", "llama_scaled_tied", "qwen2_lora_default")


@pytest.mark.parametrize("name", PACKED)
def test_documents_that_share_a_row_are_as_they_are_alone(name: str) -> None:
    """Loss and every gradient of `transformers` for the golden's rows, each a document, here all in one."""
    with np.load(Path(__file__).parent / "goldens" / f"{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    rows, time = golden["ids"].shape
    before = 3  # padding, so that no document begins at the row's first place
    starts = np.repeat(before + time * np.arange(rows, dtype=np.int32), time)
    packed = {
        "ids": np.concatenate([np.zeros(before, np.int32), golden["ids"].ravel()])[None],
        "labels": np.concatenate([np.full(before, -100, np.int32), golden["labels"].ravel()])[None],
        "segments": np.concatenate([np.arange(before, dtype=np.int32), starts])[None],
    }
    _, loss, gradients, _ = compute({**golden, **packed})
    assert relative(loss, golden["loss"]) <= TOLERANCE
    compare_gradients(golden, gradients)
    between = {**packed, "segments": np.where(packed["segments"] < before, packed["segments"], before)}
    assert relative(compute({**golden, **between})[1], golden["loss"]) > 100 * TOLERANCE


def test_there_are_goldens_of_every_kind() -> None:
    names = {path.stem for path in GOLDENS}
    assert {"gpt2_full", "gpt2_masked", "gpt2_unscaled_untied", "gpt2_lora_projections"} <= names
    for family in ("gpt2", "gemma3", "llama", "qwen2", "qwen3"):
        assert [name for name in names if name.startswith(family) and "padded" in name], family
