"""A planned window → schedule.json, from which `daypack report` draws its picture."""

from __future__ import annotations

from pathlib import Path

from daypack.compiler.graph import Role
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.planning import Planned
from daypack.compiler.project import Projection, padded
from daypack.compiler.schedule_file import (
    ENGINE,
    NAME,
    SMALL_RESULTS,
    Note,
    Part,
    ScheduleFile,
    schedule_text,
)
from daypack.compiler.window import Call, CallKind, Item, Window


def write_storyboard(folder: Path, planned: Planned, peak_bytes: int) -> None:
    """Write schedule.json into a bundle; `peak_bytes` is what the bundle promises of the process."""
    (folder / NAME).write_text(schedule_text(storyboard(planned, peak_bytes)))


def storyboard(planned: Planned, peak_bytes: int) -> ScheduleFile:
    """What is known of a planned window."""
    window, projection = planned.window, planned.projection
    problem = projection.problem
    small = sum(padded(window.items[item].size_bytes) for item in projection.satellites)
    return ScheduleFile(
        problem=problem,
        plan=planned.plan,
        parts=_parts(window, projection),
        notes=tuple(_note(window, projection, planned.table, node.id) for node in problem.nodes),
        fixed=((ENGINE, problem.fixed_bytes - small), (SMALL_RESULTS, small)),
        shard_ends=planned.applied.shard_ends,
        window=len(window.batches),
        peak_bytes=peak_bytes,
    )


def _parts(window: Window, projection: Projection) -> tuple[tuple[Part, ...], ...]:
    """The arrays that each node's memory is made for; what changes one in place later adds none."""
    in_place = {
        new
        for call in window.calls
        for new, old in call.overwrites.items()
        if projection.node_of[new] == projection.node_of[old]
    }
    held: list[list[Part]] = [[] for _ in projection.problem.nodes]
    for item, node in projection.node_of.items():
        if item not in in_place and item not in projection.satellites:
            held[node].append(_part(window.items[item]))
    return tuple(map(tuple, held))


def _part(item: Item) -> Part:
    shape = f"{item.dtype}[{','.join(map(str, item.shape))}]"
    return Part(item.name, _role(item), padded(item.size_bytes), shape, item.source)


def _role(item: Item) -> str:
    """A running sum's loss and weight are no gradients, whatever holds them."""
    named = item.name.startswith("sum/") and not item.name.startswith("sum/grad/")
    return str(Role.ACTIVATION if named else item.role)


def _note(window: Window, projection: Projection, table: KernelTable, node: int) -> Note:
    number = projection.call_of.get(node)
    if number is None:
        return Note("", None, "")
    call: Call = window.calls[number]
    kernel = table.kernels[call.kernel].kind if call.kind is CallKind.KERNEL else str(call.kind)
    return Note(kernel, call.micro, call.source)
