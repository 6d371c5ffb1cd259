"""Plans that page as much as a budget makes them, for tests that must not depend on what a planner finds.

Belady's rule over the given order, no recomputation: when memory runs out, the pageable value whose next use
is furthest leaves. Pageable sources start on flash.
"""

from __future__ import annotations

from bisect import bisect_right

from daypack.planners.plan import Instruction, Op, Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.schedule import complete


def page_all(problem: Problem, memory_bytes: int, options: PlanOptions | None = None) -> Plan:
    """A plan within the memory if paging alone makes one; otherwise the plan that was found, above it."""
    schedule = complete(problem, _loads(problem, memory_bytes))
    return Plan(schedule.sequence, schedule.peak_bytes, schedule.cost, 0.0, False, 0.0, "page-all")


def least_memory(problem: Problem) -> int:
    """The smallest peak of `page_all`: nothing stays that may leave."""
    return page_all(problem, 0).peak_bytes


def _loads(problem: Problem, memory_bytes: int) -> list[Instruction]:
    nodes = problem.nodes
    resident = {n.id for n in nodes if problem.is_source(n.id) and not problem.pageable(n.id)}
    resident = {v for v in resident if problem.users[v] or v in problem.keep}
    loads: list[Instruction] = []

    def next_use(value: int, now: int) -> float:
        users = problem.users[value]
        index = bisect_right(users, now)
        return users[index] if index < len(users) else float("inf") if value in problem.keep else -1

    def room(size: int, now: int, locked: set[int]) -> None:
        for value in [v for v in resident if next_use(v, now) == -1 and v not in locked]:
            resident.discard(value)
        while problem.fixed_bytes + sum(nodes[v].size_bytes for v in resident) + size > memory_bytes:
            victims = [v for v in resident if problem.pageable(v) and v not in locked]
            if not victims:
                return
            resident.discard(max(victims, key=lambda v: (next_use(v, now), v)))

    for node in nodes:
        if problem.is_source(node.id):
            continue
        locked = set(node.operands)
        for operand in node.operands:
            if operand not in resident:
                room(nodes[operand].size_bytes, node.id - 1, locked)
                loads.append(Instruction(Op.PAGE_IN, operand))
                resident.add(operand)
        room(node.new_bytes + node.workspace_bytes, node.id - 1, locked)
        loads.append(Instruction(Op.COMPUTE, node.id))
        if node.overwrites is not None:
            resident.discard(node.overwrites)
        resident.add(node.id)
    return loads
