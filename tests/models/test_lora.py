"""Which projections get adapters, how they are named and how they start."""

from __future__ import annotations

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models import gpt2
from daypack.models.lora import LoraConfig, adapt, divide
from daypack.models.registry import by_model_type
from daypack.models.sources import RandomSource
from daypack.models.structure import Structure, structure_of

CONFIG = gpt2.GPT2Config(37, 16, 12, 2, 3, 48)
PREFIX = "base_model.model.transformer.h"


def structure(*targets: str, rank: int = 4) -> Structure:
    return structure_of(lambda: adapt(gpt2.GPT2(CONFIG), LoraConfig(targets, rank=rank)))


def adapted(*targets: str) -> set[str]:
    """The modules with adapters, without the layer numbers' prefix."""
    names = divide(structure(*targets).parameters, lora=True)[0]
    return {name.removeprefix("base_model.model.").split(".lora_")[0] for name in names}


def test_default_target_and_published_names_and_shapes() -> None:
    assert gpt2.FAMILY.default_targets == ("c_attn",)
    trainable, frozen = divide(structure("c_attn").parameters, lora=True)
    assert {name: spec.shape for name, spec in trainable.items()} == {
        f"{PREFIX}.{layer}.attn.c_attn.lora_{which}.weight": shape
        for layer in range(2)
        for which, shape in (("A", (4, 12)), ("B", (36, 4)))
    }
    assert not trainable.keys() & frozen.keys()
    assert frozen["transformer.h.1.attn.c_attn.weight"].shape == (12, 36)


def test_defaults_are_those_of_peft() -> None:
    constants = pytest.importorskip("peft.utils.constants")
    peft = pytest.importorskip("peft")
    ours, theirs = LoraConfig(("c_attn",)), peft.LoraConfig()
    assert (ours.rank, ours.alpha, ours.dropout) == (theirs.r, theirs.lora_alpha, theirs.lora_dropout)
    targets = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    for model_type in ("gpt2", "gemma3_text", "llama", "qwen2", "qwen3"):
        family = by_model_type(model_type, "test")
        assert list(family.default_targets) == targets[model_type], model_type


def test_a_short_target_matches_every_path_that_ends_in_it() -> None:
    both = {f"transformer.h.{layer}.{part}.c_proj" for layer in range(2) for part in ("attn", "mlp")}
    assert adapted("c_proj") == both
    assert adapted("mlp.c_proj") == {name for name in both if ".mlp." in name}
    assert adapted("transformer.h.1.mlp.c_fc") == {"transformer.h.1.mlp.c_fc"}


@pytest.mark.parametrize("target", ["q_proj", "proj", "c_att", "wte", ""])
def test_an_unmatched_target_lists_what_there_is(target: str) -> None:
    with pytest.raises(SpecError) as caught:
        structure("c_attn", target)
    assert caught.value.message == (
        f"train.targets: {target!r} matches no projection; this model has transformer.h.N.attn.c_attn, "
        "transformer.h.N.attn.c_proj, transformer.h.N.mlp.c_fc, transformer.h.N.mlp.c_proj"
    )


def test_no_targets_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"train.targets is empty; this model has transformer.h.N"):
        structure()


def test_full_training_trains_everything() -> None:
    parameters = structure_of(lambda: gpt2.GPT2(CONFIG)).parameters
    assert divide(parameters, lora=False) == (parameters, {})


def test_adapters_start_as_peft_starts_them() -> None:
    source = RandomSource(structure("c_fc", rank=512).parameters, seed=3)
    a = source.read(f"{PREFIX}.0.mlp.c_fc.lora_A.weight")
    bound = 1 / np.sqrt(12)
    assert a.min() >= -bound and a.max() < bound
    assert abs(a.std() * np.sqrt(3) / bound - 1) < 0.05  # uniform
    assert not source.read(f"{PREFIX}.0.mlp.c_fc.lora_B.weight").any()


def test_every_adapter_has_a_dropout_site_of_its_own() -> None:
    model = adapt(gpt2.GPT2(CONFIG), LoraConfig(("c_attn", "c_proj")))
    projections = [part for block in model.transformer.h for part in (block.attn.c_attn, block.attn.c_proj)]
    sites = [projection.adapter.site for projection in projections]
    assert len(set(sites)) == len(sites)
