"""Gemma 3, text (Gemma Team 2025): sliding and global layers with a rotary base each, norms over heads and
after each branch, GeGLU, gains stored less one, scaled embeddings tied to the head.
"""

from __future__ import annotations

import math
from dataclasses import replace

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import DecoderConfig, Gate, LayerKind
from daypack.models.decoder_fields import (
    FULL_ATTENTION,
    SLIDING_ATTENTION,
    Defaults,
    decoder_family,
    read_decoder,
)
from daypack.models.rotary import Rotary, read_rotary, read_rotary_of

_PATTERN = 6
"""Every sixth layer sees all positions."""
_DEFAULTS = Defaults(
    vocabulary=262208,
    hidden=2304,
    inner=9216,
    layers=26,
    heads=8,
    groups=4,
    head_dim=256,
    positions=131072,
    tied=True,
)


def parse_config(reader: ConfigReader) -> DecoderConfig:
    """Read config.json; absent fields take `transformers`' defaults."""
    reader.only("hidden_activation", ("gelu_pytorch_tanh",))
    reader.only("attn_logit_softcapping", (None,))
    reader.only("final_logit_softcapping", (None,))
    reader.only("use_bidirectional_attention", (False,))
    config = read_decoder(reader, _DEFAULTS, Gate.GELU_TANH, _layers)
    bias = reader.boolean("attention_bias", False)
    return replace(
        config,
        scale=1.0 / math.sqrt(reader.positive_number("query_pre_attn_scalar", 256.0)),
        query_bias=bias,
        output_bias=bias,
        query_key_norm=True,
        norms_after=True,
        norm_offset=1.0,
        embedding_scale=math.sqrt(config.hidden_size),
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


FAMILY = decoder_family("gemma3", parse_config, model_type="gemma3_text")
