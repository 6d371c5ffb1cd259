# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A user's batch: checked, and cut into the micro-batches of a window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from daypack.compiler.graph import DTYPE_BYTES
from daypack.errors import SpecError
from daypack.user_step.named import flat_names

Array = np.ndarray[Any, Any]
_INSTEAD = {"float64": "float32", "int64": "int32", "uint64": "uint32", "int16": "int32", "uint16": "uint32"}


def batch_arrays(batch: Any, where: str = "batch") -> dict[str, Array]:
    """Name → array of a batch: a dict (possibly nested) of arrays whose first dimension counts examples.

    Raises:
        SpecError: nothing in it, not a container, a leaf that is no array, an element type that a step cannot
            hold, no dimension, leaves of different length.
    """
    flat = flat_names(batch)
    if not flat or "" in flat:
        found = "nothing" if not flat else f"one {type(batch).__name__}"
        raise SpecError(f'{where}: expected a dict of arrays such as {{"x": …, "y": …}}, found {found}')
    arrays = {name: _array(leaf, f"{where}[{name!r}]") for name, leaf in flat.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise SpecError(
            f"{where}: expected one number of examples in the first dimension of every array, found {listed}"
        )
    if 0 in lengths.values():
        raise SpecError(f"{where}: expected at least one example, found none")
    return arrays


def micro_batches(
    arrays: Mapping[str, Array], window: int, where: str = "batch"
) -> Iterator[dict[str, Array]]:
    """The micro-batches of a window, cut along the first dimension.

    Raises:
        SpecError: the window does not divide the number of examples.
    """
    part = micro_size(arrays, window, where)
    for micro in range(window):
        yield {name: array[micro * part : (micro + 1) * part] for name, array in arrays.items()}


def micro_size(arrays: Mapping[str, Array], window: int, where: str = "batch") -> int:
    """The number of examples of one micro-batch."""
    examples = len(next(iter(arrays.values())))
    if window < 1:
        raise SpecError(f"window: expected a whole number of at least 1, found {window}")
    if examples % window:
        divisors = [n for n in range(1, examples + 1) if examples % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - window))
        raise SpecError(
            f"{where}: {examples} examples, which a window of {window} does not divide; use {nearest}, or a "
            "batch that it divides"
        )
    return examples // window


def _array(leaf: Any, where: str) -> Array:
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        raise SpecError(f"{where}: expected an array, found {type(leaf).__name__}")
    name = str(leaf.dtype)
    if name not in DTYPE_BYTES:
        advice = f"; convert it with .astype(np.{_INSTEAD[name]})" if name in _INSTEAD else ""
        raise SpecError(f"{where}: expected one of {', '.join(DTYPE_BYTES)}, found {name}{advice}")
    if not leaf.shape:
        raise SpecError(f"{where}: expected a first dimension that counts examples, found a single {name}")
    return np.asarray(leaf)
