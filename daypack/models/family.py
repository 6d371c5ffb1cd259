"""What a model family is: data and functions that `registry` lists and `task` puts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from daypack.models.config_fields import ConfigReader

ADAPTER_SITES = 1 << 16
"""The first dropout site of adapters; a model's own sites lie below, so adapters move none of its masks."""


class ModelConfig(Protocol):
    """What is asked of every family's config."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_sequence(self) -> int: ...

    def with_dropout(self, rate: float) -> ModelConfig: ...


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture.

    `build(config)` makes the NNX module, whose attribute paths joined by dots are the published parameter
    names and whose call is (ids int32 (B, T), keys (B,) or None) to logits (B, T, V). `published_name` maps a
    stored tensor's name to its parameter's, or to None for a stored buffer. `tied` maps a name that
    checkpoints may also store to the parameter it repeats. `default_targets` are PEFT's for this model type,
    `fan_in_fan_out` is PEFT's word for projections stored (in, out).
    """

    name: str
    model_type: str
    parse_config: Callable[[ConfigReader], ModelConfig]
    build: Callable[[Any], Any]
    published_name: Callable[[str], str | None]
    tied: Mapping[str, str]
    default_targets: tuple[str, ...]
    fan_in_fan_out: bool = False
