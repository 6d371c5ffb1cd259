"""Dilation and padding, as convolutions and windows use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node, Value
from daypack.compiler.reference.rule import Array
from daypack.compiler.reference.views import pad


def spread(
    a: Array, dims: Sequence[int], padding: Sequence[Sequence[int]], dilation: Sequence[int], fill: Any
) -> Array:
    """Dilate and pad the spatial dimensions `dims` (negative padding crops)."""
    config = [(0, 0, 0)] * a.ndim
    for d, (low, high), step in zip(dims, padding, dilation, strict=True):
        config[d] = (int(low), int(high), int(step) - 1)
    shape = tuple(s + max(s - 1, 0) * i + lo + hi for s, (lo, hi, i) in zip(a.shape, config, strict=True))
    node = Node("pad", (), (Value(0, shape, str(a.dtype)),), {"config": tuple(config)})
    return pad(node, (a, np.asarray(fill, a.dtype)))
