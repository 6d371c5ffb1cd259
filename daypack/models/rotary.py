"""The frequencies of rotary position embedding as a published config declares them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from daypack.models.config_fields import ConfigReader
from daypack.operators.rotary import Table, rotary_tables


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3's stretch of the slow frequencies, under its published names."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class Rotary:
    """Base `theta`, positions divided by `linear`, and Llama 3's scaling where a config has it."""

    theta: float
    linear: float = 1.0
    llama3: Llama3Scaling | None = None

    def frequencies(self, head_dim: int) -> Table:
        """Radians a position, float32 (head_dim / 2,): theta^(-2i / head_dim), scaled."""
        exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        plain = (1.0 / self.theta ** exponents.astype(np.float64)).astype(np.float32)
        scaled = (plain / np.float32(self.linear)).astype(np.float32)
        return scaled if self.llama3 is None else _llama3(scaled, self.llama3)


def _llama3(plain: Table, scaling: Llama3Scaling) -> Table:
    """Long waves are slowed by `factor`, short ones kept, and those between blended."""
    length = scaling.original_max_position_embeddings
    waves = 2.0 * math.pi / plain.astype(np.float64)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    blend = np.clip((length / waves - low) / (high - low), 0.0, 1.0)
    return ((1.0 - blend) * plain / scaling.factor + blend * plain).astype(np.float32)


@functools.cache
def tables(rotary: Rotary, head_dim: int, time: int) -> tuple[Table, Table]:
    """The tables of `operators.rotary` for positions [0, time); every layer gets the same arrays."""
    return rotary_tables(rotary.frequencies(head_dim), time)


def read_rotary(reader: ConfigReader, default_theta: float) -> Rotary:
    """The rotary embedding of a config: `rope_parameters`, or the older `rope_theta` and `rope_scaling`."""
    newer = reader.table("rope_parameters")
    older = reader.positive_number("rope_theta", default_theta)
    if newer:
        return _from_parameters(newer, older)
    return _from_parameters(reader.table("rope_scaling"), older)


def read_rotary_of(reader: ConfigReader, layer_type: str, default: Rotary) -> Rotary:
    """The rotary embedding that `rope_parameters` has for one type of layer, or `default` without them."""
    parameters = reader.table("rope_parameters").table(layer_type)
    return _from_parameters(parameters, default.theta) if parameters else default


def _from_parameters(parameters: ConfigReader, theta: float) -> Rotary:
    theta = parameters.positive_number("rope_theta", theta)
    name = "rope_type" if "rope_type" in parameters or "type" not in parameters else "type"
    kind: Any = parameters.only(name, ("default", "linear", "llama3"))
    if kind == "linear":
        return Rotary(theta, linear=parameters.positive_number("factor", None))
    if kind == "llama3":
        scaling = Llama3Scaling(
            factor=parameters.positive_number("factor", None),
            low_freq_factor=parameters.positive_number("low_freq_factor", None),
            high_freq_factor=parameters.positive_number("high_freq_factor", None),
            original_max_position_embeddings=parameters.positive("original_max_position_embeddings", None),
        )
        if scaling.high_freq_factor <= scaling.low_freq_factor:
            raise parameters.error("high_freq_factor", scaling.high_freq_factor, "more than low_freq_factor")
        return Rotary(theta, llama3=scaling)
    return Rotary(theta)
