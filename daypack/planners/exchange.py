"""Problems and plans as JSON: ``daypack-problem/1`` and ``daypack-plan/1``.

A file's ids are integers or strings of its author's choice; inside, a value's id is its position. `Named`
keeps both. Everything in a file is checked before it is used, and unknown keys are refused: a misspelt one
must not be ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daypack.planners.fields import (
    FileId,
    as_id,
    as_integer,
    as_list,
    as_number,
    as_object,
    check_format,
    parse_json,
    read_text,
)
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Node, NodeKind, Paging, Problem, ProblemError

PROBLEM_FORMAT = "daypack-problem/1"
PLAN_FORMAT = "daypack-plan/1"

_PROBLEM_KEYS = {"format", "nodes", "keep", "fixed_bytes", "paging", "once"}
_NODE_KEYS = {"id", "name", "kind", "cost", "size_bytes", "workspace_bytes", "inputs", "overwrites"}
_PAGING_KEYS = {"read_bytes_per_s", "write_bytes_per_s", "min_read_bytes", "pageable", "dirty"}
_PLAN_KEYS = {
    "format",
    "sequence",
    "peak_bytes",
    "cost",
    "lower_bound_cost",
    "proven_optimal",
    "seconds",
    "planner",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A problem with the ids that its file uses; ``ids[v]`` is the file's name for value ``v``."""

    problem: Problem
    ids: tuple[FileId, ...]


def read_problem(path: Path) -> Named:
    """The problem in a file; `ProblemError` says where it is wrong, what was expected and what was found."""
    return parse_problem(read_text(path), str(path))


def parse_problem(text: str, where: str = "problem") -> Named:
    """The problem in a JSON text."""
    root = as_object(where, parse_json(text, where), _PROBLEM_KEYS, {"format", "nodes"})
    check_format(where, root, PROBLEM_FORMAT)
    rows = [
        as_object(f"{where}: nodes[{index}]", row, _NODE_KEYS, {"id", "size_bytes"})
        for index, row in enumerate(as_list(f"{where}: nodes", root["nodes"]))
    ]
    table = _Ids(where, rows)
    nodes = tuple(_node(f"{where}: nodes[{index}]", index, row, table) for index, row in enumerate(rows))
    _check_cycles(where, nodes, table)
    try:
        problem = Problem(
            nodes,
            frozenset(table.many(f"{where}: keep", root.get("keep", []))),
            as_integer(f"{where}: fixed_bytes", root.get("fixed_bytes", 0)),
            _paging(f"{where}: paging", root.get("paging"), table),
            frozenset(table.many(f"{where}: once", root.get("once", []))),
        )
    except ProblemError as error:
        raise ProblemError(f"{where}: {error.message}") from None
    return Named(problem, table.ids)


def problem_text(named: Named) -> str:
    """A problem as JSON, one node a line."""
    problem, ids = named.problem, named.ids
    lines = ",\n".join("  " + json.dumps(_node_row(node, ids), ensure_ascii=False) for node in problem.nodes)
    rest: dict[str, object] = {
        "keep": [ids[value] for value in sorted(problem.keep)],
        "fixed_bytes": problem.fixed_bytes,
        "paging": _paging_row(problem.paging, ids),
    }
    if problem.once:
        rest["once"] = [ids[value] for value in sorted(problem.once)]
    return f'{{"format": "{PROBLEM_FORMAT}", "nodes": [\n{lines}\n], ' + json.dumps(rest)[1:] + "\n"


def named(problem: Problem) -> Named:
    """A problem whose file ids are its positions."""
    return Named(problem, tuple(range(len(problem.nodes))))


def plan_row(plan: Plan, ids: Sequence[FileId]) -> dict[str, object]:
    """A plan as the JSON object of ``daypack-plan/1``."""
    return {
        "format": PLAN_FORMAT,
        "sequence": [[op.value, ids[value]] for op, value in plan.sequence],
        "peak_bytes": plan.peak_bytes,
        "cost": plan.cost,
        "lower_bound_cost": plan.lower_bound_cost,
        "proven_optimal": plan.proven_optimal,
        "seconds": plan.seconds,
        "planner": plan.planner,
    }


def parse_plan(text: str, ids: Sequence[FileId], where: str = "plan") -> Plan:
    """The plan in a JSON text; the judge (`validate`) says whether it is sound."""
    required = _PLAN_KEYS - {"planner"}
    root = as_object(where, parse_json(text, where), _PLAN_KEYS, required)
    check_format(where, root, PLAN_FORMAT)
    position = {value: index for index, value in enumerate(ids)}
    steps = enumerate(as_list(f"{where}: sequence", root["sequence"]))
    return Plan(
        tuple(_instruction(f"{where}: sequence[{index}]", step, position) for index, step in steps),
        as_integer(f"{where}: peak_bytes", root["peak_bytes"]),
        as_number(f"{where}: cost", root["cost"]),
        as_number(f"{where}: lower_bound_cost", root["lower_bound_cost"]),
        bool(root["proven_optimal"]),
        as_number(f"{where}: seconds", root["seconds"]),
        str(root.get("planner", "")),
    )


