"""What a rule of the reference is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from daypack.compiler.graph import Node

Array = np.ndarray[Any, Any]


def is_real(array: Array) -> bool:
    """Whether the elements are floating-point numbers (numpy does not count bfloat16 among its own)."""
    return array.dtype.kind in "fV"


Rule = Callable[[Node, Sequence[Array]], Any]
"""(node, operands) → the result, or a tuple of results. Shapes and element types are the node's business."""
