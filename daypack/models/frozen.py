# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""How frozen matrices are stored, and what the step computes with: always float32 decoded from it.

| stored as | arrays | decoded |
|---|---|---|
| float32, bfloat16, float16 | the matrix, rounded to nearest | exactly |
| int8 | q int8, scales float16, one a group of inputs | q · scale |
| int4 | q + 8 in four bits, two a byte, scales float16 | q · scale |

Integers are symmetric: a group of `group` consecutive inputs of one output has the scale max |w| / 127 (or
/ 7), rounded to float16, and q = w / scale rounded to nearest, limited to ±127 (±7). A byte holds columns j
(low four bits) and j + columns / 2 of a row.

Only matrices are encoded: projections, embedding tables and output heads alike. Vectors (norms, biases) stay
float32. The decoding is plain JAX, part of the step's loss; the compiler puts it into the kernels that read
the matrix, so that no float32 copy exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.parameters import ParameterSpec
from daypack.models.sources import TensorSource

SCALES = ".scale"
"""Behind the name of a matrix stored as integers: its scales."""
INTEGERS = {"int8": 127, "int4": 7}
"""The largest q of each integer encoding."""
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one matrix (rows, columns) is stored; `group` inputs along `axis` share a scale, for integers."""

    dtype: str
    group: int
    axis: int

    def stored(self, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
        """What is added to the name of the matrix → shape and element type of an array."""
        rows, columns = shape
        if self.dtype not in INTEGERS:
            return {"": (shape, self.dtype)}
        scales = (rows // self.group, columns) if self.axis == 0 else (rows, columns // self.group)
        whole = (shape, "int8") if self.dtype == "int8" else ((rows, columns // 2), "uint8")
        return {"": whole, SCALES: (scales, "float16")}


@dataclass(frozen=True, slots=True)
class FrozenForm:
    """What a spec asks for: `dtype` "checkpoint" leaves every matrix as the checkpoint has it."""

    dtype: str
    group: int


def encodings(
    form: FrozenForm, parameters: Mapping[str, ParameterSpec], source: TensorSource
) -> dict[str, Encoding]:
    """The encoding of every matrix among the frozen `parameters`.

    Raises:
        SpecError: groups do not divide the inputs of a matrix, or two columns do not fill a byte.
    """
    found: dict[str, Encoding] = {}
    for name, parameter in parameters.items():
        if len(parameter.shape) != 2:
            continue
        dtype = source.stored_dtype(name) if form.dtype == "checkpoint" else form.dtype
        found[name] = Encoding(dtype, form.group, parameter.input_axis)
        if dtype not in INTEGERS:
            continue
        inputs = parameter.shape[parameter.input_axis]
        if inputs % form.group:
            raise SpecError(
                f"train.frozen_group is {form.group}, which does not divide the {inputs} inputs of `{name}`; "
                'take another group, or train.frozen_dtype = "bfloat16"'
            )
        if dtype == "int4" and parameter.shape[1] % 2:
            raise SpecError(
                f'train.frozen_dtype is "int4", and `{name}` has {parameter.shape[1]} columns, an odd '
                'number: two share a byte; take "int8"'
            )
    return found


class EncodedSource:
    """The arrays of `base`, with the matrices of `encodings` stored as those say."""

    def __init__(self, base: TensorSource, encodings: Mapping[str, Encoding]) -> None:
        self._base = base
        self._encodings = dict(encodings)
        self._parts = {
            name + suffix: (name, suffix) for name in base.names() for suffix in self._stored(name)
        }

    def _stored(self, name: str) -> dict[str, tuple[tuple[int, ...], str]]:
        shape, dtype = self._base.spec(name)
        encoding = self._encodings.get(name)
        return {"": (shape, dtype)} if encoding is None else encoding.stored(shape)

    def names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        base, suffix = self._parts[name]
        return self._stored(base)[suffix]

    def stored_dtype(self, name: str) -> str:
        return self.spec(name)[1]

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        """The stored array; `dtype` says nothing where there is an encoding.

        Raises:
            SpecError: a value is too large for float16, as itself or as a scale.
        """
        base, suffix = self._parts[name]
        encoding = self._encodings.get(base)
        if encoding is None:
            return self._base.read(base, dtype)
        if encoding.dtype not in INTEGERS:
            array = self._base.read(base, encoding.dtype)
            return _finite(array, base) if encoding.dtype == "float16" else array
        q, scales = quantized(self._base.read(base), encoding, base)
        return scales if suffix else q


BLOCK_ROWS = 4096
"""Rows that are quantized at a time: a multiple of every group, small beside a large table."""


def quantized(matrix: NDArray[Any], encoding: Encoding, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """(integers as they are stored, scales) of a float32 matrix; `name` is for the message."""
    blocks = [matrix[first : first + BLOCK_ROWS] for first in range(0, len(matrix), BLOCK_ROWS)]
    parts = [_quantized_block(block, encoding, name) for block in blocks]
    return np.concatenate([q for q, _ in parts]), np.concatenate([scales for _, scales in parts])


def _quantized_block(
    matrix: NDArray[Any], encoding: Encoding, name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, columns = matrix.shape
    axis, group, most = encoding.axis % 2, encoding.group, INTEGERS[encoding.dtype]
    grouped = matrix.reshape(rows // group, group, columns) if axis == 0 else matrix.reshape(rows, -1, group)
    inner = 1 if axis == 0 else 2
    highest = np.abs(grouped).max(axis=inner, keepdims=True)
    with np.errstate(over="ignore"):
        scales = _finite((highest / np.float32(most)).astype(np.float16), name)
    factor = np.where(scales == 0, np.inf, scales).astype(np.float32)
    q = np.clip(np.rint(grouped / factor), -most, most).astype(np.int8).reshape(rows, columns)
    if encoding.dtype == "int4":
        high = columns // 2
        biased = (q + np.int8(8)).view(np.uint8)
        q = biased[:, :high] | (biased[:, high:] << np.uint8(4))
    return q, scales.squeeze(inner)


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise SpecError(
            f"`{name}` holds values that float16 cannot, which ends at 65504; "
            'take train.frozen_dtype = "bfloat16" or "float32"'
        )
    return array


def decoded(stored: Arrays, encodings: Mapping[str, Encoding]) -> dict[str, Array]:
    """The float32 arrays that stored ones stand for, by the names of the model's parameters."""
    names = [name for name in stored if not name.endswith(SCALES)]
    return {name: _decoded(stored, name, encodings.get(name)) for name in names}


