"""Where a plan is cut into shards: the runs of instructions after which the engine may pause.

A shard takes at most `QUANTUM_S` of modelled time on the device, kernels, and the reads they wait for,
included; a kernel that takes longer is a shard of its own. Within the second half of a quantum the cut is
where least is held of what the window computed (activations, gradients), the latest place among equals. That
is where a layer ends: what was made within it is gone, and what it hands on is small. Weights and moments do
not count: a file has them too.
"""

from __future__ import annotations

from collections.abc import Sequence

from daypack.planners.cost import clock
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem
from daypack.planners.schedule import origin

QUANTUM_S = 0.2
"""Most modelled seconds of a shard: what a pause or a change of gear has to wait for."""
LEAST = 0.5
"""Share of the quantum that a shard takes at least, unless it is the last or a long kernel follows."""


def shard_ends(problem: Problem, sequence: Sequence[Instruction]) -> tuple[int, ...]:
    """One past the last instruction of each shard; the last is the plan's end. Costs are seconds."""
    at = [computed for computed, _ in clock(problem, sequence)]
    held = _held_bytes(problem, sequence)
    ends: list[int] = []
    passed: list[int] = []
    begun = 0.0
    for place in (*_places(sequence), len(sequence)):
        while passed and at[place - 1] - begun > QUANTUM_S:
            late = [p for p in passed if at[p - 1] - begun >= LEAST * QUANTUM_S] or passed[-1:]
            ends.append(min(late, key=lambda p: (held[p], -p)))
            begun = at[ends[-1] - 1]
            passed = [p for p in passed if p > ends[-1]]
        passed.append(place)
    return (*ends, len(sequence))


def _places(sequence: Sequence[Instruction]) -> list[int]:
    """Where a cut may be: after a compute and all that leaves behind it, so that shards begin by loading."""
    places: list[int] = []
    computed = False
    for place, (op, _) in enumerate(sequence):
        if computed and op in (Op.COMPUTE, Op.PAGE_IN):
            places.append(place)
            computed = False
        computed = computed or op is Op.COMPUTE
    return places


def _held_bytes(problem: Problem, sequence: Sequence[Instruction]) -> list[int]:
    """Bytes of computed values in memory before each instruction."""
    held: list[int] = []
    total = 0
    for op, value in sequence:
        held.append(total)
        if not problem.is_source(origin(problem, value)):
            node = problem.nodes[value]
            total += node.new_bytes if op is Op.COMPUTE else node.size_bytes * (1 if op is Op.PAGE_IN else -1)
    return held
