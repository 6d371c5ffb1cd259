"""The layer chains of a problem: runs of the listed order that hand one value on, and what is saved in them.

A training step goes up (forward: saved values pile up) and down again (backward: they are used), once a
micro-step. `chains` finds each such hump in the bytes that live along the listed order, its turn, and the
places before the turn where only one value is handed on. Between two such places lies a block. Without a hump
or without such places there is no chain, and the answer is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.planners.orders import given
from daypack.planners.problem import Problem

VALLEY = 0.02
"""A hump ends where less than this share of the most live bytes is left."""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of nodes; ``saved`` are the values made in it that are read after the turn, in order.

    ``handed_on`` is the one value that the next block reads; ``last`` the node after which what the block
    does not keep may leave.
    """

    nodes: tuple[int, ...]
    saved: tuple[int, ...]
    handed_on: int
    last: int


@dataclass(frozen=True, slots=True)
class Chain:
    """The blocks of one way up, in order."""

    blocks: tuple[Block, ...]


def chains(problem: Problem) -> tuple[Chain, ...]:
    """One chain for each hump that has at least two blocks."""
    order = given(problem)
    place = {value: index for index, value in enumerate(order)}
    last_use = {
        value: max((place[user] for user in problem.users[value]), default=place[value]) for value in order
    }
    live = _live(problem, order, last_use)
    found = (_chain(problem, order, last_use, *hump) for hump in _humps(live))
    return tuple(chain for chain in found if len(chain.blocks) >= 2)


def _live(problem: Problem, order: list[int], last_use: dict[int, int]) -> list[int]:
    """Bytes of passing values alive after each node; what is overwritten or kept lives on and does not
    count.
    """
    change = [0] * (len(order) + 1)
    for index, value in enumerate(order):
        node = problem.nodes[value]
        if node.overwrites is None and value not in problem.keep and not _is_overwritten(problem, value):
            change[index] += node.size_bytes
            change[last_use[value]] -= node.size_bytes
    live: list[int] = []
    total = 0
    for step in change[: len(order)]:
        total += step
        live.append(total)
    return live


def _is_overwritten(problem: Problem, value: int) -> bool:
    return any(problem.nodes[user].overwrites == value for user in problem.users[value])


def _humps(live: list[int]) -> list[tuple[int, int, int]]:
    """(begin, turn, end) of each run of the order in which many bytes live."""
    floor = VALLEY * max(live, default=0)
    humps: list[tuple[int, int, int]] = []
    begin: int | None = None
    for index, size in enumerate([*live, 0]):
        if size > floor and begin is None:
            begin = index
        elif size <= floor and begin is not None:
            turn = max(range(begin, index), key=lambda at: (live[at], -at))
            humps.append((begin, turn, index))
            begin = None
    return humps


def _chain(
    problem: Problem, order: list[int], last_use: dict[int, int], begin: int, turn: int, end: int
) -> Chain:
    """Cut the way up wherever one value is handed on."""
    last_read = _last_read_before(problem, order, begin, turn)
    blocks: list[Block] = []
    nodes: list[int] = []
    open_values: set[int] = set()
    for index in range(begin, turn + 1):
        value = order[index]
        nodes.append(value)
        open_values.add(value)
        open_values = {held for held in open_values if last_read.get(held, -1) > index}
        if len(open_values) == 1:
            saved = tuple(made for made in nodes if turn < last_use[made] < end)
            blocks.append(Block(tuple(nodes), saved, min(open_values), value))
            nodes = []
    return Chain(_merged(blocks))


def _last_read_before(problem: Problem, order: list[int], begin: int, turn: int) -> dict[int, int]:
    last: dict[int, int] = {}
    for index in range(begin, turn + 1):
        for operand in problem.nodes[order[index]].operands:
            if problem.nodes[operand].size_bytes and not problem.is_source(operand):
                last[operand] = index
    return last


def _merged(blocks: list[Block]) -> tuple[Block, ...]:
    """Blocks with something saved; one that saves nothing joins the next."""
    merged: list[Block] = []
    waiting: tuple[int, ...] = ()
    for block in blocks:
        if block.saved:
            merged.append(Block(waiting + block.nodes, block.saved, block.handed_on, block.last))
            waiting = ()
        else:
            waiting += block.nodes
    return tuple(merged)
