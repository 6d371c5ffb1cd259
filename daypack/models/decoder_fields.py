"""The config fields that the decoder families have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from daypack.models.config_fields import ConfigReader


class SizeFields(TypedDict):
    """The fields of `DecoderConfig` that `Sizes` fills."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a decoder is."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    groups: int
    head_dim: int

    def fields(self) -> SizeFields:
        return SizeFields(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_attention_heads=self.heads,
            num_key_value_heads=self.groups,
            head_dim=self.head_dim,
        )


def read_sizes(
    reader: ConfigReader,
    *,
    vocabulary: int,
    hidden: int,
    inner: int,
    layers: int,
    heads: int,
    groups: int | None = None,
    head_dim: int | None = None,
) -> Sizes:
    """The sizes of a config, with the family's defaults; `head_dim` None: hidden / heads.

    Raises:
        SpecError: heads that do not share the key-value heads or the hidden size evenly, or an odd head size.
    """
    hidden = reader.positive("hidden_size", hidden)
    heads = reader.positive("num_attention_heads", heads)
    groups = reader.positive("num_key_value_heads", heads if groups is None else groups)
    if heads % groups:
        raise reader.error("num_key_value_heads", groups, f"a divisor of num_attention_heads = {heads}")
    if head_dim is None and "head_dim" not in reader and hidden % heads:
        raise reader.error(
            "num_attention_heads", heads, f"a divisor of hidden_size = {hidden}, or a head_dim"
        )
    width = reader.positive("head_dim", head_dim or hidden // heads)
    if width % 2:
        raise reader.error("head_dim", width, "an even number: rotary embedding turns pairs")
    return Sizes(
        vocabulary=reader.positive("vocab_size", vocabulary),
        hidden=hidden,
        inner=reader.positive("intermediate_size", inner),
        layers=reader.positive("num_hidden_layers", layers),
        heads=heads,
        groups=groups,
        head_dim=width,
    )


FULL_ATTENTION, SLIDING_ATTENTION = "full_attention", "sliding_attention"


def only_full_attention(reader: ConfigReader, layers: int) -> None:
    """Refuse sliding windows in families whose published models have none."""
    reader.only("use_sliding_window", (False,))
    reader.words("layer_types", (FULL_ATTENTION,), layers)
