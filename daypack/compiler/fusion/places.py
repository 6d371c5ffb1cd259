"""Groups in a valid order, kept up while they merge, so that a path between two is sought only between them.

Whatever lies on a path from one group to another stands between the two in every valid order. Merges are
mostly of neighbours, so the search looks at few groups, whatever the length of the graph. The order is
repaired after a merge within the same stretch (as by Pearce and Kelly, "A dynamic topological sort algorithm
for directed acyclic graphs", 2006; here two nodes become one instead of an edge being added).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Protocol

GONE = -1


class Links(Protocol):
    """What is asked of a group: those that read it, and those that it reads."""

    after: set[int]
    before: set[int]


class Places:
    """`groups` by number, which this follows and never changes; `order` is a valid order of them."""

    def __init__(self, groups: Mapping[int, Links], order: Sequence[int]) -> None:
        self._groups = groups
        self._at = list(order)
        self._place = {number: place for place, number in enumerate(order)}

    def path_around(self, first: int, second: int) -> bool:
        """Whether some path between two groups, in either direction, leads through a third.

        The reader that stands furthest is looked at first: where there is a long path, few steps find it.
        """
        start, goal = sorted((first, second), key=self._place.__getitem__)
        end = self._place[goal]
        pending = [-self._place[n] for n in self._groups[start].after if self._place[n] < end]
        heapq.heapify(pending)
        seen = set(pending)
        while pending:
            for following in self._groups[self._at[-heapq.heappop(pending)]].after:
                if following == goal:
                    return True
                place = -self._place[following]
                if -place < end and place not in seen:
                    seen.add(place)
                    heapq.heappush(pending, place)
        return False

    def merge(self, kept: int, gone: int) -> None:
        """Before two groups without a path around them become one: it stands before all that reads either."""
        start, end = sorted((self._place[kept], self._place[gone]))
        stretch = [n for n in self._at[start + 1 : end] if n != GONE]
        readers = {self._at[start]}
        for number in stretch:
            if not readers.isdisjoint(self._groups[number].before):
                readers.add(number)
        earlier = [n for n in stretch if n not in readers]
        later = [n for n in stretch if n in readers]
        holes = [GONE] * (end - start - len(stretch))
        del self._place[gone]
        for place, number in enumerate([*earlier, kept, *later, *holes], start):
            self._at[place] = number
            if number != GONE:
                self._place[number] = place
