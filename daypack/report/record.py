"""A bundle → what its picture is made of. Every file of the bundle is checked on the way."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daypack.compiler.schedule_file import NAME, ScheduleFile, parse_schedule
from daypack.errors import BundleError
from daypack.report.timeline import Timeline, timeline
from daypack.runtime.bundle import Bundle, read_bundle


@dataclass(frozen=True, slots=True)
class Record:
    """A bundle's first plan with its timeline and what the bundle says of itself. `budget_bytes` None: none.

    `plans`: the modelled figures of every plan of the bundle.
    """

    name: str
    schedule: ScheduleFile
    time: Timeline
    budget_bytes: int | None
    device: str
    predicted: dict[str, Any]
    trains_adapters: bool
    plans: tuple[dict[str, Any], ...] = ()


def read_record(folder: Path) -> Record:
    """Read and check a bundle.

    Raises:
        BundleError: it is no bundle, a damaged one, or one made without a record of its plan.
    """
    bundle = read_bundle(folder)
    path = folder / NAME
    if NAME not in {entry.name for entry in bundle.files}:
        raise BundleError(
            f"{path}: expected the record of the plan, found none: the bundle was made by an older Daypack; "
            "compile it again"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: expected a readable text file, found: {error}") from None
    schedule = parse_schedule(text, str(path))
    return Record(
        folder.resolve().name,
        schedule,
        walked(schedule, path),
        bundle.plan.budget_bytes or None,
        str(bundle.description.get("device", "")),
        dict(bundle.description.get("predicted") or {}),
        _trains_adapters(bundle),
        tuple(bundle.description.get("plans") or ()),
    )


def walked(schedule: ScheduleFile, path: Path) -> Timeline:
    """The timeline, whose peak must be the one that the plan says."""
    try:
        time = timeline(schedule.problem, schedule.plan)
    except KeyError as error:
        raise BundleError(f"{path}: the plan uses value {error} while it is not in memory") from None
    if time.peak_bytes != schedule.plan.peak_bytes:
        raise BundleError(
            f"{path}: the plan says a peak of {schedule.plan.peak_bytes} bytes, counted {time.peak_bytes}"
        )
    return time


def _trains_adapters(bundle: Bundle) -> bool:
    spec = bundle.description.get("spec")
    if not isinstance(spec, str):
        return False
    return tomllib.loads(spec).get("train", {}).get("method") == "lora"
