"""What one step of a plan asks of a device: operations and bytes, shard by shard. All of it is modelled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from daypack.errors import BundleError, SpecError

EFFICIENCY = 0.6
"""Share of the peak that a whole step reaches (assumed: 0.85 in matrix products, less elsewhere)."""
SHARD_FLOPS = 40e9
"""About 0.2 s of the cores of a phone."""


@dataclass(frozen=True, slots=True)
class ShardWork:
    """One shard: float32 operations, bytes across memory, bytes read from and written to flash."""

    flops: float
    moved_bytes: float
    read_bytes: float = 0.0
    written_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """One step: its shards in order, the tokens it trains on, the memory its process takes."""

    name: str
    tokens: int
    peak_bytes: int
    shards: tuple[ShardWork, ...]
    efficiency: float = EFFICIENCY

    @property
    def written_bytes(self) -> float:
        """To flash, a step."""
        return sum(shard.written_bytes for shard in self.shards)


def dense_step(
    name: str,
    *,
    parameters: float,
    layers: int,
    width: int,
    tokens: int,
    trains_all: bool,
    peak_bytes: int,
    read_bytes: float = 0.0,
    written_bytes: float = 0.0,
) -> Workload:
    """A step of a dense transformer, from its dimensions.

    Operations: 2 a parameter and token forward, 2 for the gradients of activations, 2 more for those of the
    parameters where all are trained (Kaplan et al. 2020, section 2.1). Memory: every parameter crosses once a
    pass in float32; about 34 values a token, layer and unit of width are written and read (Korthikanti et al.
    2022, section 4, without its attention term).
    """
    passes = 3 if trains_all else 2
    flops = 2.0 * passes * parameters * tokens
    moved = 4.0 * passes * parameters + 2 * 4.0 * 34 * layers * tokens * width
    count = max(1, math.ceil(flops / SHARD_FLOPS))
    shard = ShardWork(flops / count, moved / count, read_bytes / count, written_bytes / count)
    return Workload(name, tokens, peak_bytes, (shard,) * count)


KNOWN: Mapping[str, Workload] = {
    w.name: w
    for w in (
        dense_step(
            "gpt2-lora", parameters=124e6, layers=12, width=768, tokens=512, trains_all=False,
            peak_bytes=650_000_000, written_bytes=2.4e6,
        ),
        dense_step(
            "gpt2-full", parameters=124e6, layers=12, width=768, tokens=1024, trains_all=True,
            peak_bytes=256_000_000, read_bytes=3.0e9, written_bytes=1.94e9,
        ),
        dense_step(
            "gemma3-270m-lora", parameters=268e6, layers=18, width=640, tokens=256, trains_all=False,
            peak_bytes=700_000_000, written_bytes=3e6,
        ),
        dense_step(
            "qwen2.5-0.5b-lora", parameters=494e6, layers=24, width=896, tokens=256, trains_all=False,
            peak_bytes=900_000_000, written_bytes=4e6,
        ),
    )
}  # fmt: skip
"""Steps that can be studied without a bundle; `gpt2-full` pages as its plan within 256 MB does."""


def known_workload(name: str) -> Workload:
    """One of `KNOWN`; `SpecError` names them all."""
    if name not in KNOWN:
        raise SpecError(f"unknown workload {name!r}; known: {', '.join(KNOWN)}; or give a bundle")
    return KNOWN[name]


def workload_of(description: Mapping[str, Any], where: str) -> Workload:
    """The workload that the compiler wrote into `bundle.json` under `work`.

    Raises `BundleError` where it is missing, from an older compiler, or not what it should be.
    """
    work = description.get("work")
    if not isinstance(work, dict):
        raise BundleError(
            f"{where}: expected 'work', what a step asks of a device, found none; compile again"
        )
    fields = cast("dict[str, Any]", work)
    try:
        shards = tuple(ShardWork(*map(_amount, row)) for row in fields["shards"])
        tokens, peak = int(fields["tokens"]), int(fields["peak_bytes"])
        efficiency = _amount(fields["efficiency"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{where}: 'work' is not as the compiler writes it: {error!r}") from error
    if not shards or sum(shard.flops for shard in shards) <= 0 or not 0 < efficiency <= 1:
        raise BundleError(f"{where}: 'work' names no operations, or an efficiency outside (0, 1]")
    return Workload(where, tokens, peak, shards, efficiency)


def _amount(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} is not an amount")
    return number
