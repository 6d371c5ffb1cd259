"""A plan as buffers: one for each stay of a value in memory, one for each workspace.

Time is the index of the plan's instruction. A stay begins at the instruction that loads the value (0 if
resident from the start) and ends at the instruction that removes it, or at the plan's end. An overwriting
node continues the stay of what it overwrites: both have one buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.planners.layout import Buffer
from daypack.planners.plan import Op, Plan
from daypack.planners.problem import Problem
from daypack.planners.schedule import resident_at_start


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """``buffers`` with ids 0, 1, …; where each instruction finds its values.

    ``operands[t]`` maps each value that instruction ``t`` touches (operands and output of a compute, the
    value of another) to its buffer; ``workspace[t]`` is the buffer of the workspace or None; ``initial``
    maps the sources that are resident from the start; ``final`` the values that are resident at the end.
    """

    buffers: tuple[Buffer, ...]
    operands: tuple[dict[int, int], ...]
    workspace: tuple[int | None, ...]
    initial: dict[int, int]
    final: dict[int, int]


def lifetimes(problem: Problem, plan: Plan) -> Lifetimes:
    """The buffers of a valid plan. A workspace lives for its one instruction."""
    walk = _Walk(problem, len(plan.sequence))
    initial = {value: walk.open(value, 0) for value in resident_at_start(problem, plan.sequence)}
    operands: list[dict[int, int]] = []
    workspace: list[int | None] = []
    for time, (op, value) in enumerate(plan.sequence):
        touched, scratch = walk.step(time, op, value)
        operands.append(touched)
        workspace.append(scratch)
    return Lifetimes(walk.buffers(), tuple(operands), tuple(workspace), initial, dict(walk.where))


class _Walk:
    def __init__(self, problem: Problem, end: int) -> None:
        self._problem = problem
        self._end = max(end, 1)
        self._rows: list[tuple[int, int, int]] = []
        self.where: dict[int, int] = {}

    def open(self, value: int, time: int) -> int:
        """Begin a stay; until it is closed it lasts to the end."""
        self._rows.append((time, self._end, self._problem.nodes[value].size_bytes))
        self.where[value] = len(self._rows) - 1
        return self.where[value]

    def step(self, time: int, op: Op, value: int) -> tuple[dict[int, int], int | None]:
        """Apply one instruction; the buffers it touches and its workspace."""
        if op is Op.COMPUTE:
            return self._compute(time, value)
        if op is Op.PAGE_IN:
            return {value: self.open(value, time)}, None
        buffer = self.where.pop(value)
        lower, _, size_bytes = self._rows[buffer]
        # A page-out reads its value while it runs, a drop does not.
        self._rows[buffer] = (lower, max(time + (op is Op.PAGE_OUT), lower + 1), size_bytes)
        return {value: buffer}, None

    def _compute(self, time: int, value: int) -> tuple[dict[int, int], int | None]:
        node = self._problem.nodes[value]
        touched = {operand: self.where[operand] for operand in node.operands}
        if node.overwrites is None:
            touched[value] = self.open(value, time)
        else:
            touched[value] = self.where[value] = self.where.pop(node.overwrites)
        if not node.workspace_bytes:
            return touched, None
        self._rows.append((time, time + 1, node.workspace_bytes))
        return touched, len(self._rows) - 1

    def buffers(self) -> tuple[Buffer, ...]:
        """Every stay and workspace so far."""
        return tuple(
            Buffer(index, lower, upper, size) for index, (lower, upper, size) in enumerate(self._rows)
        )
