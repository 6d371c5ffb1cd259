"""The largest arrays in memory at the peak, each with what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from daypack.compiler.schedule_file import Part
from daypack.report import words
from daypack.report.layers import Layer, layer_of
from daypack.report.record import Record
from daypack.report.timeline import Stay

COUNT = 20


@dataclass(frozen=True, slots=True)
class Large:
    """One array at the peak; it is in memory over the instructions `start` to `end`, half-open."""

    name: str
    layer: Layer
    source: str
    size_bytes: int
    start: int
    end: int
    waits_for: str


def largest_at_peak(record: Record, count: int = COUNT) -> tuple[Large, ...]:
    """Arrays and workspaces at the peak, the largest first."""
    peak = record.time.peak_at
    rows: list[Large] = []
    for stay in record.time.stays:
        if stay.start <= peak < stay.end:
            rows += [_large(record, stay, part, peak) for part in record.schedule.parts[stay.node]]
    rows += _workspace(record, peak)
    return tuple(sorted(rows, key=lambda r: (-r.size_bytes, r.start, r.name))[:count])


def _large(record: Record, stay: Stay, part: Part, peak: int) -> Large:
    schedule = record.schedule
    name = words.part_name(part, words.call_name(schedule, stay.node))
    layer = layer_of(part, adapters=record.trains_adapters)
    source = part.source or words.line(schedule, stay.node)
    return Large(name, layer, source, part.size_bytes, stay.start, stay.end, _waits_for(record, stay, peak))


def _waits_for(record: Record, stay: Stay, peak: int) -> str:
    """The next compute that reads the value, or why it stays without one."""
    schedule, moments = record.schedule, record.time.moments
    reader = next((use for use in stay.uses if use >= peak), None)
    if reader == peak:
        return f"read now, by {_maker(record, moments[peak].node)}"
    if reader is not None:
        return f"instruction {reader}: {_maker(record, moments[reader].node)}"
    if stay.opened_by == peak:
        return "made now"
    if stay.end >= len(moments):
        kept = stay.node in schedule.problem.keep or not stay.uses or schedule.problem.is_source(stay.node)
        return "the next step" if kept else "the end of the step"
    return "nothing more: it is about to leave"


def _maker(record: Record, node: int) -> str:
    return words.call_name(record.schedule, node)


def _workspace(record: Record, peak: int) -> list[Large]:
    if not record.time.moments:
        return []
    schedule, moment = record.schedule, record.time.moments[peak]
    size = schedule.problem.nodes[moment.node].workspace_bytes
    computes = moment.action.value in ("compute", "recompute")
    if not size or not computes:
        return []
    name = f"workspace of {_maker(record, moment.node)}"
    return [
        Large(name, Layer.WORKSPACES, words.line(schedule, moment.node), size, peak, peak + 1, "this kernel")
    ]
