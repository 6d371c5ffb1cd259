"""Dropout masks belong to the example: any split of a window has the same masks and summed gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.models import gpt2
from daypack.models.dropout import drop, example_keys
from daypack.models.layers import AdapterShape, Projection
from daypack.models.lora import LoraConfig, adapt, divide
from daypack.models.loss import language_model_loss
from daypack.models.parameters import ZEROS
from daypack.models.sources import RandomSource
from daypack.models.structure import structure_of

CONFIG = gpt2.GPT2Config(37, 16, 12, 1, 3, 48, embd_pdrop=0.2, attn_pdrop=0.1, resid_pdrop=0.3)


def clock(step: int, micro: int, seed: int = 5) -> dict[str, Any]:
    return {"seed": np.uint32(seed), "step": np.uint32(step), "micro": np.uint32(micro)}


def mask(step: int, micro: int, micro_batch: int, site: int = 4, seed: int = 5) -> np.ndarray:
    keys = example_keys(clock(step, micro, seed), micro_batch)
    return np.asarray(drop(jnp.ones((micro_batch, 6, 7), jnp.float32), 0.25, keys, site))


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_masks_do_not_depend_on_the_split(micro_batch: int) -> None:
    parts = [mask(3, micro, micro_batch) for micro in range(8 // micro_batch)]
    np.testing.assert_array_equal(np.concatenate(parts), mask(3, 0, 8))


def test_masks_differ_by_example_step_site_and_seed() -> None:
    first = mask(3, 0, 2)
    assert (first[0] != first[1]).any()
    others = (mask(4, 0, 2), mask(3, 1, 2), mask(3, 0, 2, site=5), mask(3, 0, 2, seed=6))
    assert all((first != other).any() for other in others)


def test_masks_do_not_depend_on_the_process_wide_generator_settings() -> None:
    first = mask(3, 0, 2)
    with jax.threefry_partitionable(False), jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(mask(3, 0, 2), first)


def test_the_rate_is_kept_and_the_mean_preserved() -> None:
    keys = example_keys(clock(0, 0), 16)
    dropped = np.asarray(drop(jnp.ones((16, 64, 64), jnp.float32), 0.1, keys, 0))
    assert set(np.unique(dropped)) == {np.float32(0.0), np.float32(1.0 / 0.9)}
    assert abs((dropped == 0).mean() - 0.1) < 0.005  # five standard deviations of 65,536 draws


def test_no_keys_or_no_rate_leaves_the_array_alone() -> None:
    x = jnp.ones((2, 3), jnp.float32)
    assert drop(x, 0.5, None, 0) is x
    assert drop(x, 0.0, example_keys(clock(0, 0), 2), 0) is x


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_split_window_has_the_gradients_of_the_whole(lora: bool) -> None:
    def build() -> Any:
        model = gpt2.GPT2(CONFIG)
        return adapt(model, LoraConfig(("c_attn", "c_proj"), rank=2, dropout=0.15)) if lora else model

    structure = structure_of(build)
    source = RandomSource(structure.parameters, seed=1)
    arrays = {name: jnp.asarray(source.read(name)) + jnp.float32(0.05) for name in source.names()}
    trainable, frozen = (
        {name: arrays[name] for name in part} for part in divide(structure.parameters, lora=lora)
    )
    ids = np.random.default_rng(0).integers(0, 37, (4, 8)).astype(np.int32)
    labels = np.roll(ids, -1, axis=1)
    labels[1], labels[2, 3:] = -100, -100  # a micro-batch of none, and one of fewer
    loss = language_model_loss(structure)

    # Unoptimized, because XLA spends most of the time on the unrolled generator.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def step(trainable: Any, batch: Any, clock: Any) -> Any:
        def total(trainable: Any) -> Any:
            loss_sum, weight, _ = loss(trainable, frozen, {}, batch, clock)
            return loss_sum, weight

        return jax.value_and_grad(total, has_aux=True)(trainable)

    def window(micro_batch: int) -> Any:
        parts = [
            step(
                trainable,
                {"ids": ids[at : at + micro_batch], "labels": labels[at : at + micro_batch]},
                clock(2, j),
            )
            for j, at in enumerate(range(0, 4, micro_batch))
        ]
        return jax.tree.map(lambda *values: sum(np.asarray(value, np.float64) for value in values), *parts)

    (whole_loss, whole_weight), whole = window(4)
    assert whole_weight == 32 - 8 - 5
    (split_loss, split_weight), split = window(1)
    assert split_weight == whole_weight
    np.testing.assert_allclose(split_loss, whole_loss, rtol=1e-6)
    for name, expected in whole.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(split[name], expected, rtol=1e-4, atol=2e-6 * scale, err_msg=name)
    (other, _), _ = step(trainable, {"ids": ids, "labels": labels}, clock(3, 0))
    assert abs(float(other) / whole_loss - 1) > 1e-4, "another step must draw other masks"


def test_the_published_sites_in_order() -> None:
    structure = structure_of(lambda: gpt2.GPT2(CONFIG))
    arrays = {
        name: jax.ShapeDtypeStruct(spec.shape, spec.dtype) for name, spec in structure.parameters.items()
    }
    keys = example_keys(clock(0, 0), 2)
    traced = jax.make_jaxpr(lambda arrays, ids: structure.bind(arrays)(ids, keys))(
        arrays, jax.ShapeDtypeStruct((2, 8), jnp.int32)
    )
    drawn = [
        equation.outvars[0].aval.shape for equation in traced.eqns if equation.primitive.name == "random_bits"
    ]
    # embeddings, attention probabilities (one query head a key-value head), attention residual, mlp residual
    assert drawn == [(2, 8, 12), (2, 3, 8, 1, 8), (2, 8, 12), (2, 8, 12)]


def test_an_adapter_drops_its_own_input_only() -> None:
    adapted = Projection(5, 7, ZEROS, input_first=False)
    adapted.adapt(AdapterShape(rank=2, scale=3.0, dropout=0.4, site=11))
    generator = np.random.default_rng(0)
    for factor in (adapted, adapted.lora_A, adapted.lora_B):
        factor.weight[...] = jnp.asarray(generator.normal(size=factor.weight.shape), jnp.float32)
    keys = example_keys(clock(0, 0), 3)
    x = jnp.asarray(generator.normal(size=(3, 4, 5)), jnp.float32)
    product = drop(x, 0.4, keys, 11) @ adapted.lora_A.weight[...].T @ adapted.lora_B.weight[...].T
    np.testing.assert_allclose(
        adapted(x, keys), x @ adapted.weight[...].T + 3.0 * product, rtol=1e-5, atol=1e-5
    )
