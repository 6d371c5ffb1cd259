"""From a sequence of loads (computes and page-ins) to a full plan: what leaves when, the peak and the cost.

A value that was loaded stays until its last use before it is loaded again, and leaves at once after that:
no plan with the same loads needs less memory. So planners search over sequences of loads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem, ProblemError

START = -1
"""Load position of a source that is resident from the start."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A complete sequence with its figures, before bounds and timing make it a `Plan`."""

    sequence: tuple[Instruction, ...]
    peak_bytes: int
    cost: float


@dataclass(slots=True)
class _Stay:
    """One stay of a value in memory, in load positions."""

    value: int
    load: int
    last_use: int
    overwritten: bool = False
    next_is_page_in: bool = False
    to_the_end: bool = False


def given_order(problem: Problem) -> tuple[Instruction, ...]:
    """The loads of the listed order: every node once, nothing paged."""
    return tuple(Instruction(Op.COMPUTE, node.id) for node in problem.nodes if not problem.is_source(node.id))


def complete(problem: Problem, loads: Sequence[Instruction]) -> Schedule:
    """Add drops and page-outs to a sequence of loads; `ProblemError` if a load reads what is not there."""
    stays = _stays(problem, loads)
    leaving: list[list[_Stay]] = [[] for _ in range(len(loads) + 1)]
    for stay in stays:
        if not stay.overwritten and not stay.to_the_end:
            leaving[stay.last_use + 1].append(stay)
    sequence: list[Instruction] = []
    for position in range(-1, len(loads)):
        if position >= 0:
            sequence.append(loads[position])
        for stay in sorted(leaving[position + 1], key=lambda stay: stay.value):
            if stay.load != START or stay.last_use != START:
                op = Op.PAGE_OUT if stay.next_is_page_in else Op.DROP
                sequence.append(Instruction(op, stay.value))
    return Schedule(tuple(sequence), peak_bytes(problem, sequence), plan_cost(problem, sequence))


def _stays(problem: Problem, loads: Sequence[Instruction]) -> list[_Stay]:
    current: dict[int, _Stay] = {}
    stays: list[_Stay] = []
    computed: set[int] = set()
    starts_on_flash = _starts_on_flash(problem, loads)
    for node in problem.nodes:
        if problem.is_source(node.id) and node.id not in starts_on_flash:
            current[node.id] = _Stay(node.id, START, START)
            stays.append(current[node.id])
    for position, (op, value) in enumerate(loads):
        if op is Op.COMPUTE:
            if value in computed and value in problem.once:
                raise ProblemError(
                    f"load {position} computes {value} ({problem.nodes[value].name!r}) again, "
                    "which may be computed once only"
                )
            computed.add(value)
            _use_operands(problem, value, position, current)
        previous = current.get(value)
        if previous is not None:
            previous.next_is_page_in = op is Op.PAGE_IN
        current[value] = _Stay(value, position, position)
        stays.append(current[value])
    for value, stay in current.items():
        _settle_end(problem, value, stay, starts_on_flash)
    return stays


def _starts_on_flash(problem: Problem, loads: Sequence[Instruction]) -> set[int]:
    return {
        value for op, value in loads if op is Op.PAGE_IN and problem.is_source(value)
    } - _used_before_load(problem, loads)


def _used_before_load(problem: Problem, loads: Sequence[Instruction]) -> set[int]:
    seen: set[int] = set()
    early: set[int] = set()
    for op, value in loads:
        if op is Op.COMPUTE:
            early.update(operand for operand in problem.nodes[value].operands if operand not in seen)
        seen.add(value)
    return early


def _use_operands(problem: Problem, value: int, position: int, current: dict[int, _Stay]) -> None:
    node = problem.nodes[value]
    for operand in node.operands:
        stay = current.get(operand)
        if stay is None or stay.overwritten:
            raise ProblemError(
                f"load {position} computes {value} ({node.name!r}), but value {operand} is not there"
            )
        stay.last_use = position
    if node.overwrites is not None:
        current[node.overwrites].overwritten = True


def _settle_end(problem: Problem, value: int, stay: _Stay, starts_on_flash: set[int]) -> None:
    if value not in problem.keep or stay.overwritten:
        return
    root = origin(problem, value)
    if problem.is_source(root) and root in starts_on_flash:
        stay.next_is_page_in = True
    else:
        stay.to_the_end = True


def origin(problem: Problem, value: int) -> int:
    """The value whose place this one took over, back to the first."""
    while (old := problem.nodes[value].overwrites) is not None:
        value = old
    return value


def heirs(problem: Problem, value: int) -> Iterator[int]:
    """The value, what takes over its place, and so on to the last."""
    heir: int | None = value
    while heir is not None:
        yield heir
        place = heir
        heir = next((user for user in problem.users[place] if problem.nodes[user].overwrites == place), None)


def peak_bytes(problem: Problem, sequence: Sequence[Instruction]) -> int:
    """Most bytes resident at any instruction, ``fixed_bytes`` and workspaces included."""
    sizes = [node.size_bytes for node in problem.nodes]
    live = problem.fixed_bytes + sum(sizes[value] for value in resident_at_start(problem, sequence))
    peak = live
    for op, value in sequence:
        if op is Op.COMPUTE:
            live += problem.nodes[value].new_bytes
            peak = max(peak, live + problem.nodes[value].workspace_bytes)
        elif op is Op.PAGE_IN:
            live += sizes[value]
            peak = max(peak, live)
        else:
            live -= sizes[value]
    return peak


def resident_at_start(problem: Problem, sequence: Sequence[Instruction]) -> list[int]:
    """Sources that the sequence expects in memory before its first instruction.

    A source that nothing uses and that is not kept is never in memory.
    """
    first: dict[int, Op] = {}
    for op, value in sequence:
        first.setdefault(value, op)
    return [
        node.id
        for node in problem.nodes
        if problem.is_source(node.id)
        and first.get(node.id) is not Op.PAGE_IN
        and (problem.users[node.id] or node.id in problem.keep)
    ]


def plan_cost(problem: Problem, sequence: Sequence[Instruction]) -> float:
    """Sum of the costs of every compute and transfer, by the rules of `Paging`."""
    return sum(instruction_costs(problem, sequence))


def instruction_costs(problem: Problem, sequence: Sequence[Instruction]) -> Iterator[float]:
    """What each instruction of a plan costs, by the rules of `Paging`."""
    paging = problem.paging
    stale = _Stale(problem)
    for op, value in sequence:
        node = problem.nodes[value]
        if op is Op.COMPUTE:
            stale.computed(value)
            yield node.cost
        elif op is Op.PAGE_IN and paging is not None:
            yield paging.page_in_cost(node.size_bytes)
        elif op is Op.PAGE_OUT and paging is not None and stale.written(value):
            yield paging.page_out_cost(node.size_bytes)
        else:
            yield 0.0


class _Stale:
    """Which values flash holds no current copy of."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._stale: set[int] = set()

    def computed(self, value: int) -> None:
        """The node of ``value`` ran: its value is new, and dirty sources that it read have changed."""
        paging = self._problem.paging
        if paging is None:
            return
        self._stale.add(value)
        for operand in self._problem.nodes[value].operands:
            if operand in paging.dirty and self._problem.is_source(operand):
                self._stale.add(operand)

    def written(self, value: int) -> bool:
        """Write ``value`` out; whether that had to be done."""
        if value in self._stale:
            self._stale.discard(value)
            return True
        return False
