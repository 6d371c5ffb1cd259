"""Where initial values come from: one tensor at a time, by published name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from daypack.models.parameters import Draw, Initial, ParameterSpec

FloatArray = NDArray[np.float32]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy element type of a name; bfloat16 is that of ml_dtypes."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


class TensorSource(Protocol):
    """Tensors by published name, in published layout; only the tensor being read is in memory."""

    def names(self) -> tuple[str, ...]:
        """Every name, in a fixed order."""
        ...

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        """(shape, numpy dtype name) of what `read` returns, without reading it."""
        ...

    def stored_dtype(self, name: str) -> str:
        """The element type that values have where they come from: no narrower one holds them all."""
        ...

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        """The tensor rounded to a floating-point type, C-contiguous; a new array at every call."""
        ...


class RandomSource:
    """Seeded initial values of `parameters`.

    Each tensor is drawn from a generator of its own, seeded with (seed, name), so that a value depends
    neither on the order of reading nor on which other tensors there are.
    """

    def __init__(self, parameters: Mapping[str, ParameterSpec], seed: int) -> None:
        self._parameters = dict(parameters)
        self._seed = seed

    def names(self) -> tuple[str, ...]:
        return tuple(self._parameters)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        parameter = self._parameters[name]
        return parameter.shape, parameter.dtype

    def stored_dtype(self, name: str) -> str:
        return self._parameters[name].dtype

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        parameter = self._parameters[name]
        digest = hashlib.sha256(name.encode()).digest()
        words = np.frombuffer(digest, np.dtype("<u4")).tolist()
        generator = np.random.Generator(np.random.PCG64([self._seed, *words]))
        drawn = _draw(generator, parameter.shape, parameter.initial)
        with np.errstate(over="ignore"):  # whoever asks for a narrower type looks at what became of it
            return drawn.astype(numpy_dtype(dtype), copy=False)


def _draw(generator: np.random.Generator, shape: tuple[int, ...], initial: Initial) -> FloatArray:
    scale = np.float32(initial.scale)
    match initial.draw:
        case Draw.CONSTANT:
            return np.full(shape, scale, np.float32)
        case Draw.NORMAL:
            return generator.standard_normal(shape, np.float32) * scale
        case Draw.UNIFORM:
            return (2 * generator.random(shape, np.float32) - 1) * scale


class JoinedSource:
    """Several sources with disjoint names as one."""

    def __init__(self, sources: Sequence[TensorSource]) -> None:
        self._owner = {name: source for source in sources for name in source.names()}

    def names(self) -> tuple[str, ...]:
        return tuple(self._owner)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        return self._owner[name].spec(name)

    def stored_dtype(self, name: str) -> str:
        return self._owner[name].stored_dtype(name)

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        return self._owner[name].read(name, dtype)
