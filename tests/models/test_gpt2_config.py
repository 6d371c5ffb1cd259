"""config.json of GPT-2: what is read, what is refused and how."""

from __future__ import annotations

from typing import Any

import pytest

from daypack.errors import SpecError
from daypack.models import gpt2, registry
from daypack.models.config_fields import ConfigReader
from daypack.models.structure import structure_of


def parse(**fields: Any) -> gpt2.GPT2Config:
    return gpt2.parse_config(ConfigReader(fields, "config.json"))


def test_absent_and_null_fields_take_the_published_defaults() -> None:
    assert parse(n_inner=None) == gpt2.GPT2Config()
    assert parse(n_embd=24).n_inner == 96
    assert parse(n_embd=24, n_inner=10, n_layer=3, layer_norm_epsilon=1e-6).n_inner == 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_embd": 10, "n_head": 3}, "`n_head` is 3; expected a divisor of n_embd = 10"),
        ({"n_layer": 0}, "`n_layer` is 0; expected a whole number of at least 1"),
        ({"vocab_size": "50257"}, "`vocab_size` is '50257'; expected a whole number of at least 1"),
        ({"n_head": True}, "`n_head` is True; expected a whole number of at least 1"),
        ({"attn_pdrop": 1.0}, "`attn_pdrop` is 1.0; expected a number from 0 up to, but not including, 1"),
        ({"tie_word_embeddings": "no"}, "`tie_word_embeddings` is 'no'; expected true or false"),
        (
            {"activation_function": "relu"},
            "`activation_function` is 'relu'; expected 'gelu_new' or 'gelu_pytorch_tanh': "
            "Daypack does not compute any other setting",
        ),
        (
            {"scale_attn_by_inverse_layer_idx": True},
            "`scale_attn_by_inverse_layer_idx` is True; expected False: "
            "Daypack does not compute any other setting",
        ),
        (
            {"reorder_and_upcast_attn": True},
            "`reorder_and_upcast_attn` is True; expected False: Daypack does not compute any other setting",
        ),
        (
            {"add_cross_attention": True},
            "`add_cross_attention` is True; expected False: Daypack does not compute any other setting",
        ),
    ],
)
def test_refusals_name_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(**fields)
    assert caught.value.message == f"config.json: {message}"


def test_a_config_written_by_hand_may_hold_only_known_fields() -> None:
    reader = ConfigReader({"n_layers": 2}, "model.config")
    gpt2.parse_config(reader)
    with pytest.raises(SpecError) as caught:
        reader.refuse_unknown()
    assert caught.value.message == "model.config: unknown field `n_layers`; did you mean `n_layer`?"
    reader = ConfigReader({"quux": 2}, "model.config")
    gpt2.parse_config(reader)
    with pytest.raises(
        SpecError, match="unknown field `quux`; known: activation_function, add_cross_attention"
    ):
        reader.refuse_unknown()


def test_an_unknown_family_is_named_with_the_known_ones() -> None:
    with pytest.raises(SpecError) as caught:
        registry.by_model_type("bert", "x/config.json")
    assert caught.value.message == (
        "x/config.json: `model_type` is 'bert', which Daypack does not know; "
        "known: gemma3_text, gpt2, llama, qwen2, qwen3"
    )
    with pytest.raises(
        SpecError,
        match=r"model: `family` is 'gpt3', which Daypack does not know; "
        "known: gemma3, gpt2, llama, qwen2, qwen3",
    ):
        registry.by_name("gpt3", "model")


def test_the_published_124m_model_has_its_published_parameters() -> None:
    parameters = structure_of(lambda: gpt2.GPT2(gpt2.GPT2Config())).parameters
    assert sum(_size(spec.shape) for spec in parameters.values()) == 124_439_808
    assert len(parameters) == 148


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
