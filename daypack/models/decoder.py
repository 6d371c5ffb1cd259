# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""The decoder that Llama, Qwen and Gemma share: RMS norms, rotary grouped-query attention, a gated MLP.

A family describes itself with a `DecoderConfig`; attribute paths are the published parameter names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from daypack.models.dropout import dropping
from daypack.models.layers import Embedding, Projection, RMSNorm, positions, rows_of
from daypack.models.parameters import normal
from daypack.models.rotary import Rotary, tables
from daypack.operators.activations import gelu_gate, silu_gate
from daypack.operators.attention import attention
from daypack.operators.rotary import rotate


class Gate(Enum):
    """The activation of the gated MLP."""

    SILU = "silu"
    GELU_TANH = "gelu_pytorch_tanh"


GATES: dict[Gate, Callable[[Array, Array], Array]] = {Gate.SILU: silu_gate, Gate.GELU_TANH: gelu_gate}


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What one layer's attention sees and how it is turned: `window` positions back, or all of them."""

    rotary: Rotary
    window: int | None = None


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """One architecture, in the published terms where there are any.

    `layers` has one entry a layer. `scale` multiplies the attention scores, `embedding_scale` the embedded
    tokens. `norm_offset` is added to every RMS norm's weight. `query_key_norm`: RMS norms over each head.
    `norms_after`: further norms of what attention and MLP add to the residual stream.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    layers: tuple[LayerKind, ...]
    rms_norm_eps: float
    gate: Gate
    scale: float
    tie_word_embeddings: bool
    attention_dropout: float = 0.0
    query_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    query_key_norm: bool = False
    norms_after: bool = False
    norm_offset: float = 0.0
    embedding_scale: float = 1.0
    initializer_range: float = 0.02

    @property
    def max_sequence(self) -> int:
        return self.max_position_embeddings

    def with_dropout(self, rate: float) -> DecoderConfig:
        """The same model with every dropout rate of its own set to `rate`."""
        return replace(self, attention_dropout=rate)

    def norm(self, features: int) -> RMSNorm:
        return RMSNorm(features, self.rms_norm_eps, self.norm_offset)

    def projection(self, in_features: int, out_features: int, *, bias: bool) -> Projection:
        initial = normal(self.initializer_range)
        return Projection(in_features, out_features, initial, input_first=False, bias=bias)


class Attention(nnx.Module):
    """Rotary attention whose query heads share fewer key-value heads: x (B, T, C) to (B, T, C)."""

    def __init__(self, config: DecoderConfig, kind: LayerKind, site: int) -> None:
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.scale, self.kind = config.head_dim, config.scale, kind
        self.dropout, self.site = config.attention_dropout, site
        width, hidden = config.head_dim, config.hidden_size
        self.q_proj = config.projection(hidden, self.heads * width, bias=config.query_bias)
        self.k_proj = config.projection(hidden, self.groups * width, bias=config.query_bias)
        self.v_proj = config.projection(hidden, self.groups * width, bias=config.query_bias)
        self.o_proj = config.projection(self.heads * width, hidden, bias=config.output_bias)
        self.q_norm: Any = config.norm(width) if config.query_key_norm else nnx.data(None)
        self.k_norm: Any = config.norm(width) if config.query_key_norm else nnx.data(None)

    def __call__(self, x: Array, keys: Array | None, segments: Array | None) -> Array:
        q = self._heads(self.q_proj(x, keys), self.heads)
        k = self._heads(self.k_proj(x, keys), self.groups)
        v = self._heads(self.v_proj(x, keys), self.groups)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        along, across = tables(self.kind.rotary, self.head_dim, x.shape[1])
        if segments is not None:
            along, across = (rows_of(table, positions(segments)) for table in (along, across))
        mixed = attention(
            rotate(q, along, across),
            rotate(k, along, across),
            v,
            scale=self.scale,
            window=self.kind.window,
            segments=segments,
            dropped=dropping(self.dropout, keys, self.site),
        )
        return self.o_proj(mixed.reshape(*x.shape[:2], -1), keys)

    def _heads(self, x: Array, count: int) -> Array:
        return x.reshape(*x.shape[:2], count, self.head_dim)


class MLP(nnx.Module):
    """down(activation(gate(x)) · up(x)): x (B, T, C) to (B, T, C)."""

    def __init__(self, config: DecoderConfig) -> None:
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate = config.gate
        self.gate_proj = config.projection(hidden, inner, bias=bias)
        self.up_proj = config.projection(hidden, inner, bias=bias)
        self.down_proj = config.projection(inner, hidden, bias=bias)

    def __call__(self, x: Array, keys: Array | None) -> Array:
        product = GATES[self.gate](self.gate_proj(x, keys), self.up_proj(x, keys))
        return self.down_proj(product, keys)


class Layer(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), each addition normed too where the family does so.

    `post_attention_layernorm` is published under one name for two places: before the MLP, or, where there
    are norms after, after attention.
    """

    def __init__(self, config: DecoderConfig, number: int) -> None:
        self.self_attn = Attention(config, config.layers[number], number)
        self.mlp = MLP(config)
        self.input_layernorm = config.norm(config.hidden_size)
        self.post_attention_layernorm = config.norm(config.hidden_size)
        self.pre_feedforward_layernorm: Any = nnx.data(None)
        self.post_feedforward_layernorm: Any = nnx.data(None)
        if config.norms_after:
            self.pre_feedforward_layernorm = config.norm(config.hidden_size)
            self.post_feedforward_layernorm = config.norm(config.hidden_size)

    def __call__(self, x: Array, keys: Array | None, segments: Array | None) -> Array:
        mixed = self.self_attn(self.input_layernorm(x), keys, segments)
        if self.pre_feedforward_layernorm is None:
            x = x + mixed
            return x + self.mlp(self.post_attention_layernorm(x), keys)
        x = x + self.post_attention_layernorm(mixed)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x), keys))


