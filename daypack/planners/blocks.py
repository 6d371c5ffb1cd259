"""The layer chains of a problem: runs of the listed order that hand one value on, and what is saved in them.

A training step goes up (forward: saved values pile up) and down again (backward: they are used), once a
micro-step. `chains` finds each such hump in the bytes that live along the listed order, its turn, and the
places before the turn where only one value is handed on, or one for each of several micro-steps that go up
together. Between two such places lies a block. Without a hump or without such places there is no chain, and
the answer is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from daypack.planners.orders import given
from daypack.planners.problem import Problem

VALLEY = 0.02
"""A hump ends where less than this share of the most live bytes is left."""
SMALL = 0.01
"""Values below this share of the largest are not counted among those handed on (the keys of dropout)."""
COVERED, LARGEST, MOST_STREAMS = 0.5, 0.25, 16
"""Shares of the saved bytes in all blocks and in one, and how many values may be handed on at once."""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of nodes; ``saved`` are the values made in it that are read after the turn, in order.

    ``handed_on`` is the value that the next block of its stream reads; ``last`` the node after which what the
    block does not keep may leave.
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
    """Cut the way up wherever few values are handed on: one a stream, as few streams as there can be.

    A window in layer-major order has as many streams as micro-steps. The least number is taken whose blocks
    have most of what is saved and no block much of it; failing that, one.
    """
    opened = _opened(problem, order, begin, turn)
    way_up = order[begin : turn + 1]
    saved = {made for made in way_up if turn < last_use[made] < end}
    total = sum(problem.nodes[value].size_bytes for value in saved)
    for width in range(1, MOST_STREAMS + 1):
        blocks = _blocks(way_up, opened, saved, width)
        sizes = [sum(problem.nodes[value].size_bytes for value in block.saved) for block in blocks]
        if blocks and sum(sizes) >= COVERED * total and max(sizes) <= LARGEST * total:
            return Chain(blocks)
    return Chain(_blocks(way_up, opened, saved, 1))


def _opened(problem: Problem, order: list[int], begin: int, turn: int) -> list[tuple[int, int]]:
    """After each node of the way up, how many large values wait to be read before the turn; the newest."""
    last_read = _last_read_before(problem, order, begin, turn)
    floor = SMALL * max(problem.nodes[value].size_bytes for value in order[begin : turn + 1])
    found: list[tuple[int, int]] = []
    waiting: dict[int, None] = {}
    for index in range(begin, turn + 1):
        value = order[index]
        if problem.nodes[value].size_bytes >= floor:
            waiting[value] = None
        waiting = {held: None for held in waiting if last_read.get(held, -1) > index}
        found.append((len(waiting), next(reversed(waiting), -1)))
    return found


def _blocks(
    way_up: list[int], opened: list[tuple[int, int]], saved: set[int], width: int
) -> tuple[Block, ...]:
    """The way up cut wherever at most `width` values are open."""
    blocks: list[Block] = []
    nodes: list[int] = []
    for value, (count, newest) in zip(way_up, opened, strict=True):
        nodes.append(value)
        if 1 <= count <= width:
            blocks.append(Block(tuple(nodes), tuple(n for n in nodes if n in saved), newest, value))
            nodes = []
    return _merged(blocks)


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
