# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""Low-rank adapters: which projections get one, and what is trained.

Targets match as PEFT's `target_modules` list does: a projection is adapted when its path equals a target or
ends in `.` + target, so GPT-2's `c_proj` means both `attn.c_proj` and `mlp.c_proj`. Unlike PEFT, every target
must match something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx

from daypack.errors import SpecError
from daypack.models.family import ADAPTER_SITES
from daypack.models.layers import AdapterShape, Projection
from daypack.models.parameters import ParameterSpec
from daypack.models.structure import is_adapter

TARGETS_KEY = "train.targets"


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """PEFT's `LoraConfig` and its defaults: r 8, alpha 8, no dropout. The product is scaled by alpha / r."""

    targets: tuple[str, ...]
    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0


def adapt(model: Any, config: LoraConfig, where: str = TARGETS_KEY) -> Any:
    """Give every matching projection of `model` an adapter; returns the same model.

    `where` says where the targets stand.

    Raises:
        SpecError: a target matches no projection (the message lists what there is).
    """
    projections = _projections(model)
    require_matches(config.targets, projections, where)
    site = ADAPTER_SITES
    for path, projection in projections.items():
        if any(matches(path, target) for target in config.targets):
            projection.adapt(AdapterShape(config.rank, config.alpha / config.rank, config.dropout, site))
            site += 1
    return model


def matches(path: str, target: str) -> bool:
    return path == target or path.endswith(f".{target}")


def require_matches(targets: Iterable[str], paths: Iterable[str], where: str = TARGETS_KEY) -> None:
    """Refuse a target that names no path; an empty list of targets adapts nothing and is refused too."""
    known = list(paths)
    wanted = list(targets)
    if not wanted:
        raise SpecError(f"{where} is empty; this model has {_listing(known)}")
    for target in wanted:
        if not any(matches(path, target) for path in known):
            raise SpecError(f"{where}: {target!r} matches no projection; this model has {_listing(known)}")


def divide(
    parameters: Mapping[str, ParameterSpec], *, lora: bool
) -> tuple[dict[str, ParameterSpec], dict[str, ParameterSpec]]:
    """(trainable, frozen): the adapters and the rest, or everything and nothing."""
    trainable = {name: spec for name, spec in parameters.items() if is_adapter(name) or not lora}
    frozen = {name: spec for name, spec in parameters.items() if name not in trainable}
    return trainable, frozen


def _projections(model: Any) -> dict[str, Projection]:
    found = {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Projection)
    }
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(path: str) -> list[tuple[int, str]]:
    """h.2 before h.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def _listing(paths: list[str]) -> str:
    """The paths with layer numbers written once: `transformer.h.N.attn.c_attn, ...`."""
    shown = dict.fromkeys(re.sub(r"\.\d+\.", ".N.", path) for path in paths)
    return ", ".join(shown) or "no projections"
