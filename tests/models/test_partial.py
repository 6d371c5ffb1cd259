"""Partial training: what an entry names, and that the chosen parameters train as in full training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models.task import Task, build_task
from daypack.spec import check_spec

DECODER: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 11,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "vocab_size": 37,
}
HEAD_NORMS = {"self_attn.q_norm.weight", "self_attn.k_norm.weight"}


def task(config: dict[str, Any], family: str, *train_only: str, **train: Any) -> Task:
    fields = {key: value for key, value in config.items() if key != "model_type"}
    settings = {"method": "partial", "learning_rate": 1e-3, "max_steps": 4, "batch": 2, "sequence": 8}
    chosen = {"train_only": list(train_only)} if train_only else {}
    document = {"model": {"family": family, "config": fields}, "train": settings | chosen | train}
    return build_task(check_spec(document, base=Path()))


def test_biases_and_norms_of_gpt2(tiny_config: dict[str, Any]) -> None:
    biases = set(task(tiny_config, "gpt2", "biases").trainable)
    norms = set(task(tiny_config, "gpt2", "norms").trainable)
    every = set(task(tiny_config, "gpt2", method="full").trainable)
    assert biases == {name for name in every if name.endswith(".bias")} and len(biases) == 13
    assert norms == {name for name in every if ".ln_" in name} and len(norms) == 10
    assert set(task(tiny_config, "gpt2", "norms", "biases").trainable) == norms | biases


def test_norms_of_heads_are_norms() -> None:
    chosen = task(DECODER, "qwen3", "norms")
    first = {
        name.removeprefix("model.layers.0.")
        for name in chosen.trainable
        if name.startswith("model.layers.0.")
    }
    assert first == {"input_layernorm.weight", "post_attention_layernorm.weight"} | HEAD_NORMS
    assert "model.norm.weight" in chosen.trainable and len(chosen.trainable) == 11 * 4 + 1
    assert len(chosen.frozen) == 11 * 7 + 2


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("model.norm.weight", {"norm.weight"}),
        (
            "layers.1.self_attn",
            {f"layers.1.self_attn.{x}_proj.weight" for x in "qkvo"} | {"q_norm", "k_norm"},
        ),
        ("layers.?.mlp.up_proj", {f"layers.{n}.mlp.up_proj.weight" for n in range(10)}),
        ("layers.1*.input_layernorm", {f"layers.{n}.input_layernorm.weight" for n in (1, 10)}),
        ("q_norm.weight", {f"layers.{n}.self_attn.q_norm.weight" for n in range(11)}),
        ("embed_tokens", {"embed_tokens.weight"}),
    ],
)
def test_an_entry_is_consecutive_parts_of_a_name(entry: str, names: set[str]) -> None:
    expected = {
        "model." + (f"layers.1.self_attn.{name}.weight" if name in ("q_norm", "k_norm") else name)
        for name in names
    }
    assert set(task(DECODER, "qwen3", entry).trainable) == expected


def test_an_entry_that_names_nothing_lists_what_there_is(tiny_config: dict[str, Any]) -> None:
    for entry in ("h.2", "c_att", "attn.h", "bias.x"):
        with pytest.raises(SpecError) as caught:
            task(tiny_config, "gpt2", "biases", entry)
        message = caught.value.message
        assert message.startswith(
            f"train.train_only: {entry!r} names no parameter; this model has transformer."
        )
        assert "transformer.h.N.attn.c_attn.weight, " in message and ".h.0." not in message
    with pytest.raises(SpecError, match=r'names every parameter; train.method = "full" trains them all'):
        task(tiny_config, "gpt2", "*")


@pytest.mark.parametrize("train_only", [["norms"], ["biases", "h.1.mlp"], ["wte"]])
def test_gradients_are_those_of_full_training(tiny_config: dict[str, Any], train_only: list[str]) -> None:
    tiny_config |= {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    full = task(tiny_config, "gpt2", method="full")
    part = task(tiny_config, "gpt2", *train_only, frozen_dtype="float32")
    assert part.trainable.keys() | part.frozen.keys() == full.trainable.keys()
    ours, theirs = gradients(part), gradients(full)
    assert ours.keys() == part.trainable.keys()
    for name, gradient in ours.items():
        scale = float(np.abs(theirs[name]).max())
        np.testing.assert_allclose(gradient, theirs[name], rtol=0, atol=1e-5 * scale, err_msg=name)


def gradients(task: Task) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, 37, (2, 8)).astype(np.int32)
    batch = {"ids": jnp.asarray(ids), "labels": jnp.asarray(np.roll(ids, -1, axis=1))}
    clock = {name: np.uint32(0) for name in ("seed", "step", "micro")}
    trainable, frozen = (
        {name: jnp.asarray(task.source.read(name)) for name in names}
        for names in (task.trainable, task.frozen)
    )
    loss = jax.grad(lambda weights: task.loss(weights, frozen, {}, batch, clock)[0])
    found = jax.jit(loss, compiler_options={"xla_backend_optimization_level": 0})(trainable)
    return {name: np.asarray(array) for name, array in found.items()}
