"""Llama 3.2 (Dubey et al. 2024) and what shares its architecture, SmolLM2 among them: SwiGLU, no biases."""

from __future__ import annotations

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import (
    TARGETS,
    TIED,
    CausalLM,
    DecoderConfig,
    Gate,
    LayerKind,
    inverse_root,
    published_name,
)
from daypack.models.decoder_fields import read_sizes
from daypack.models.family import Family
from daypack.models.rotary import read_rotary


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_act", ("silu",))
    sizes = read_sizes(reader, hidden=4096, inner=11008, layers=32, heads=32, vocabulary=32000)
    bias = reader.boolean("attention_bias", False)
    return DecoderConfig(
        **sizes.fields(),
        max_position_embeddings=reader.positive("max_position_embeddings", 2048),
        layers=(LayerKind(read_rotary(reader, 10_000.0)),) * sizes.layers,
        rms_norm_eps=reader.fraction("rms_norm_eps", 1e-6),
        gate=Gate.SILU,
        scale=inverse_root(sizes.head_dim),
        tie_word_embeddings=reader.boolean("tie_word_embeddings", False),
        attention_dropout=reader.fraction("attention_dropout", 0.0),
        query_bias=bias,
        output_bias=bias,
        mlp_bias=reader.boolean("mlp_bias", False),
        initializer_range=reader.fraction("initializer_range", 0.02),
    )


FAMILY = Family(
    name="llama",
    model_type="llama",
    parse_config=parse_config,
    build=CausalLM,
    published_name=published_name,
    tied=TIED,
    default_targets=TARGETS,
)
