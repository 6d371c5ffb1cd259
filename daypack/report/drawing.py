"""A record → the plain data that the scripts of the page draw. Times are whole nanoseconds, sizes bytes."""

from __future__ import annotations

from typing import Any

from daypack.compiler.schedule_file import Texts
from daypack.report import words
from daypack.report.layers import Layer, fixed_shares, shares
from daypack.report.reasons import absences, in_words, reasons
from daypack.report.record import Record
from daypack.report.timeline import Action
from daypack.spec.size import format_size

ACTIONS = tuple(Action)
LAYERS = tuple(Layer)


def drawing(record: Record) -> dict[str, Any]:
    """Everything the charts and the table of absences need; lists by number, to be small."""
    schedule, time = record.schedule, record.time
    texts = Texts()
    nodes = range(len(schedule.problem.nodes))
    return {
        "layers": [layer.value for layer in LAYERS],
        "actions": [words.VERBS[action] for action in ACTIONS],
        "budget": record.budget_bytes,
        "promised": schedule.peak_bytes,
        "peak": time.peak_bytes,
        "peakAt": time.peak_at,
        "seconds": time.seconds,
        "window": schedule.window,
        "fixed": [[LAYERS.index(layer), size] for layer, size in fixed_shares(schedule).items()],
        "nodes": [_node(record, node, texts) for node in nodes],
        "moments": [
            [ACTIONS.index(m.action), m.node, _ns(m.at_s), _ns(m.start_s), _ns(m.end_s)] for m in time.moments
        ],
        "stays": [[stay.node, stay.start, stay.end] for stay in time.stays],
        "shards": list(schedule.shard_ends),
        "absences": _absences(record),
        "texts": texts.all(),
    }


def _node(record: Record, node: int, texts: Texts) -> list[object]:
    """[title, line, workspace bytes, micro-step or -1, layer, bytes, layer, bytes …]"""
    schedule = record.schedule
    micro = schedule.notes[node].micro
    row: list[object] = [
        texts.number(words.title(schedule, node)),
        texts.number(words.line(schedule, node)),
        schedule.problem.nodes[node].workspace_bytes,
        -1 if micro is None else micro,
    ]
    for layer, size in shares(schedule, node, adapters=record.trains_adapters).items():
        row += [LAYERS.index(layer), size]
    return row


def _absences(record: Record) -> list[list[object]]:
    """[node, how it came back, back at, ns, bytes, read bytes, written bytes, reason]"""
    found = absences(record.schedule.problem, record.time)
    why = reasons(found, record.time.live_bytes, record.budget_bytes)
    return [
        [
            a.node,
            a.means.value,
            a.back,
            _ns(a.seconds),
            a.size_bytes,
            a.read_bytes,
            a.written_bytes,
            in_words(a, reason, record.budget_bytes, format_size),
        ]
        for a, reason in zip(found, why, strict=True)
    ]


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
