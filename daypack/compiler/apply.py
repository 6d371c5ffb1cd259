"""Window + plan → arena offsets and the instruction stream.

The planner speaks of calls; here every array gets its own lifetime: from the call that makes it to the last
that
reads it. Arrays that share memory (an update and what it overwrites) have one buffer. The layout is judged by
`planners.validate` before anything is emitted.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.compiler.project import Projection, padded
from daypack.compiler.window import CallKind, Origin, Window
from daypack.planners.layout import Buffer, lay_out
from daypack.planners.plan import Op, Plan
from daypack.planners.validate import validate_layout
from daypack.runtime import plan_file as pf


@dataclass(frozen=True, slots=True)
class Applied:
    """`offsets[item]`: bytes in the arena; `steps`: one window; `peak_item_bytes`: sizes live at the
    fullest call.
    """

    offsets: dict[int, int]
    arena_bytes: int
    max_load_bytes: int
    steps: tuple[pf.Instr, ...]


def apply_plan(
    window: Window, projection: Projection, plan: Plan, workspaces: list[tuple[int, ...]]
) -> Applied:
    """Lay the window out in the order of the plan. `workspaces[call]`: sizes of its workspaces, in bytes."""
    order = [projection.call_of[i.id] for i in plan.sequence if i.op is Op.COMPUTE]
    owner = _owners(window)
    lives = _lives(window, order, owner)
    buffers = [Buffer(n, low, high, padded(size)) for n, (low, high, size) in enumerate(lives.values())]
    number = {item: n for n, item in enumerate(lives)}
    spaces: dict[tuple[int, int], int] = {}
    for time, call in enumerate(order):
        for k, size in enumerate(workspaces[call]):
            spaces[(call, k)] = len(buffers)
            buffers.append(Buffer(len(buffers), time, time + 1, padded(size)))
    layout = lay_out(buffers)
    validate_layout(buffers, layout)
    offsets = {
        item.id: layout.offsets[number[owner[item.id]]] for item in window.items if owner[item.id] in number
    }
    steps = tuple(_instructions(window, order, offsets, layout.offsets, spaces, workspaces))
    return Applied(offsets, layout.total_bytes, layout.max_load_bytes, steps)


def _owners(window: Window) -> dict[int, int]:
    """Item → the first item of the chain of overwrites whose memory it uses."""
    owner = {item.id: item.id for item in window.items}
    for call in window.calls:
        for new, old in call.overwrites.items():
            owner[new] = owner[old]
    return owner


def _lives(window: Window, order: list[int], owner: dict[int, int]) -> dict[int, tuple[int, int, int]]:
    """Owner → (first call, one past the last call, bytes). What persists lives through the window."""
    end = len(order)
    lives: dict[int, tuple[int, int, int]] = {}
    for item in window.items:
        if item.origin in (Origin.STATE, Origin.WEIGHTS):
            lives[item.id] = (0, end, item.size_bytes)
    for time, number in enumerate(order):
        call = window.calls[number]
        for item in (*call.inputs, *call.outputs):
            root = owner[item]
            low, high, size = lives.get(root, (time, time + 1, window.items[root].size_bytes))
            lives[root] = (low, max(high, time + 1), size)
    for item in (window.loss, window.weight):
        low, _, size = lives[owner[item]]
        lives[owner[item]] = (low, end, size)
    return lives


def _instructions(
    window: Window,
    order: list[int],
    offsets: dict[int, int],
    places: tuple[int, ...],
    spaces: dict[tuple[int, int], int],
    workspaces: list[tuple[int, ...]],
) -> list[pf.Instr]:
    stream: list[pf.Instr] = []
    for number in order:
        call = window.calls[number]
        if call.kind is CallKind.BATCH:
            stream.append(pf.Batch(call.micro, tuple(offsets[o] for o in call.outputs)))
        elif call.kind is CallKind.ZERO:
            (item,) = call.outputs
            stream.append(pf.Zero(offsets[item], window.items[item].size_bytes))
        else:
            operands = [offsets[i] for i in (*call.inputs, *call.outputs)]
            operands += [places[spaces[(number, k)]] for k in range(len(workspaces[number]))]
            stream.append(pf.Call(call.kernel, tuple(operands)))
    stream.append(pf.EndShard())
    return stream
