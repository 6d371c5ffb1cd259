"""Qwen 2 and 2.5 (Yang et al. 2024): biases on queries, keys and values, SwiGLU, tied or untied head."""

from __future__ import annotations

from dataclasses import replace

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import DecoderConfig, Gate
from daypack.models.decoder_fields import Defaults, decoder_family, only_full_attention, read_decoder

_DEFAULTS = Defaults(
    vocabulary=151936, hidden=4096, inner=22016, layers=32, heads=32, groups=32, positions=32768
)


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_act", ("silu",))
    config = read_decoder(reader, _DEFAULTS, Gate.SILU)
    only_full_attention(reader, len(config.layers))
    return replace(config, query_bias=True)


FAMILY = decoder_family("qwen2", parse_config)
