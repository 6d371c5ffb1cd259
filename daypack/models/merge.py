"""A base model and what was trained on it as one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.models.parameters import ParameterSpec
from daypack.models.sources import TensorSource, numpy_dtype
from daypack.models.structure import ADAPTER_PREFIX


class MergedSource:
    """`parameters`, each as trained, as base + scale · B · A where it has an adapter, or as in the base.

    A (rank, in) and B (out, rank) are PEFT's; a weight stored (in, out) gains the transpose. Reading holds
    one weight and its product, float32.
    """

    def __init__(
        self,
        parameters: Mapping[str, ParameterSpec],
        base: TensorSource,
        trained: TensorSource,
        scale: float,
    ) -> None:
        self._parameters = dict(parameters)
        self._base, self._trained, self._scale = base, trained, scale
        self._known = frozenset(trained.names())

    def names(self) -> tuple[str, ...]:
        return tuple(self._parameters)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        return self._parameters[name].shape, "float32"

    def stored_dtype(self, name: str) -> str:
        return "float32"

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        if name in self._known:
            return self._trained.read(name, dtype)
        factor = ADAPTER_PREFIX + name.removesuffix("weight") + "lora_{}.weight"
        if factor.format("A") not in self._known:
            return self._base.read(name, dtype)
        a, b = (self._trained.read(factor.format(which)) for which in "AB")
        product = a.T @ b.T if self._parameters[name].input_axis == 0 else b @ a
        product *= np.float32(self._scale)
        product += self._base.read(name)
        return product.astype(numpy_dtype(dtype), copy=False)
