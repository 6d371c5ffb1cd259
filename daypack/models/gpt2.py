# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""GPT-2 as published (Radford et al. 2019), with the names and layouts of `transformers`' GPT2LMHeadModel.

Pre-norm blocks, learned positions, Conv1D weights (in, out), gelu_new, a head tied to the token embedding,
dropout after the embeddings, on the attention probabilities and after each residual branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from daypack.models.config_fields import ConfigReader
from daypack.models.dropout import drop, dropping
from daypack.models.family import Family
from daypack.models.layers import Embedding, LayerNorm, Projection, positions
from daypack.models.parameters import normal
from daypack.operators.activations import gelu_tanh
from daypack.operators.attention import attention


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """The fields of `transformers.GPT2Config` that shape the computation, under their published names."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int = 3072
    layer_norm_epsilon: float = 1e-5
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    scale_attn_weights: bool = True
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02

    @property
    def max_sequence(self) -> int:
        return self.n_positions

    def with_dropout(self, rate: float) -> GPT2Config:
        """The same model with every dropout rate of its own set to `rate`."""
        return replace(self, embd_pdrop=rate, attn_pdrop=rate, resid_pdrop=rate)


def parse_config(reader: ConfigReader) -> GPT2Config:
    """Read config.json: absent fields take the published defaults, other settings are named errors."""
    reader.only("activation_function", ("gelu_new", "gelu_pytorch_tanh"))
    reader.only("scale_attn_by_inverse_layer_idx", (False,))
    reader.only("reorder_and_upcast_attn", (False,))
    reader.only("add_cross_attention", (False,))
    width = reader.positive("n_embd", 768)
    heads = reader.positive("n_head", 12)
    if width % heads:
        raise reader.error("n_head", heads, f"a divisor of n_embd = {width}")
    return GPT2Config(
        vocab_size=reader.positive("vocab_size", 50257),
        n_positions=reader.positive("n_positions", 1024),
        n_embd=width,
        n_layer=reader.positive("n_layer", 12),
        n_head=heads,
        n_inner=reader.positive("n_inner", 4 * width),
        layer_norm_epsilon=reader.fraction("layer_norm_epsilon", 1e-5),
        embd_pdrop=reader.fraction("embd_pdrop", 0.1),
        attn_pdrop=reader.fraction("attn_pdrop", 0.1),
        resid_pdrop=reader.fraction("resid_pdrop", 0.1),
        scale_attn_weights=reader.boolean("scale_attn_weights", True),
        tie_word_embeddings=reader.boolean("tie_word_embeddings", True),
        initializer_range=reader.fraction("initializer_range", 0.02),
    )


# Dropout sites: 0 after the embeddings, then three a block; adapters have theirs from `ADAPTER_SITES` on.
_SITES_PER_BLOCK = 3


class Attention(nnx.Module):
    """Causal self-attention of `n_head` heads: x (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPT2Config, site: int) -> None:
        width, spread = config.n_embd, config.initializer_range
        self.heads = config.n_head
        self.scale = 1.0 / math.sqrt(width // config.n_head) if config.scale_attn_weights else 1.0
        self.attn_pdrop, self.resid_pdrop, self.site = config.attn_pdrop, config.resid_pdrop, site
        self.c_attn = Projection(width, 3 * width, normal(spread), input_first=True)
        self.c_proj = Projection(width, width, normal(_residual_spread(config)), input_first=True)

    def __call__(self, x: Array, keys: Array | None, segments: Array | None) -> Array:
        batch, time, width = x.shape
        split = (batch, time, self.heads, width // self.heads)
        q, k, v = (part.reshape(split) for part in jnp.split(self.c_attn(x, keys), 3, axis=-1))
        dropped = dropping(self.attn_pdrop, keys, self.site)
        mixed = attention(q, k, v, scale=self.scale, segments=segments, dropped=dropped)
        return drop(self.c_proj(mixed.reshape(x.shape), keys), self.resid_pdrop, keys, self.site + 1)


class MLP(nnx.Module):
    """Two projections with gelu_new between: x (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPT2Config, site: int) -> None:
        self.resid_pdrop, self.site = config.resid_pdrop, site
        self.c_fc = Projection(
            config.n_embd, config.n_inner, normal(config.initializer_range), input_first=True
        )
        self.c_proj = Projection(
            config.n_inner, config.n_embd, normal(_residual_spread(config)), input_first=True
        )

    def __call__(self, x: Array, keys: Array | None) -> Array:
        hidden = gelu_tanh(self.c_fc(x, keys))
        return drop(self.c_proj(hidden, keys), self.resid_pdrop, keys, self.site)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPT2Config, site: int) -> None:
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config, site)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = MLP(config, site + 2)

    def __call__(self, x: Array, keys: Array | None, segments: Array | None) -> Array:
        x = x + self.attn(self.ln_1(x), keys, segments)
        return x + self.mlp(self.ln_2(x), keys)


class Transformer(nnx.Module):
    """Embeddings, blocks, final norm: ids (B, T) to (B, T, C)."""

    def __init__(self, config: GPT2Config) -> None:
        self.embd_pdrop = config.embd_pdrop
        self.wte = Embedding(config.vocab_size, config.n_embd, normal(config.initializer_range))
        self.wpe = Embedding(config.n_positions, config.n_embd, normal(config.initializer_range))
        self.h = nnx.List([Block(config, 1 + _SITES_PER_BLOCK * layer) for layer in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon)

    def __call__(self, ids: Array, keys: Array | None, segments: Array | None) -> Array:
        time = ids.shape[1]
        places = self.wpe.first(time) if segments is None else self.wpe.rows(positions(segments))
        x = drop(self.wte.rows(ids) + places, self.embd_pdrop, keys, 0)
        for block in self.h:
            x = block(x, keys, segments)
        return self.ln_f(x)


class GPT2(nnx.Module):
    """The language model: ids int32 (B, T) to logits float32 (B, T, V). `keys` (B,) turn dropout on;
    `segments` as `layers.positions` takes them.
    """

    def __init__(self, config: GPT2Config) -> None:
        self.transformer = Transformer(config)
        self.lm_head: Any = nnx.data(None)
        if not config.tie_word_embeddings:
            self.lm_head = Projection(
                config.n_embd,
                config.vocab_size,
                normal(config.initializer_range),
                input_first=False,
                bias=False,
            )

    @property
    def head_name(self) -> str | None:
        """The published name of the output head's matrix (V, C); None where the head is more than a
        matrix.
        """
        if self.lm_head is None:
            return "transformer.wte.weight"
        return "lm_head.weight" if self.lm_head.adapter is None else None

    def hidden(self, ids: Array, keys: Array | None = None, segments: Array | None = None) -> Array:
        """What the head is applied to: ids (B, T) to (B, T, C)."""
        return self.transformer(ids, keys, segments)

    def __call__(self, ids: Array, keys: Array | None = None, segments: Array | None = None) -> Array:
        hidden = self.hidden(ids, keys, segments)
        if self.lm_head is not None:
            return self.lm_head(hidden, keys)
        return jnp.einsum("btc,vc->btv", hidden, self.transformer.wte.weight[...])


def _residual_spread(config: GPT2Config) -> float:
    """Projections into the residual stream start smaller, by sqrt(2 n_layer) (GPT-2 paper, section 2.3)."""
    return config.initializer_range / math.sqrt(2 * config.n_layer)


def published_name(name: str) -> str | None:
    """The name GPT2LMHeadModel gives a stored tensor, or None for a stored buffer that is not a parameter.

    The published checkpoints hold the bare transformer (`h.0...`) and each block's causal mask.
    """
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


FAMILY = Family(
    name="gpt2",
    model_type="gpt2",
    parse_config=parse_config,
    build=GPT2,
    published_name=published_name,
    tied={"lm_head.weight": "transformer.wte.weight"},
    default_targets=("c_attn",),
    fan_in_fan_out=True,
)
