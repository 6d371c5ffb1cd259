"""A problem with some of the planner's means taken away: for measuring what each of them is worth.

What is taken away is taken from the problem, so every planner obeys without knowing:

- recomputation: every node is computed once;
- reading again: what reads a source that may be paged is computed once;
- paging: nothing may leave memory;
- swap: only sources may;
- free order: between two nodes that follow each other in the listed order and do not depend on each other
  stands an empty node, which reads the first and is read by the second. It has no size and no cost and is
  kept, so neither peaks nor costs differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daypack.planners.plan import Instruction, Plan
from daypack.planners.problem import Node, Problem


@dataclass(frozen=True, slots=True)
class Restricted:
    """`problem`, and for each of its nodes but the empty ones the node of the problem it was made of."""

    problem: Problem
    original: Mapping[int, int]

    def unrestricted(self, plan: Plan) -> Plan:
        """A plan of `problem` as a plan of the original one, with the same figures."""
        steps = (Instruction(op, self.original[v]) for op, v in plan.sequence if v in self.original)
        return replace(plan, sequence=tuple(steps))


def restricted(
    problem: Problem,
    *,
    recompute: bool = True,
    reread: bool = True,
    paging: bool = True,
    swap: bool = True,
    reorder: bool = True,
) -> Restricted:
    """The problem with only these means."""
    if not recompute:
        computed = (node.id for node in problem.nodes if not problem.is_source(node.id))
        problem = replace(problem, once=problem.once | frozenset(computed))
    if not reread:
        readers = (
            node.id for node in problem.nodes if any(_is_paged_source(problem, i) for i in node.inputs)
        )
        problem = replace(problem, once=problem.once | frozenset(readers))
    if not paging:
        problem = replace(problem, paging=None)
    elif not swap and problem.paging is not None:
        sources = frozenset(filter(problem.is_source, problem.paging.pageable))
        problem = replace(problem, paging=replace(problem.paging, pageable=sources))
    return Restricted(problem, {n.id: n.id for n in problem.nodes}) if reorder else _in_order(problem)


def _is_paged_source(problem: Problem, value: int) -> bool:
    return problem.is_source(value) and problem.pageable(value)


def _in_order(problem: Problem) -> Restricted:
    nodes: list[Node] = []
    place: dict[int, int] = {}  # node → its place among `nodes`
    empty: set[int] = set()
    last: int | None = None
    for node in problem.nodes:
        moved = _moved(node, place)
        if not problem.is_source(node.id):
            if last is not None and last not in moved.operands:
                empty.add(len(nodes))
                nodes.append(Node(len(nodes), f"{nodes[last].name} (before)", 0.0, 0, 0, (last,)))
                moved = replace(moved, inputs=(*moved.inputs, len(nodes) - 1))
            last = len(nodes)
        place[node.id] = len(nodes)
        nodes.append(replace(moved, id=len(nodes)))
    return Restricted(
        _with_nodes(problem, nodes, place, frozenset(empty)), {new: old for old, new in place.items()}
    )


def _moved(node: Node, place: Mapping[int, int]) -> Node:
    overwrites = None if node.overwrites is None else place[node.overwrites]
    return replace(node, inputs=tuple(place[i] for i in node.inputs), overwrites=overwrites)


def _with_nodes(
    problem: Problem, nodes: list[Node], place: Mapping[int, int], empty: frozenset[int]
) -> Problem:
    def each(values: frozenset[int]) -> frozenset[int]:
        return frozenset(place[value] for value in values)

    paging = problem.paging
    if paging is not None:
        paging = replace(paging, pageable=each(paging.pageable), dirty=each(paging.dirty))
    return Problem(
        tuple(nodes), each(problem.keep) | empty, problem.fixed_bytes, paging, each(problem.once) | empty
    )
