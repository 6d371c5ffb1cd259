"""The planning problem of one window: nodes with a cost, values with a size, edges, and what may be paged.

Quantities and their units (the header page of this package)

``cost``          the objective's unit (seconds, joules or bytes written), the same for computes and transfers
``*_bytes``       bytes of memory; every size is what the value occupies in the arena
``lower, upper``  half-open lifetimes in instruction indices
``fixed_bytes``   what is resident whatever the plan does (engine, stacks, tables)

The worked example that headers, tests and README share: three layers forward, three backward, one loss.

::

    x ──► a ──► b ──► c ──► loss          sizes: x 4, a b c 4 each, gradients 4, loss 1
    │     │     │     │      │            costs: 1 each
    │     ▼     ▼     ▼      ▼
    └──► da ◄── db ◄── dc ◄──┘            dc reads c and loss, db reads b and dc, da reads a and db

A node makes one value; node and value share the id, which is the position in `Problem.nodes`.
No JAX and no TVM here: a compiler projects its step into this, a researcher reads it from a JSON file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from daypack.errors import SpecError

MAX_BYTES = 2**62
"""No size, and no sum of sizes, reaches this: everything downstream may use signed 64-bit integers."""


class ProblemError(SpecError):
    """A problem that no planner can take; the message names the node and what to change."""


class NodeKind(StrEnum):
    """How a value comes to be: computed by its node, or given (weights, moments, batch)."""

    COMPUTE = "compute"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation and the value that it makes.

    ``overwrites`` names a value whose bytes this node's output takes over; it must be resident, is destroyed,
    and is not counted twice. It need not be listed in ``inputs``.
    """

    id: int
    name: str
    cost: float
    size_bytes: int
    workspace_bytes: int = 0
    inputs: tuple[int, ...] = ()
    kind: NodeKind = NodeKind.COMPUTE
    overwrites: int | None = None
    operands: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Every value that must be resident while the node computes, without repeats, in order."""

    def __post_init__(self) -> None:
        extra = () if self.overwrites is None else (self.overwrites,)
        object.__setattr__(self, "operands", tuple(dict.fromkeys(self.inputs + extra)))

    @property
    def new_bytes(self) -> int:
        """Bytes that the output adds to what is resident: none when it takes over its operand's place."""
        return 0 if self.overwrites is not None else self.size_bytes


@dataclass(frozen=True, slots=True)
class Paging:
    """What may leave memory for flash and come back, and at what price.

    A page-in costs ``max(size_bytes, min_read_bytes) / read_bytes_per_s``. A page-out costs
    ``size_bytes / write_bytes_per_s`` when flash holds no current copy, nothing otherwise: a computed value
    has none until its first page-out; a source has one, which is stale once a source listed in ``dirty``
    (changed in place by its users, such as a moment) has been used. An overwriting node inherits the place
    of what it overwrites.
    """

    read_bytes_per_s: float
    write_bytes_per_s: float
    min_read_bytes: int = 0
    pageable: frozenset[int] = frozenset()
    dirty: frozenset[int] = frozenset()

    def page_in_cost(self, size_bytes: int) -> float:
        """Price of bringing a value of this size back."""
        return max(size_bytes, self.min_read_bytes) / self.read_bytes_per_s

    def page_out_cost(self, size_bytes: int) -> float:
        """Price of writing a value of this size."""
        return size_bytes / self.write_bytes_per_s


@dataclass(frozen=True, slots=True)
class Problem:
    """A window to plan; list order is a valid order of execution.

    ``keep`` names the values that must survive the window: a computed one is resident or on flash at the
    end, a source (or what overwrote it) ends where it began, so that the next window finds it there. A
    source that is not kept is free after its last use, as any value is. ``once`` names the nodes that must
    not be computed again, because they or their users change something in place; they still move in the
    order, which edges alone decide (an empty node orders two others). Laws, checked on construction
    (`ProblemError`): ids are positions; inputs come earlier; sizes and costs are finite and not negative; a
    value is overwritten at most once, by a node of its size, after every other reader.
    """

    nodes: tuple[Node, ...]
    keep: frozenset[int] = frozenset()
    fixed_bytes: int = 0
    paging: Paging | None = None
    once: frozenset[int] = frozenset()
    users: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)
        _check_members(self)
        _check_sums(self)
        object.__setattr__(self, "users", _users(self.nodes))
        _check_overwrites(self)

    def pageable(self, value: int) -> bool:
        """Whether the value may be paged."""
        return self.paging is not None and value in self.paging.pageable

    def is_source(self, value: int) -> bool:
        """Whether the value is given rather than computed."""
        return self.nodes[value].kind is NodeKind.SOURCE


