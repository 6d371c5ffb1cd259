"""Qwen 3 (Yang et al. 2025), dense: RMS norms over each head of queries and keys instead of biases."""

from __future__ import annotations

from dataclasses import replace

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import DecoderConfig, Gate
from daypack.models.decoder_fields import Defaults, decoder_family, only_full_attention, read_decoder

_DEFAULTS = Defaults(
    vocabulary=151936, hidden=4096, inner=22016, layers=32, heads=32, groups=32, head_dim=128, positions=32768
)


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_act", ("silu",))
    config = read_decoder(reader, _DEFAULTS, Gate.SILU)
    only_full_attention(reader, len(config.layers))
    bias = reader.boolean("attention_bias", False)
    return replace(config, query_bias=bias, output_bias=bias, query_key_norm=True)


FAMILY = decoder_family("qwen3", parse_config)