def _decoded(stored: Arrays, name: str, encoding: Encoding | None) -> Array:
    array = stored[name]
    if encoding is None or encoding.dtype == "float32":
        return array
    if encoding.dtype not in INTEGERS:
        return array.astype(jnp.float32)
    q = array.astype(jnp.float32) if encoding.dtype == "int8" else _unpacked(array)
    scales = stored[name + SCALES].astype(jnp.float32)
    rows, columns = scales.shape
    if encoding.axis % 2 == 0:
        spread = jax.lax.broadcast_in_dim(scales, (rows, encoding.group, columns), (0, 2))
    else:
        spread = jax.lax.broadcast_in_dim(scales, (rows, columns, encoding.group), (0, 1))
    return q * spread.reshape(q.shape)


def _unpacked(packed: Array) -> Array:
    """Two integers of four bits a byte: uint8 (rows, columns / 2) to float32 (rows, columns)."""
    rows, half = packed.shape
    both = jax.lax.broadcast_in_dim(packed, (rows, 2, half), (0, 2))
    places = jax.lax.broadcasted_iota(jnp.uint8, both.shape, 1) * jnp.uint8(4)
    nibbles = jax.lax.shift_right_logical(both, places) & jnp.uint8(15)
    return (nibbles.astype(jnp.float32) - 8.0).reshape(rows, 2 * half)
