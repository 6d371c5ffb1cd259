"""A plan → the same plan with its transfers where they overlap with computing, within the same memory.

No step changes what is computed, or in what order, or what is moved:

- `settled`: a source that is in memory when the window begins and later comes back from flash would end in
  another place than it began in. It begins on flash instead, read before everything else.
- `lean`: every transfer where it takes least memory: page-ins just before the first use, removals just after
  the last. Lives are then as short as can be, which is when a layout of them has the fewest gaps;
- `fetched_earlier`: page-ins move up, as far as the memory allows and as it can help. They keep their order;
- `stored_later`: page-outs that write move down, so that their memory is not wanted before they are done.

The last two take bounds, which say from where to where a transfer's place in the arena is free (`room`).

Durations are the problem's costs (`planners.cost`); they only say how far is far enough.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import instruction_costs, origin, peak_bytes, plan_cost, resident_at_start

HEADSTART = 2.0
"""A transfer gets this many times its own duration: flash is not punctual."""


def settled(problem: Problem, plan: Plan) -> Plan:
    """The plan in which sources that come back from flash begin there: one page-in more for each that did
    not.
    """
    roots = {origin(problem, value) for op, value in plan.sequence if op is Op.PAGE_IN}
    resident = resident_at_start(problem, plan.sequence)
    moved = [value for value in resident if value in roots and problem.pageable(value)]
    if not moved:
        return plan
    sequence = [*(Instruction(Op.PAGE_IN, value) for value in moved), *plan.sequence]
    holders = _at_the_end(problem, sequence)
    sequence += [Instruction(Op.PAGE_OUT, holders[root]) for root in moved if root in holders]
    cost = plan_cost(problem, sequence)
    return replace(
        plan,
        sequence=tuple(sequence),
        peak_bytes=peak_bytes(problem, sequence),
        cost=cost,
        proven_optimal=plan.proven_optimal and cost <= plan.cost,
    )


def _at_the_end(problem: Problem, sequence: Sequence[Instruction]) -> dict[int, int]:
    """Source → the value that has its place in memory when the sequence ends."""
    holders: dict[int, int] = {}
    for op, value in sequence:
        root = origin(problem, value)
        if op in (Op.COMPUTE, Op.PAGE_IN):
            holders[root] = value
        elif holders.get(root) == value:
            del holders[root]
    return {root: value for root, value in holders.items() if problem.is_source(root)}


def lean(problem: Problem, plan: Plan) -> Plan:
    """The plan with every page-in just before its first use and every removal just after the last."""
    waiting: dict[int, Instruction] = {}
    kept: list[Instruction] = []  # computes, and page-ins in front of their first use
    touched: dict[int, int] = {}  # value → the position in `kept` of what touched it last
    after: dict[int, list[Instruction]] = {}
    for instruction in plan.sequence:
        op, value = instruction
        if op is Op.PAGE_IN:
            waiting[value] = instruction
            continue
        uses = (*problem.nodes[value].operands, value) if op is Op.COMPUTE else (value,)
        for needed in uses:
            if needed in waiting:
                touched[needed] = len(kept)
                kept.append(waiting.pop(needed))
        if op is Op.COMPUTE:
            touched.update((used, len(kept)) for used in uses)
            kept.append(instruction)
        else:
            after.setdefault(touched.get(value, -1), []).append(instruction)
    sequence = list(after.get(-1, ()))
    for position, instruction in enumerate(kept):
        sequence += (instruction, *after.get(position, ()))
    sequence += waiting.values()  # kept in memory to the end and not used
    return replace(plan, sequence=tuple(sequence), peak_bytes=peak_bytes(problem, sequence))


def fetched_earlier(
    problem: Problem, plan: Plan, memory_bytes: int, earliest: Mapping[int, int] | None = None
) -> Plan:
    """The plan with page-ins earlier, within the memory. Its cost stays what it was.

    `earliest[position]`: how many of the plan's instructions a page-in has to leave before it. `problem` may
    be priced otherwise than the plan's own: its costs are taken as durations.
    """
    if not _has(plan, Op.PAGE_IN):
        return plan
    sequence = _earlier(problem, plan.sequence, memory_bytes, earliest or {})
    return replace(plan, sequence=tuple(sequence), peak_bytes=peak_bytes(problem, sequence))


def stored_later(
    problem: Problem,
    plan: Plan,
    memory_bytes: int,
    latest: Mapping[int, int] | None = None,
    headstart: float = HEADSTART,
) -> Plan:
    """The plan with page-outs that write later, within the memory, as `fetched_earlier`.

    `latest[position]`: the instruction that a page-out has to stay before. `headstart`: how many times its
    own duration a page-out moves down at most; infinite: as far as it can.
    """
    if not _has(plan, Op.PAGE_OUT):
        return plan
    sequence = _later(problem, plan.sequence, memory_bytes, latest or {}, headstart)
    return replace(plan, sequence=tuple(sequence), peak_bytes=peak_bytes(problem, sequence))


def _has(plan: Plan, wanted: Op) -> bool:
    return any(op is wanted for op, _ in plan.sequence)


def _loads(problem: Problem, sequence: Sequence[Instruction]) -> list[int]:
    """Bytes that each instruction needs while it runs."""
    nodes = problem.nodes
    live = problem.fixed_bytes + sum(nodes[v].size_bytes for v in resident_at_start(problem, sequence))
    loads: list[int] = []
    for op, value in sequence:
        node = nodes[value]
        loads.append(live)
        if op is Op.COMPUTE:
            live += node.new_bytes
            loads[-1] = live + node.workspace_bytes
        elif op is Op.PAGE_IN:
            live += node.size_bytes
            loads[-1] = live
        else:
            live -= node.size_bytes
    return loads


def _clock(problem: Problem, sequence: Sequence[Instruction]) -> list[float]:
    """What has been computed before each instruction, and before the end, in units of cost."""
    costs = (problem.nodes[value].cost if op is Op.COMPUTE else 0.0 for op, value in sequence)
    return [0.0, *accumulate(costs)]


def _earlier(
    problem: Problem, sequence: Sequence[Instruction], memory_bytes: int, bounds: Mapping[int, int]
) -> list[Instruction]:
    """Move every page-in up to where it should begin, or as far as memory, bounds and order allow.

    `fixed` is the sequence without page-ins; each of these stands before one of its instructions.
    """
    fixed: list[int] = []  # positions in the sequence
    ins: list[tuple[int, int]] = []  # (value, the place in `fixed` before which it stands)
    free: list[int] = []  # the place from which each page-in's own place in the arena is free
    for position, (op, value) in enumerate(sequence):
        if op is Op.PAGE_IN:
            ins.append((value, len(fixed)))
            free.append(bisect_left(fixed, bounds.get(position, 0)))
        else:
            fixed.append(position)
    every = _loads(problem, sequence)
    loads = [every[position] for position in fixed]
    clock = _clock(problem, [sequence[position] for position in fixed])
    wanted = _beginnings(problem, ins, clock)
    left = [0] * len(problem.nodes)  # the first place after a value was last in memory
    places: list[int] = []
    earliest = seen = 0
    for (value, place), begin, bound in zip(ins, wanted, free, strict=True):
        for position in fixed[seen:place]:
            left[sequence[position].id] = seen = seen + 1
        size = problem.nodes[value].size_bytes
        lowest = max(earliest, left[value], begin, bound)
        while place > lowest and loads[place - 1] + size <= memory_bytes:
            place -= 1
            loads[place] += size
        earliest = place
        places.append(place)
    moved: list[Instruction] = []
    following = 0
    for number, position in enumerate([*fixed, None]):
        while following < len(ins) and places[following] == number:
            moved.append(Instruction(Op.PAGE_IN, ins[following][0]))
            following += 1
        if position is not None:
            moved.append(sequence[position])
    return moved


def _beginnings(problem: Problem, ins: Sequence[tuple[int, int]], clock: Sequence[float]) -> list[int]:
    """The place before which each page-in should begin so that it and those after it are in time."""
    paging = problem.paging
    found: list[int] = []
    begin = float("inf")
    for value, place in reversed(ins):
        cost = paging.page_in_cost(problem.nodes[value].size_bytes) if paging else 0.0
        begin = min(begin, clock[place]) - HEADSTART * cost
        found.append(max(0, bisect_right(clock, begin) - 1))
    return found[::-1]


def _later(
    problem: Problem,
    sequence: Sequence[Instruction],
    memory_bytes: int,
    bounds: Mapping[int, int],
    headstart: float,
) -> list[Instruction]:
    """Move every page-out that writes down until there was time to write, as memory, bounds and order
    allow."""
    moved = list(sequence)
    was = list(range(len(moved)))  # the position that each instruction had
    loads = _loads(problem, moved)
    costs = list(instruction_costs(problem, moved))
    for position in reversed(range(len(moved))):
        op, value = moved[position]
        if op is not Op.PAGE_OUT or not costs[position]:
            continue
        size = problem.nodes[value].size_bytes
        bound = bounds.get(position, len(moved))
        due = headstart * costs[position]
        while position + 1 < len(moved) and due > 0:
            after, other = moved[position + 1]
            if other == value or (after is Op.PAGE_OUT and costs[position + 1]) or was[position + 1] >= bound:
                break
            if loads[position + 1] + size > memory_bytes:
                break
            loads[position] = loads[position + 1] + size
            moved[position], moved[position + 1] = moved[position + 1], moved[position]
            costs[position], costs[position + 1] = costs[position + 1], costs[position]
            was[position], was[position + 1] = was[position + 1], was[position]
            position += 1
            loads[position] = loads[position - 1]
            due -= problem.nodes[other].cost if after is Op.COMPUTE else 0.0
    return moved