def _users(nodes: tuple[Node, ...]) -> tuple[tuple[int, ...], ...]:
    users: list[list[int]] = [[] for _ in nodes]
    for node in nodes:
        for operand in node.operands:
            users[operand].append(node.id)
    return tuple(map(tuple, users))


def _check_nodes(nodes: tuple[Node, ...]) -> None:
    for position, node in enumerate(nodes):
        where = f"node {node.id} ({node.name!r})"
        if node.id != position:
            raise ProblemError(f"{where}: its id must be its position {position}; renumber the nodes")
        for key, value in (("size_bytes", node.size_bytes), ("workspace_bytes", node.workspace_bytes)):
            _check_bytes(where, key, value)
        if not (math.isfinite(node.cost) and node.cost >= 0):
            raise ProblemError(f"{where}: cost must be a finite number of at least 0, found {node.cost}")
        for operand in node.operands:
            if not 0 <= operand < len(nodes):
                raise ProblemError(
                    f"{where}: reads value {operand}, which no node makes; there are {len(nodes)} nodes"
                )
            if operand >= position:
                raise ProblemError(
                    f"{where}: reads value {operand}, which is not listed before it; sort the nodes"
                )
        if node.kind is NodeKind.SOURCE and node.operands:
            raise ProblemError(f"{where}: a source reads nothing, found inputs {list(node.operands)}")


def _check_bytes(where: str, key: str, value: int) -> None:
    if value < 0:
        raise ProblemError(f"{where}: {key} must be at least 0, found {value}")
    if value >= MAX_BYTES:
        raise ProblemError(f"{where}: {key} must be below 2^62, found {value}")


def _check_members(problem: Problem) -> None:
    _check_bytes("problem", "fixed_bytes", problem.fixed_bytes)
    _check_ids("keep", problem.keep, len(problem.nodes))
    _check_ids("once", problem.once, len(problem.nodes))
    paging = problem.paging
    if paging is None:
        return
    _check_ids("paging.pageable", paging.pageable, len(problem.nodes))
    _check_ids("paging.dirty", paging.dirty, len(problem.nodes))
    _check_bytes("paging", "min_read_bytes", paging.min_read_bytes)
    for key, rate in (
        ("read_bytes_per_s", paging.read_bytes_per_s),
        ("write_bytes_per_s", paging.write_bytes_per_s),
    ):
        if not (math.isfinite(rate) and rate > 0):
            raise ProblemError(f"paging: {key} must be a finite number above 0, found {rate}")
    stray = paging.dirty - paging.pageable
    if stray:
        raise ProblemError(
            f"paging.dirty: value {min(stray)} is not in paging.pageable; add it there or leave it out"
        )


def _check_ids(where: str, ids: Iterable[int], count: int) -> None:
    for value in ids:
        if not 0 <= value < count:
            raise ProblemError(f"{where}: value {value} does not exist; there are {count} nodes")


def _check_sums(problem: Problem) -> None:
    total = problem.fixed_bytes + sum(node.size_bytes + node.workspace_bytes for node in problem.nodes)
    if total >= MAX_BYTES:
        raise ProblemError(f"problem: the sizes together must stay below 2^62 bytes, found {total}")
    cost = sum(node.cost for node in problem.nodes)
    if not math.isfinite(cost):
        raise ProblemError("problem: the costs together overflow a double; use a larger unit of cost")


def _check_overwrites(problem: Problem) -> None:
    owner: dict[int, int] = {}
    for node in problem.nodes:
        old = node.overwrites
        if old is None:
            continue
        where = f"node {node.id} ({node.name!r})"
        if old in owner:
            raise ProblemError(f"{where}: overwrites value {old}, which node {owner[old]} already overwrites")
        owner[old] = node.id
        if node.size_bytes != problem.nodes[old].size_bytes:
            raise ProblemError(
                f"{where}: overwrites value {old} of {problem.nodes[old].size_bytes} bytes, "
                f"so its size_bytes must be the same, found {node.size_bytes}"
            )
        late = [
            user for user in problem.users[old] if user > node.id and problem.nodes[user].overwrites != old
        ]
        if late:
            raise ProblemError(
                f"{where}: overwrites value {old}, which node {late[0]} still reads; list the update last"
            )
        if old in problem.keep:
            raise ProblemError(f"{where}: overwrites value {old}, which keep names; keep {node.id} instead")
