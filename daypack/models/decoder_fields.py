"""The config fields that the decoder families have in common, and what makes a family of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from daypack.models.config_fields import ConfigReader
from daypack.models.decoder import CausalLM, DecoderConfig, Gate, LayerKind
from daypack.models.family import Family
from daypack.models.rotary import read_rotary

ROTARY_THETA = 10_000.0
"""The rotary base of `transformers`' configs that declare none."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """`transformers`' values of absent fields; `groups` None: the heads; `head_dim` None: hidden / heads."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    positions: int
    groups: int | None = None
    head_dim: int | None = None
    tied: bool = False


def alike_layers(reader: ConfigReader, count: int) -> tuple[LayerKind, ...]:
    """Layers that all see every position, under one rotary embedding."""
    return (LayerKind(read_rotary(reader, ROTARY_THETA)),) * count


def read_decoder(
    reader: ConfigReader,
    defaults: Defaults,
    gate: Gate,
    layers: Callable[[ConfigReader, int], tuple[LayerKind, ...]] = alike_layers,
) -> DecoderConfig:
    """The config as far as all families agree; scores are divided by the root of the head size.

    Raises:
        SpecError: heads that do not share the key-value heads or the hidden size evenly, or an odd head size.
    """
    hidden = reader.positive("hidden_size", defaults.hidden)
    heads = reader.positive("num_attention_heads", defaults.heads)
    groups = reader.positive("num_key_value_heads", heads if defaults.groups is None else defaults.groups)
    if heads % groups:
        raise reader.error("num_key_value_heads", groups, f"a divisor of num_attention_heads = {heads}")
    if defaults.head_dim is None and "head_dim" not in reader and hidden % heads:
        raise reader.error("num_attention_heads", heads, f"a divisor of hidden_size = {hidden}")
    width = reader.positive("head_dim", defaults.head_dim or hidden // heads)
    if width % 2:
        raise reader.error("head_dim", width, "an even number: rotary embedding turns pairs")
    return DecoderConfig(
        vocab_size=reader.positive("vocab_size", defaults.vocabulary),
        hidden_size=hidden,
        intermediate_size=reader.positive("intermediate_size", defaults.inner),
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=width,
        max_position_embeddings=reader.positive("max_position_embeddings", defaults.positions),
        layers=layers(reader, reader.positive("num_hidden_layers", defaults.layers)),
        rms_norm_eps=reader.fraction("rms_norm_eps", 1e-6),
        gate=gate,
        scale=1.0 / math.sqrt(width),
        tie_word_embeddings=reader.boolean("tie_word_embeddings", defaults.tied),
        attention_dropout=reader.fraction("attention_dropout", 0.0),
        initializer_range=reader.fraction("initializer_range", 0.02),
    )


FULL_ATTENTION, SLIDING_ATTENTION = "full_attention", "sliding_attention"


def only_full_attention(reader: ConfigReader, layers: int) -> None:
    """Refuse sliding windows in families whose published models have none."""
    reader.only("use_sliding_window", (False,))
    reader.words("layer_types", (FULL_ATTENTION,), layers)


def decoder_family(
    name: str, parse_config: Callable[[ConfigReader], DecoderConfig], model_type: str | None = None
) -> Family:
    """A family of this decoder; `model_type` is its name unless given. The targets are PEFT's for all."""
    return Family(
        name=name,
        model_type=model_type or name,
        parse_config=parse_config,
        build=CausalLM,
        published_name=published_name,
        tied={"lm_head.weight": "model.embed_tokens.weight"},
        default_targets=("q_proj", "v_proj"),
    )


def published_name(name: str) -> str | None:
    """The parameter of a stored tensor; None for the rotary buffers of old checkpoints."""
    if name.endswith("rotary_emb.inv_freq"):
        return None
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
