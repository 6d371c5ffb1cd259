"""What the engine says of a step, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step as the engine reports it; `source` is `measured`, or `emulated` under an emulator.

    `save_seconds`: putting the state on disk, beside `seconds`. `read_bytes`, `written_bytes`: from and to
    files, the saved state included; `weights_read_bytes`: of those read, from the weights. `profile`: where
    it was asked for, seconds by kernel and of transfers.
    """

    step: int
    loss: float
    seconds: float
    tokens: int
    peak_rss_bytes: int
    source: str
    save_seconds: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    weights_read_bytes: int = 0
    profile: Mapping[str, Any] | None = None


def step_event(event: Mapping[str, Any]) -> StepEvent:
    """The engine's step event as data."""
    return StepEvent(
        int(event["step"]),
        float("nan") if event["loss"] is None else float(event["loss"]),
        float(event["seconds"]),
        int(event["tokens"]),
        int(event["peak_rss_bytes"]),
        str(event["source"]),
        float(event["save_seconds"]),
        int(event["read_bytes"]),
        int(event["written_bytes"]),
        int(event.get("weights_read_bytes", 0)),
    )
