"""Lower bounds that hold for every plan: on the peak, and on the cost under a budget."""

from __future__ import annotations

from dataclasses import dataclass

from daypack.planners.infeasible import ForcedBy, PlanInfeasible
from daypack.planners.problem import Problem
from daypack.planners.schedule import heirs, origin


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """Bytes that every plan needs, and the values that are in memory at the moment that forces it."""

    bound_bytes: int
    forced_by: tuple[ForcedBy, ...]


def memory_bound(problem: Problem) -> MemoryBound:
    """The largest working set of one node: operands, output, workspace, sources that never leave."""
    pinned = _pinned(problem)
    pinned_bytes = problem.fixed_bytes + sum(problem.nodes[value].size_bytes for value in pinned)
    best, worst = pinned_bytes, -1
    for node in problem.nodes:
        if problem.is_source(node.id):
            continue
        operands = [value for value in node.operands if origin(problem, value) not in pinned]
        need = pinned_bytes + node.workspace_bytes
        need += sum(problem.nodes[value].size_bytes for value in operands)
        if origin(problem, node.id) not in pinned:
            need += node.new_bytes
        if need > best:
            best, worst = need, node.id
    return MemoryBound(best, _forced_by(problem, pinned, worst))


def forced_by(problem: Problem, node: int) -> tuple[ForcedBy, ...]:
    """What is in memory while a node computes: its working set and the sources that never leave."""
    return _forced_by(problem, _pinned(problem), node)


def _pinned(problem: Problem) -> set[int]:
    """Kept sources that nothing lets leave: resident in every plan, through whatever overwrites them."""
    roots = {origin(problem, value) for value in problem.keep}
    return {root for root in roots if problem.is_source(root) and not may_leave(problem, root)}


def may_leave(problem: Problem, value: int) -> bool:
    """Whether the value, or anything that takes its place by overwriting it, may be paged."""
    return any(problem.pageable(holder) for holder in heirs(problem, value))


def _forced_by(problem: Problem, pinned: set[int], worst: int) -> tuple[ForcedBy, ...]:
    values = set(pinned)
    forced: list[ForcedBy] = []
    if worst >= 0:
        node = problem.nodes[worst]
        values.update(node.operands, (worst,) if node.new_bytes else ())
        if node.workspace_bytes:
            forced.append(ForcedBy(worst, f"workspace of {node.name}", node.workspace_bytes))
    members = [problem.nodes[value] for value in sorted(values)]
    forced += [ForcedBy(node.id, node.name, node.size_bytes) for node in members]
    return tuple(sorted(forced, key=lambda value: (-value.size_bytes, value.id)))


def cost_bound(problem: Problem, memory_bytes: int) -> float:
    """Every node once: no plan costs less, whatever the budget."""
    return sum(node.cost for node in problem.nodes if not problem.is_source(node.id))


def infeasible(problem: Problem, memory_bytes: int, smallest_feasible_bytes: int) -> PlanInfeasible:
    """The error for a budget that nothing was found to fit."""
    bound = memory_bound(problem)
    return PlanInfeasible(memory_bytes, smallest_feasible_bytes, bound.bound_bytes, bound.forced_by)
