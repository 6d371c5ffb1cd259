# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""Partial training: which of a model's own parameters are trained, the rest frozen.

An entry is "biases" (every parameter named `bias`, those of norms included), "norms" (every parameter of a
norm), or consecutive parts of a published name, each of which may hold `*` and `?`: `h.11` means everything
in that block, `attn.c_proj.bias` one bias of every block, `layers.2?.mlp` the MLPs of ten blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from flax import nnx

from daypack.errors import SpecError
from daypack.models.layers import LayerNorm, RMSNorm
from daypack.models.parameters import ParameterSpec

BIASES = "biases"
NORMS = "norms"


def norm_paths(build: Callable[[], Any]) -> frozenset[str]:
    """The published paths of the norms of the module that `build` makes; nothing is allocated."""
    model = nnx.eval_shape(build)
    return frozenset(
        ".".join(map(str, path))
        for path, module in nnx.iter_modules(model)
        if isinstance(module, LayerNorm | RMSNorm)
    )


def select(
    parameters: Mapping[str, ParameterSpec], norms: Iterable[str], wanted: Sequence[str]
) -> tuple[dict[str, ParameterSpec], dict[str, ParameterSpec]]:
    """(trainable, frozen): what one of the entries `wanted` names, and the rest, in the model's order.

    Raises:
        SpecError: an entry names nothing (the message lists what there is), or nothing is left frozen.
    """
    in_norms = frozenset(norms)
    chosen: set[str] = set()
    for entry in wanted:
        found = {name for name in parameters if _names(entry, name, in_norms)}
        if not found:
            raise SpecError(
                f"train.train_only: {entry!r} names no parameter; this model has {_listing(parameters)}"
            )
        chosen |= found
    trainable = {name: spec for name, spec in parameters.items() if name in chosen}
    frozen = {name: spec for name, spec in parameters.items() if name not in chosen}
    if not frozen:
        raise SpecError('train.train_only names every parameter; train.method = "full" trains them all')
    return trainable, frozen


def _names(entry: str, name: str, norms: frozenset[str]) -> bool:
    if entry == BIASES:
        return name.endswith(".bias")
    if entry == NORMS:
        return name.rpartition(".")[0] in norms
    parts, patterns = name.split("."), entry.split(".")
    return any(
        all(map(fnmatchcase, parts[start:], patterns)) for start in range(len(parts) - len(patterns) + 1)
    )


def _listing(names: Iterable[str]) -> str:
    """The names with layer numbers written once."""
    return ", ".join(dict.fromkeys(re.sub(r"\.\d+\.", ".N.", name) for name in names))
