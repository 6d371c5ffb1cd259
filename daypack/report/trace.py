"""A record → a trace in the Chrome JSON format, which Perfetto opens.

Rules of the format (Trace Event Format, Google, 2016): `ts` and `dur` in microseconds, here whole ones, so
that events on one thread nest or follow each other; a counter (`C`) holds until its next event. Process 1 is
the plan, modelled; process 2, where a run is given, is what was measured. `resident bytes` is what the plan
holds at that moment, `planned bytes` what the bundle promises of the whole process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from daypack.report import words
from daypack.report.layers import Layer, fixed_shares, shares
from daypack.report.reasons import absences, in_words, reasons
from daypack.report.record import Record
from daypack.report.run_file import Run
from daypack.report.timeline import Action
from daypack.spec.size import format_size

PLAN, RUN = 1, 2
COMPUTE, PAGING = 1, 2
_LANE = {Action.COMPUTE: COMPUTE, Action.RECOMPUTE: COMPUTE, Action.PAGE_IN: PAGING, Action.PAGE_OUT: PAGING}
Event = dict[str, Any]


def trace_text(record: Record, run: Run | None = None) -> str:
    """The trace as JSON, an event a line."""
    lines = ",\n".join(json.dumps(event, ensure_ascii=False) for event in trace_events(record, run))
    about = json.dumps(
        {"source": "modelled" if run is None else f"modelled, {run.source}", "bundle": record.name}
    )
    return f'{{"displayTimeUnit":"ms","otherData":{about},"traceEvents":[\n{lines}\n]}}\n'


def trace_events(record: Record, run: Run | None = None) -> list[Event]:
    """Metadata first, then every event by time; of those that begin together the longest first."""
    metadata = [
        *_named(PLAN, "plan (modelled)", {COMPUTE: "compute", PAGING: "paging"}),
        *(_named(RUN, f"run ({run.source})", {COMPUTE: "steps"}) if run else ()),
    ]
    events = [*_shards(record), *_instructions(record), *_counters(record), *(_run(run) if run else ())]
    return metadata + sorted(events, key=lambda e: (e["ts"], e["pid"], e["tid"], -e.get("dur", 0)))


def _named(process: int, name: str, threads: dict[int, str]) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}
    for thread, title in threads.items():
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": title}}
        yield {
            "ph": "M",
            "name": "thread_sort_index",
            "pid": process,
            "tid": thread,
            "args": {"sort_index": thread},
        }


def _slice(
    process: int, thread: int, name: str, category: str, start_s: float, end_s: float, **args: Any
) -> Event:
    start = _us(start_s)
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": process,
        "tid": thread,
        "ts": start,
        "dur": _us(end_s) - start,
        "args": args,
    }


def _shards(record: Record) -> Iterator[Event]:
    """Each shard spans its computes, which nest in it."""
    first = 0
    for number, end in enumerate(record.schedule.shard_ends):
        computes = [m for m in record.time.moments[first:end] if _LANE.get(m.action) == COMPUTE]
        if computes:
            last = computes[-1].end_s
            args = {"first_instruction": first, "end_instruction": end}
            yield _slice(PLAN, COMPUTE, f"shard {number}", "shard", computes[0].start_s, last, **args)
        first = end


def _instructions(record: Record) -> Iterator[Event]:
    schedule, problem = record.schedule, record.schedule.problem
    why = _why(record)
    for index, moment in enumerate(record.time.moments):
        lane = _LANE.get(moment.action)
        if lane is None or (lane == PAGING and moment.end_s == moment.start_s):
            continue
        node = problem.nodes[moment.node]
        args: dict[str, Any] = {"instruction": index, "bytes": node.size_bytes}
        if node.workspace_bytes and lane == COMPUTE:
            args["workspace_bytes"] = node.workspace_bytes
        if line := words.line(schedule, moment.node):
            args["line"] = line
        if index in why:
            args["why"] = why[index]
        name = words.instruction(schedule, moment)
        yield _slice(PLAN, lane, name, moment.action.value, moment.start_s, moment.end_s, **args)


def _why(record: Record) -> dict[int, str]:
    """The instruction that brings a value back → why it had to."""
    found = absences(record.schedule.problem, record.time)
    judged = reasons(found, record.time.live_bytes, record.budget_bytes)
    return {
        absence.back: in_words(absence, reason, record.budget_bytes, format_size)
        for absence, reason in zip(found, judged, strict=True)
    }


def _counters(record: Record) -> Iterator[Event]:
    """At every moment that some count changes: the plan's bytes, and those of each layer."""
    end = _us(record.time.seconds)
    for ts in (0, end):
        yield _counter(PLAN, ts, "planned bytes", record.schedule.peak_bytes)
        if record.budget_bytes is not None:
            yield _counter(PLAN, ts, "budget bytes", record.budget_bytes)
    before: dict[str, int] = {}
    for ts, counts in _by_time(record):
        for name, size in counts.items():
            if before.get(name) != size:
                before[name] = size
                yield _counter(PLAN, ts, name, size)


def _by_time(record: Record) -> Iterator[tuple[int, dict[str, int]]]:
    """Counts at each distinct microsecond: those of the last instruction reached then, which lasts."""
    found = {_us(m.at_s): c for m, c in zip(record.time.moments, _counts(record), strict=True)}
    yield from found.items()


def _counts(record: Record) -> Iterator[dict[str, int]]:
    """Bytes by counter while each instruction runs."""
    schedule, time = record.schedule, record.time
    change: list[list[tuple[Layer, int]]] = [[] for _ in range(len(time.moments) + 1)]
    for stay in time.stays:
        for layer, size in shares(schedule, stay.node, adapters=record.trains_adapters).items():
            change[stay.start].append((layer, size))
            change[stay.end].append((layer, -size))
    held = dict.fromkeys(Layer, 0)
    for layer, size in fixed_shares(schedule).items():
        held[layer] += size
    used = {layer for row in change for layer, _ in row} | {layer for layer in Layer if held[layer]}
    for index, moment in enumerate(time.moments):
        for layer, size in change[index]:
            held[layer] += size
        counts = {f"{layer.value} bytes": held[layer] for layer in Layer if layer in used}
        if _LANE.get(moment.action) == COMPUTE:
            counts[f"{Layer.WORKSPACES.value} bytes"] = schedule.problem.nodes[moment.node].workspace_bytes
        else:
            counts[f"{Layer.WORKSPACES.value} bytes"] = 0
        yield {"resident bytes": int(time.live_bytes[index]), **counts}


def _counter(process: int, ts: int, name: str, value: int) -> Event:
    return {"ph": "C", "name": name, "pid": process, "tid": 0, "ts": ts, "args": {"bytes": value}}


def _run(run: Run) -> Iterator[Event]:
    """The measured steps one after the other, with the process's peak so far."""
    now = 0.0
    for step in run.steps:
        yield _slice(RUN, COMPUTE, f"step {step.step}", run.source, now, now + step.seconds)
        now += step.seconds
        yield _counter(RUN, _us(now), "peak resident bytes", step.peak_rss_bytes)


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
