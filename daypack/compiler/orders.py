"""Valid orders of a window's calls: as listed, layer by layer for all micro-steps, or with an eager update.

Listed, the window is micro-step after micro-step: every frozen weight is used, and where it is paged it is
read, once a micro-step and direction. Layer-major (zig-zag), a block of layers runs for every micro-step
before the next block begins, so that one load of its weights serves the whole window; what lies between
blocks waits in memory for every micro-step. All compute the same calls on the same values: not a bit
differs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daypack.compiler.window import Call, Window

Key = tuple[int, ...]


def sorted_calls(calls: Sequence[Call], keys: Sequence[Key]) -> Iterator[Call]:
    """The calls by ascending key, as far as their dependencies allow.

    Whoever overwrites an item comes after everyone who reads it. Where that is a cycle (a value computed from
    the new content is needed to compute it) nothing can be done here; the aliases are chosen so that it does
    not happen.
    """
    waiting, after = _dependencies(calls)
    ready = [(keys[n], n) for n, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    done = 0
    while ready:
        _, n = heapq.heappop(ready)
        done += 1
        yield calls[n]
        for m in after.get(n, ()):
            waiting[m] -= 1
            if waiting[m] == 0:
                heapq.heappush(ready, (keys[m], m))
    if done != len(calls):
        raise ValueError("the window's in-place updates form a cycle")


def _dependencies(calls: Sequence[Call]) -> tuple[list[int], dict[int, list[int]]]:
    """(how many calls each call waits for, which calls wait for each)."""
    maker = {number: n for n, call in enumerate(calls) for number in call.outputs}
    before: list[set[int]] = [{maker[i] for i in call.inputs if i in maker} for call in calls]
    readers: dict[int, set[int]] = {}
    for n, call in enumerate(calls):
        for i in call.inputs:
            readers.setdefault(i, set()).add(n)
    for n, call in enumerate(calls):
        for target in call.overwrites.values():
            before[n] |= readers.get(target, set()) - {n}
            if target in maker:
                before[n].add(maker[target])
    after: dict[int, list[int]] = {}
    for n, needed in enumerate(before):
        for m in needed:
            after.setdefault(m, []).append(n)
    return [len(needed) for needed in before], after


def layer_major(window: Window, block_bytes: int) -> Window:
    """The window in blocks whose weights are about `block_bytes` together, each run for every micro-step."""
    micro_steps = len(window.batches)
    along = [_Blocks(window, block_bytes) for _ in range(micro_steps)]
    keys: list[Key] = []
    for number, call in enumerate(window.calls):
        is_update = call.micro >= micro_steps
        block = len(window.calls) if is_update else along[call.micro].block_of(call)
        keys.append((block, call.micro, number))
    return replace(window, calls=tuple(sorted_calls(window.calls, keys)))


def eager_update(window: Window) -> Window:
    """The listed order, but every call of the update as soon as what it needs is there.

    So the update of a matrix, which moves much and computes little, stands between the backward passes of
    layers. Where the update wants a norm of all gradients first, nothing of it is ready before the last.
    """
    micro_steps = len(window.batches)
    keys: list[Key] = [(int(call.micro < micro_steps), n) for n, call in enumerate(window.calls)]
    return replace(window, calls=tuple(sorted_calls(window.calls, keys)))


class _Blocks:
    """Counts the blocks along one micro-step's calls."""

    def __init__(self, window: Window, block_bytes: int) -> None:
        self._items, self._limit = window.items, block_bytes
        self._weights: set[int] = set()
        self.block = 0

    def block_of(self, call: Call) -> int:
        """The block of the next call: a new one begins where the weights of this one would be too large."""
        new = {i for i in call.inputs if self._is_weight(i)} - self._weights
        size = sum(self._items[i].size_bytes for i in self._weights | new)
        if new and self._weights and size > self._limit:
            self.block += 1
            self._weights = set()
        self._weights |= new
        return self.block

    def _is_weight(self, item: int) -> bool:
        return self._items[item].origin in ("weights", "state")
