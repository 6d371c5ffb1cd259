"""The totals of a report: every figure with its source, measured beside modelled where a run is given."""

from __future__ import annotations

from dataclasses import dataclass

from daypack.report import words
from daypack.report.record import Record
from daypack.report.run_file import Run
from daypack.report.timeline import Action
from daypack.spec.size import format_size

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Total:
    """One row: `modelled` and `measured` as people read them; `measured` None where nothing was."""

    key: str
    name: str
    modelled: str
    measured: str | None = None
    note: str = ""


def totals(record: Record, run: Run | None) -> tuple[Total, ...]:
    """What one step needs and costs."""
    predicted = record.predicted
    joules = predicted.get("step_joules")
    return (
        Total(
            "peak",
            "peak memory of the process",
            format_size(record.schedule.peak_bytes),
            format_size(run.peak_rss_bytes) if run else None,
            "the arena with the gaps of its layout, and the engine",
        ),
        Total(
            "live",
            "most in use at once",
            format_size(record.time.peak_bytes),
            note=f"at instruction {record.time.peak_at}, with the engine as it was estimated",
        ),
        Total(
            "seconds",
            "time of a step",
            _seconds(predicted.get("step_seconds"), record.time.seconds),
            words.duration(run.median_seconds) if run else None,
            "measured: the median step" if run else "",
        ),
        Total("joules", "energy of a step", UNKNOWN if joules is None else f"{joules:.3g} J"),
        Total(
            "read",
            "read from flash in a step",
            _bytes(predicted.get("flash_read_bytes")),
            _bytes(run.read_bytes) if run else None,
        ),
        Total(
            "written",
            "written to flash in a step",
            _bytes(predicted.get("flash_written_bytes")),
            _bytes(run.written_bytes) if run else None,
            "saving the state included",
        ),
        Total("recomputed", "time spent on recomputing", words.duration(_spent(record, Action.RECOMPUTE))),
        Total(
            "paging",
            "time of the paging lane",
            words.duration(_spent(record, Action.PAGE_IN) + _spent(record, Action.PAGE_OUT)),
            note="beside the computing where nothing waits for it",
        ),
    )


def _seconds(predicted: object, walked: float) -> str:
    return words.duration(float(predicted) if isinstance(predicted, int | float) else walked)


def _bytes(value: object) -> str:
    return format_size(int(value)) if isinstance(value, int | float) else UNKNOWN


def _spent(record: Record, action: Action) -> float:
    return sum(moment.seconds for moment in record.time.moments if moment.action is action)
