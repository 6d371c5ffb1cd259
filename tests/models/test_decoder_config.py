"""config.json of the decoder families: what is read, what is refused and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models import gemma3, llama, qwen2, qwen3
from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import DecoderConfig, LayerKind
from daypack.models.decoder_fields import published_name
from daypack.models.rotary import Llama3Scaling, Rotary

FAMILIES = {"gemma3": gemma3, "llama": llama, "qwen2": qwen2, "qwen3": qwen3}


def parse(family: str, **fields: Any) -> DecoderConfig:
    return FAMILIES[family].parse_config(ConfigReader(fields, "config.json"))


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("qwen2", {"num_key_value_heads": 5}, "`num_key_value_heads` is 5; expected a divisor of num_att"),
        ("qwen2", {"hidden_size": 33}, "`num_attention_heads` is 32; expected a divisor of hidden_size = 33"),
        ("qwen3", {"head_dim": 7}, "`head_dim` is 7; expected an even number: rotary embedding turns pairs"),
        ("qwen2", {"use_sliding_window": True}, "`use_sliding_window` is True; expected False: Daypack does"),
        (
            "llama",
            {"hidden_act": "relu"},
            "`hidden_act` is 'relu'; expected 'silu': Daypack does not",
        ),
        ("llama", {"rope_theta": 0}, "`rope_theta` is 0; expected a number above 0"),
        ("llama", {"rope_scaling": "linear"}, "`rope_scaling` is 'linear'; expected a table of fields"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
            "rope_scaling: `rope_type` is 'yarn'; expected 'default' or 'linear' or 'llama3'",
        ),
        (
            "llama",
            {"rope_scaling": {"type": "linear"}},
            "rope_scaling: `factor` is None; expected a number",
        ),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "factor": 8,
                    "low_freq_factor": 4,
                    "high_freq_factor": 4,
                    "original_max_position_embeddings": 64,
                }
            },
            "rope_parameters: `high_freq_factor` is 4.0; expected more than low_freq_factor",
        ),
        ("gemma3", {"final_logit_softcapping": 30.0}, "`final_logit_softcapping` is 30.0; expected None"),
        (
            "gemma3",
            {"num_hidden_layers": 2, "layer_types": ["full_attention"]},
            "`layer_types` is ['full_attention']; expected a list of 2 out of 'full_attention', 'sliding_at",
        ),
        ("gemma3", {"layer_types": "all"}, "`layer_types` is ['all']; expected a list of 26 out of"),
    ],
)
def test_what_cannot_be_computed_is_refused(family: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(family, **fields)
    assert caught.value.message.startswith(f"config.json: {message}")


def test_gemma_has_every_sixth_layer_global_or_as_the_config_says() -> None:
    config = parse("gemma3", num_hidden_layers=7, sliding_window=512)
    local, whole = LayerKind(Rotary(1e4), 512), LayerKind(Rotary(1e6))
    assert config.layers == (local,) * 5 + (whole, local)
    config = parse("gemma3", num_hidden_layers=2, sliding_window_pattern=2, rope_theta=5e5)
    assert config.layers == (LayerKind(Rotary(1e4), 4096), LayerKind(Rotary(5e5)))


def test_rotary_is_read_in_its_newer_and_older_form() -> None:
    scaling = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192}
    newer = parse("llama", rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **scaling})
    older = parse("llama", rope_theta=5e5, rope_scaling={"rope_type": "llama3", **scaling})
    assert newer.layers == older.layers
    assert older.layers[0].rotary == Rotary(5e5, llama3=Llama3Scaling(32.0, 1.0, 4.0, 8192))


def test_llama_3_slows_long_waves_and_keeps_short_ones() -> None:
    scaled = Rotary(5e5, llama3=Llama3Scaling(32.0, 1.0, 4.0, 8192)).frequencies(64)
    plain = Rotary(5e5).frequencies(64)
    np.testing.assert_array_equal(scaled[:8], plain[:8])
    np.testing.assert_allclose(scaled[-8:], plain[-8:] / 32.0, rtol=1e-6)


def test_the_bare_decoder_and_old_buffers_have_published_names() -> None:
    assert published_name("layers.0.mlp.up_proj.weight") == "model.layers.0.mlp.up_proj.weight"
    assert published_name("lm_head.weight") == "lm_head.weight"
    assert published_name("model.layers.0.self_attn.rotary_emb.inv_freq") is None