class Decoder(nnx.Module):
    """Embedding, layers, final norm: ids (B, T) to (B, T, C)."""

    def __init__(self, config: DecoderConfig) -> None:
        self.embedding_scale = config.embedding_scale
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, normal(config.initializer_range))
        self.layers = nnx.List([Layer(config, number) for number in range(len(config.layers))])
        self.norm = config.norm(config.hidden_size)

    def __call__(self, ids: Array, keys: Array | None, segments: Array | None) -> Array:
        x = self.embed_tokens.rows(ids)
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        for layer in self.layers:
            x = layer(x, keys, segments)
        return self.norm(x)


class CausalLM(nnx.Module):
    """The language model: ids int32 (B, T) to logits float32 (B, T, V). `keys` (B,) turn dropout on;
    `segments` as `layers.positions` takes them.
    """

    def __init__(self, config: DecoderConfig) -> None:
        self.model = Decoder(config)
        self.lm_head: Any = nnx.data(None)
        if not config.tie_word_embeddings:
            self.lm_head = config.projection(config.hidden_size, config.vocab_size, bias=False)

    @property
    def head_name(self) -> str | None:
        """The published name of the output head's matrix (V, C); None where the head is more than a
        matrix.
        """
        if self.lm_head is None:
            return "model.embed_tokens.weight"
        return "lm_head.weight" if self.lm_head.adapter is None else None

    def hidden(self, ids: Array, keys: Array | None = None, segments: Array | None = None) -> Array:
        """What the head is applied to: ids (B, T) to (B, T, C)."""
        return self.model(ids, keys, segments)

    def __call__(self, ids: Array, keys: Array | None = None, segments: Array | None = None) -> Array:
        hidden = self.hidden(ids, keys, segments)
        if self.lm_head is not None:
            return self.lm_head(hidden, keys)
        return jnp.einsum("btc,vc->btv", hidden, self.model.embed_tokens.weight[...])