class _Ids:
    """The file's ids and their positions."""

    def __init__(self, where: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.position: dict[FileId, int] = {}
        for index, row in enumerate(rows):
            value = as_id(f"{where}: nodes[{index}]: id", row["id"])
            if value in self.position:
                first = self.position[value]
                raise ProblemError(
                    f"{where}: nodes[{index}]: id {value!r} is a duplicate of nodes[{first}]; ids differ"
                )
            self.position[value] = index
        self.ids: tuple[FileId, ...] = tuple(self.position)

    def one(self, where: str, value: object) -> int:
        key = as_id(where, value)
        if key not in self.position:
            raise ProblemError(f"{where}: {key!r} is dangling: no node has this id")
        return self.position[key]

    def many(self, where: str, values: object) -> list[int]:
        return [self.one(f"{where}[{index}]", value) for index, value in enumerate(as_list(where, values))]


def _node(where: str, index: int, row: Mapping[str, Any], table: _Ids) -> Node:
    kind = row.get("kind", NodeKind.COMPUTE.value)
    if kind not in list(NodeKind):
        raise ProblemError(f"{where}: kind must be 'compute' or 'source', found {kind!r}")
    if kind == NodeKind.COMPUTE and "cost" not in row:
        raise ProblemError(f"{where}: 'cost' is missing")
    overwrites = row.get("overwrites")
    name = row.get("name", str(row["id"]))
    if not isinstance(name, str):
        raise ProblemError(f"{where}: name must be a string, found {name!r}")
    return Node(
        index,
        name,
        as_number(f"{where}: cost", row.get("cost", 0)),
        as_integer(f"{where}: size_bytes", row["size_bytes"]),
        as_integer(f"{where}: workspace_bytes", row.get("workspace_bytes", 0)),
        tuple(table.many(f"{where}: inputs", row.get("inputs", []))),
        NodeKind(kind),
        None if overwrites is None else table.one(f"{where}: overwrites", overwrites),
    )


def _check_cycles(where: str, nodes: Sequence[Node], table: _Ids) -> None:
    late = [(operand, node.id) for node in nodes for operand in node.operands if operand >= node.id]
    if not late:
        return
    cycle = _cycle(nodes)
    if not cycle:
        operand, reader = late[0]
        raise ProblemError(
            f"{where}: nodes[{reader}] (id {table.ids[reader]!r}) reads {table.ids[operand]!r}, "
            "which is listed later; list the nodes in a valid order of execution"
        )
    names = " -> ".join(repr(table.ids[value]) for value in [*cycle, cycle[0]])
    raise ProblemError(f"{where}: the nodes are cyclic: {names}")


def _cycle(nodes: Sequence[Node]) -> list[int]:
    import networkx as nx  # slow to import, and needed for this error alone

    graph: Any = nx.DiGraph((operand, node.id) for node in nodes for operand in node.operands)
    find: Any = nx.find_cycle  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        return [int(edge[0]) for edge in find(graph)]
    except nx.NetworkXNoCycle:
        return []


def _paging(where: str, row: object, table: _Ids) -> Paging | None:
    if row is None:
        return None
    keys = as_object(where, row, _PAGING_KEYS, {"read_bytes_per_s", "write_bytes_per_s"})
    return Paging(
        as_number(f"{where}: read_bytes_per_s", keys["read_bytes_per_s"]),
        as_number(f"{where}: write_bytes_per_s", keys["write_bytes_per_s"]),
        as_integer(f"{where}: min_read_bytes", keys.get("min_read_bytes", 0)),
        frozenset(table.many(f"{where}: pageable", keys.get("pageable", []))),
        frozenset(table.many(f"{where}: dirty", keys.get("dirty", []))),
    )


def _node_row(node: Node, ids: Sequence[FileId]) -> dict[str, object]:
    return {
        "id": ids[node.id],
        "name": node.name,
        "kind": node.kind.value,
        "cost": node.cost,
        "size_bytes": node.size_bytes,
        "workspace_bytes": node.workspace_bytes,
        "inputs": [ids[value] for value in node.inputs],
        "overwrites": None if node.overwrites is None else ids[node.overwrites],
    }


def _paging_row(paging: Paging | None, ids: Sequence[FileId]) -> dict[str, object] | None:
    if paging is None:
        return None
    return {
        "read_bytes_per_s": paging.read_bytes_per_s,
        "write_bytes_per_s": paging.write_bytes_per_s,
        "min_read_bytes": paging.min_read_bytes,
        "pageable": [ids[value] for value in sorted(paging.pageable)],
        "dirty": [ids[value] for value in sorted(paging.dirty)],
    }


def _instruction(where: str, step: object, position: Mapping[FileId, int]) -> Instruction:
    pair = as_list(where, step)
    if len(pair) != 2 or pair[0] not in list(Op):
        names = ", ".join(op.value for op in Op)
        raise ProblemError(f"{where}: expected [operation, id] with an operation of {names}, found {step!r}")
    value = as_id(where, pair[1])
    if value not in position:
        raise ProblemError(f"{where}: {value!r} is dangling: no node has this id")
    return Instruction(Op(pair[0]), position[value])
