"""Gemma 3, text (Gemma Team 2025): sliding and global layers with a rotary base each, norms over heads and
after each branch, GeGLU, gains stored less one, scaled embeddings tied to the head.
"""

from __future__ import annotations

import math

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
from daypack.models.decoder_fields import FULL_ATTENTION, SLIDING_ATTENTION, read_sizes
from daypack.models.family import Family
from daypack.models.rotary import Rotary, read_rotary, read_rotary_of

_PATTERN = 6
"""Every sixth layer sees all positions."""


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_activation", ("gelu_pytorch_tanh",))
    reader.only("attn_logit_softcapping", (None,))
    reader.only("final_logit_softcapping", (None,))
    reader.only("use_bidirectional_attention", (False,))
    sizes = read_sizes(
        reader, hidden=2304, inner=9216, layers=26, heads=8, groups=4, head_dim=256, vocabulary=262208
    )
    bias = reader.boolean("attention_bias", False)
    return DecoderConfig(
        **sizes.fields(),
        max_position_embeddings=reader.positive("max_position_embeddings", 131072),
        layers=_layers(reader, sizes.layers),
        rms_norm_eps=reader.fraction("rms_norm_eps", 1e-6),
        gate=Gate.GELU_TANH,
        scale=inverse_root(reader.positive_number("query_pre_attn_scalar", 256.0)),
        tie_word_embeddings=reader.boolean("tie_word_embeddings", True),
        attention_dropout=reader.fraction("attention_dropout", 0.0),
        query_bias=bias,
        output_bias=bias,
        query_key_norm=True,
        norms_after=True,
        norm_offset=1.0,
        embedding_scale=math.sqrt(sizes.hidden),
        initializer_range=reader.fraction("initializer_range", 0.02),
    )


def _layers(reader: ConfigReader, count: int) -> tuple[LayerKind, ...]:
    """`layer_types`, or every `sliding_window_pattern`-th layer global; each kind with its rotary base."""
    pattern = reader.positive("sliding_window_pattern", reader.positive("_sliding_window_pattern", _PATTERN))
    window = reader.positive("sliding_window", 4096)
    by_pattern = tuple(
        FULL_ATTENTION if number % pattern == 0 else SLIDING_ATTENTION for number in range(1, count + 1)
    )
    types = reader.words("layer_types", (FULL_ATTENTION, SLIDING_ATTENTION), count) or by_pattern
    local = Rotary(reader.positive_number("rope_local_base_freq", 10_000.0))
    if any(kind in reader.table("rope_parameters") for kind in (FULL_ATTENTION, SLIDING_ATTENTION)):
        whole = read_rotary_of(reader, FULL_ATTENTION, Rotary(1_000_000.0))
        local = read_rotary_of(reader, SLIDING_ATTENTION, local)
    else:
        whole = read_rotary(reader, 1_000_000.0)
    kinds = {FULL_ATTENTION: LayerKind(whole), SLIDING_ATTENTION: LayerKind(local, window)}
    return tuple(kinds[kind] for kind in types)


FAMILY = Family(
    name="gemma3",
    model_type="gemma3_text",
    parse_config=parse_config,
    build=CausalLM,
    published_name=published_name,
    tied=TIED,
    default_targets=TARGETS,
)
