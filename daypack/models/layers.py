# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""The modules every family is built of: projection (with an optional adapter), norm, embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from daypack.models.dropout import drop
from daypack.models.parameters import ONES, ZEROS, Initial, kaiming_uniform, parameter
from daypack.operators.norms import layer_norm, rms_norm


@dataclass(frozen=True, slots=True)
class AdapterShape:
    """What one low-rank adapter is: rank, the factor alpha / rank, dropout on its input, its dropout site."""

    rank: int
    scale: float
    dropout: float
    site: int


def positions(segments: Array) -> Array:
    """Each token's position in its document, int32 (B, T), where `segments` int32 (B, T) has the place in
    the row at which the document begins.
    """
    return jax.lax.broadcasted_iota(segments.dtype, segments.shape, 1) - segments


def rows_of(table: Any, ids: Array) -> Array:
    """table (rows, ...), ids int32 (B, T) in [0, rows) to (B, T, ...)."""
    return jnp.asarray(table).at[ids].get(mode="promise_in_bounds", wrap_negative_indices=False)


class Factor(nnx.Module):
    """One of the two matrices of an adapter; a module of its own so that its path is PEFT's name."""

    def __init__(self, shape: tuple[int, int], initial: Initial) -> None:
        self.weight: Any = parameter(shape, initial)


class Projection(nnx.Module):
    """x W + b, with W stored (in, out) as GPT-2's Conv1D does, or (out, in) as `torch.nn.Linear` does.

    With an adapter the result gains scale * drop(x) A^T B^T, A (rank, in), B (out, rank), as in PEFT.
    """

    def __init__(
        self, in_features: int, out_features: int, initial: Initial, *, input_first: bool, bias: bool = True
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.input_first = input_first
        shape = (in_features, out_features) if input_first else (out_features, in_features)
        self.weight: Any = parameter(shape, initial, input_axis=0 if input_first else 1)
        self.bias: Any = parameter((out_features,), ZEROS) if bias else nnx.data(None)
        self.adapter: AdapterShape | None = None
        self.lora_A: Any = nnx.data(None)
        self.lora_B: Any = nnx.data(None)

    def adapt(self, adapter: AdapterShape) -> None:
        """Give this projection an adapter: A as `torch.nn.Linear` starts, B zero, as PEFT has them."""
        self.adapter = adapter
        self.lora_A = Factor((adapter.rank, self.in_features), kaiming_uniform(self.in_features))
        self.lora_B = Factor((self.out_features, adapter.rank), ZEROS)

    def __call__(self, x: Array, keys: Array | None) -> Array:
        """x (B, T, in) to (B, T, out); keys (B,) as in `dropout.drop`."""
        y = jnp.einsum("bti,io->bto" if self.input_first else "bti,oi->bto", x, self.weight[...])
        if self.bias is not None:
            y = y + self.bias[...]
        if self.adapter is not None:
            y = y + self._adapted(x, keys, self.adapter)
        return y

    def _adapted(self, x: Array, keys: Array | None, adapter: AdapterShape) -> Array:
        x = drop(x, adapter.dropout, keys, adapter.site)
        low = jnp.einsum("bti,ri->btr", x, self.lora_A.weight[...])
        return jnp.einsum("btr,or->bto", low * adapter.scale, self.lora_B.weight[...])


class LayerNorm(nnx.Module):
    """Layer norm over the last axis with gain `weight` and shift `bias`."""

    def __init__(self, features: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.weight: Any = parameter((features,), ONES)
        self.bias: Any = parameter((features,), ZEROS)

    def __call__(self, x: Array) -> Array:
        return layer_norm(x, self.weight[...], self.bias[...], self.epsilon)


class Embedding(nnx.Module):
    """Rows of a table, `weight` (rows, features)."""

    def __init__(self, rows: int, features: int, initial: Initial) -> None:
        self.weight: Any = parameter((rows, features), initial)

    def rows(self, ids: Array) -> Array:
        """ids int32 (...) to (..., features); ids in [0, rows), which the data check, not the graph."""
        return rows_of(self.weight[...], ids)

    def first(self, count: int) -> Array:
        """The rows [0, count): (count, features)."""
        return self.weight[...][:count]


class RMSNorm(nnx.Module):
    """RMS norm over the last axis with gain `weight` + `offset`; Gemma stores its gains less one."""

    def __init__(self, features: int, epsilon: float, offset: float = 0.0) -> None:
        self.epsilon, self.offset = epsilon, offset
        self.weight: Any = parameter((features,), ZEROS if offset else ONES)

    def __call__(self, x: Array) -> Array:
        weight = self.weight[...]
        return rms_norm(x, weight + self.offset if self.offset else weight, self.epsilon)
