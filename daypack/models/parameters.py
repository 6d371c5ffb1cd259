# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""How a parameter starts and what it looks like: data that travels with every Flax parameter.

A module declares a parameter with `parameter(shape, initial)`; the declaration is kept as metadata of the
`nnx.Param`, so that shapes and initial values are read from the module itself and never from a table of
names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax.numpy as jnp
from flax import nnx


class Draw(Enum):
    """The distribution an initial value is drawn from."""

    CONSTANT = "constant"
    NORMAL = "normal"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Initial:
    """An initial value: CONSTANT `scale`, NORMAL(0, `scale`), or UNIFORM in [-`scale`, `scale`)."""

    draw: Draw
    scale: float


ZEROS = Initial(Draw.CONSTANT, 0.0)
ONES = Initial(Draw.CONSTANT, 1.0)


def normal(deviation: float) -> Initial:
    """Normal with mean zero."""
    return Initial(Draw.NORMAL, deviation)


def kaiming_uniform(fan_in: int) -> Initial:
    """`torch.nn.init.kaiming_uniform_(a=sqrt(5))`, which is uniform within 1/sqrt(fan_in)."""
    return Initial(Draw.UNIFORM, 1.0 / math.sqrt(fan_in))


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter as it is published: shape, numpy dtype name, initial value, and which of a matrix's two
    axes is that of the inputs it is multiplied with.
    """

    shape: tuple[int, ...]
    dtype: str
    initial: Initial
    input_axis: int = 1


def parameter(shape: tuple[int, ...], initial: Initial, input_axis: int = 1) -> Any:
    """A float32 `nnx.Param` of `shape` that remembers the rest of its spec; the array itself starts as zeros.

    Modules are built under `nnx.eval_shape`, so the zeros are never allocated.
    """
    return nnx.Param(jnp.zeros(shape, jnp.float32), initial=initial, input_axis=input_axis)
