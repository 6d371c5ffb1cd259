"""A bundle's kernels and transfers, timed by the engine in one place of a device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from daypack.calibration.programs import data_of
from daypack.runtime.engine_process import EngineArguments, Event
from daypack.runtime.launch import Launcher

WARM_STEPS = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where threads run: a mask of processors (None: any), and how much of them may be used, of 1024."""

    threads: int
    cpus: int | None = None
    clamp: int = 1024


@dataclass(frozen=True, slots=True)
class KernelReading:
    """One distinct kernel: what one call does, and the median seconds that it takes."""

    name: str
    kind: str
    schedule: str
    calls: int
    flops: float
    moved_bytes: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A run's medians of a step. `source` is `measured`, or `emulated`; `capped` says whether the kernel
    obeyed a clamp.
    """

    kernels: tuple[KernelReading, ...]
    fetched_bytes: float
    stored_bytes: float
    fetch_seconds: float
    store_seconds: float
    source: str
    capped: bool


def read(launcher: Launcher, bundle: Path, place: Place, *, steps: int, direct: bool = False) -> Reading:
    """Run a bundle from its start for `steps` measured steps after a warm one.

    Raises what the launcher raises: MissingTool, SpecError (no such thread count, no direct transfers), ….
    """
    state = bundle.with_suffix(".state")
    arguments = EngineArguments(
        state=state,
        data=data_of(bundle),
        steps=WARM_STEPS + steps,
        threads=place.threads,
        fresh=True,
        profile=True,
        direct=direct,
        cpus=place.cpus,
        clamp=None if place.clamp == 1024 else place.clamp,
    )
    try:
        events = list(launcher.run(bundle, arguments))
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return _reading(bundle, events)


def _reading(bundle: Path, events: list[Event]) -> Reading:
    said = [event for event in events if event["event"] == "step"][WARM_STEPS:]
    profiles = [event for event in events if event["event"] == "profile"][WARM_STEPS:]
    known: list[Mapping[str, Any]] = json.loads((bundle / "bundle.json").read_text())["kernels"]
    kernels = (_kernel(known[n], [p["kernels"][n] for p in profiles]) for n in range(len(known)))
    return Reading(
        tuple(kernel for kernel in kernels if kernel.calls),
        median(float(step["read_bytes"]) for step in said),
        median(float(step["written_bytes"]) for step in said),
        median(float(p["transfer_seconds"]) - float(p["store_seconds"]) for p in profiles),
        median(
            float(p["store_seconds"]) + float(s["save_seconds"]) for p, s in zip(profiles, said, strict=True)
        ),
        str(said[0]["source"]),
        not any(event["event"] == "note" for event in events),
    )


def _kernel(about: Mapping[str, Any], times: list[Mapping[str, Any]]) -> KernelReading:
    calls = int(times[0]["calls"])
    reading = KernelReading(
        str(about["name"]),
        str(about["name"]).rsplit("_", 1)[0],
        str(about["schedule"]),
        calls,
        float(about["flops"]),
        float(about["bytes"]),
        0.0,
    )
    seconds = median(float(time["seconds"]) for time in times)
    return replace(reading, seconds=seconds / calls) if calls else reading
