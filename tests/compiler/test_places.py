"""The order of groups while they merge, against a search through the whole graph."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from daypack.compiler.fusion.places import Places


@dataclass
class Group:
    after: set[int] = field(default_factory=set[int])
    before: set[int] = field(default_factory=set[int])


def random_groups(count: int, seed: int) -> dict[int, Group]:
    draw = random.Random(seed)
    groups = {number: Group() for number in range(count)}
    for number in range(1, count):
        for other in draw.sample(range(max(0, number - 8), number), min(number, draw.randint(0, 2))):
            groups[number].before.add(other)
            groups[other].after.add(number)
    return groups


def reached(groups: dict[int, Group], start: int, without: int) -> set[int]:
    """Every group that a path from `start` leads to, `without` (a group) as its first step."""
    pending, seen = [n for n in groups[start].after if n != without], set[int]()
    while pending:
        number = pending.pop()
        if number not in seen:
            seen.add(number)
            pending.extend(groups[number].after)
    return seen


def around(groups: dict[int, Group], first: int, second: int) -> bool:
    return second in reached(groups, first, second) or first in reached(groups, second, first)


def merge(groups: dict[int, Group], kept: int, gone: int) -> None:
    lost = groups.pop(gone)
    for number in lost.after | lost.before:
        for links in (groups[number].after, groups[number].before):
            if gone in links:
                links.discard(gone)
                links.add(kept)
    groups[kept].after |= lost.after
    groups[kept].before |= lost.before
    groups[kept].after -= {kept, gone}
    groups[kept].before -= {kept, gone}


@pytest.mark.parametrize("seed", range(8))
def test_paths_around_are_those_of_a_full_search_after_every_merge(seed: int) -> None:
    groups, draw = random_groups(40, seed), random.Random(seed + 100)
    places = Places(groups, list(groups))
    merges = 0
    while len(groups) > 8:
        pairs = [(a, b) for a in groups for b in groups if a != b]
        found = {pair: places.path_around(*pair) for pair in pairs}
        assert found == {pair: around(groups, *pair) for pair in pairs}
        free = [pair for pair in pairs if not found[pair]]
        if not free:
            break
        kept, gone = draw.choice(free)
        places.merge(kept, gone)
        merge(groups, kept, gone)
        merges += 1
    assert merges > 10
