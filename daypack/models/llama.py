"""Llama 3.2 (Dubey et al. 2024) and what shares its architecture, SmolLM2 among them: SwiGLU, no biases."""

from __future__ import annotations

from dataclasses import replace

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import DecoderConfig, Gate
from daypack.models.decoder_fields import Defaults, decoder_family, read_decoder

_DEFAULTS = Defaults(vocabulary=32000, hidden=4096, inner=11008, layers=32, heads=32, positions=2048)


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_act", ("silu",))
    bias = reader.boolean("attention_bias", False)
    return replace(
        read_decoder(reader, _DEFAULTS, Gate.SILU),
        query_bias=bias,
        output_bias=bias,
        mlp_bias=reader.boolean("mlp_bias", False),
    )


FAMILY = decoder_family("llama", parse_config)
