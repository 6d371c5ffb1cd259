"""How nodes, instructions and figures are called in front of people."""

from __future__ import annotations

import re

from daypack.compiler.schedule_file import Part, ScheduleFile
from daypack.report.timeline import Action, Moment

VERBS = {
    Action.COMPUTE: "compute",
    Action.RECOMPUTE: "compute again",
    Action.PAGE_IN: "read",
    Action.PAGE_OUT: "write",
    Action.DROP: "drop",
}
ADAPTER_PREFIX = "base_model.model."
"""What published adapters have before the path of the layer that they belong to."""
_PLACE = re.compile(r"^(?P<line>\S+:\d+) \((?P<function>.+)\)$")
_LEAF = re.compile(r"[./](kernel|bias|weight|scale|embedding|lora_[AB]([./]weight)?)(\[\d+:\d+\])?$")


def duration(seconds: float) -> str:
    """Three figures in the unit that suits: `3.12 s`, `41.5 ms`, `7 µs`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0 s"


def part_name(part: Part, fallback: str) -> str:
    """A published name, or the function that made the array and its shape."""
    return f"{part.name} {part.shape}" if part.name else f"{fallback} {part.shape}"


def title(schedule: ScheduleFile, node: int) -> str:
    """What a node makes: its array's name, or the function that made it, where in the model, its shape."""
    parts = schedule.parts[node]
    call = call_name(schedule, node)
    names = [part_name(part, call) for part in parts[:1]]
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    return (names[0] if names else call) + more


def line(schedule: ScheduleFile, node: int) -> str:
    """The source line of the model that a node comes from; empty where it is given."""
    source = schedule.notes[node].source or next((p.source for p in schedule.parts[node] if p.source), "")
    return source


def instruction(schedule: ScheduleFile, moment: Moment) -> str:
    """What an instruction does, to what."""
    return f"{VERBS[moment.action]} {title(schedule, moment.node)}"


def call_name(schedule: ScheduleFile, node: int) -> str:
    """`layer_norm · transformer.h.3.ln_1`: the function, and the part of the model whose weights it reads."""
    found = _PLACE.match(line(schedule, node))
    name = (
        found["function"].replace("<locals>.", "")
        if found
        else schedule.problem.nodes[node].name or schedule.notes[node].kernel
    )
    near = _near(schedule, node)
    return f"{name} · {near}" if near else name


def _near(schedule: ScheduleFile, node: int) -> str:
    """The module of the first named weight that a node reads."""
    for operand in schedule.problem.nodes[node].inputs:
        if not schedule.problem.is_source(operand):
            continue
        for part in schedule.parts[operand]:
            if part.name and part.role in ("frozen", "trainable"):
                return _LEAF.sub("", part.name.removeprefix(ADAPTER_PREFIX))
    return ""
