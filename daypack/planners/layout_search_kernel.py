"""The compiled part of `layout_search`: one depth-first search for a layout within a capacity.

Time is cut into sections (between two neighbouring lifetime ends). Each section has a height (what is
filled so far), and a slack (capacity minus height minus what is still to be placed over it): waste is paid
from slack, and a section without slack must be filled without a hole. Every layout can be pushed down until
each buffer rests on the floor or on another buffer, so some buffer rests on each low plateau, or a part of
it stays empty for good ("closed").

::

    height ┤        ┌───┐          sections 1..3 are a low plateau (a run below both its neighbours):
         3 ┤────┐   │   │          buffers alive only within 1..3 may rest on it. When all of it is closed,
         1 ┤    └───┘   │          it is raised to its lower wall and its sections pay the difference.
           └────┴───┴───┴──
             0   1..3   4

The search branches on the section with the fewest buffers that could rest there (and closing it, where slack
allows), divided by how often the section made the search fail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daypack.planners.compiled import compiled

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.uint8]

FOUND, IMPOSSIBLE, UNDECIDED = 1, 0, -1
CLOSE = -1


@compiled
def mark_plateaus(
    height: Longs, closed: Flags, capacity: int, first: Longs, end: Longs, usable: Flags
) -> int:
    """Write each section's run of equal height; mark the sections of low runs that are not closed.

    Returns the first section of a low run that is wholly closed, or -1.
    """
    sections = height.shape[0]
    wholly_closed = -1
    begin = 0
    while begin < sections:
        stop = begin
        while stop < sections and height[stop] == height[begin]:
            stop += 1
        low = (begin == 0 or height[begin - 1] > height[begin]) and (
            stop == sections or height[stop] > height[begin]
        )
        low = low and height[begin] < capacity
        all_closed = low
        for section in range(begin, stop):
            first[section] = begin
            end[section] = stop
            usable[section] = 1 if low and closed[section] == 0 else 0
            if closed[section] == 0:
                all_closed = False
        if all_closed and wholly_closed < 0:
            wholly_closed = begin
        begin = stop
    return wholly_closed


@compiled
def raise_run(
    begin: int, stop: int, capacity: int, height: Longs, slack: Longs, closed: Flags, blame: Doubles
) -> bool:
    """Lift a closed run to its lower wall; False if a section's slack cannot pay for it."""
    wall = capacity
    if begin > 0:
        wall = min(wall, height[begin - 1])
    if stop < height.shape[0]:
        wall = min(wall, height[stop])
    waste = wall - height[begin]
    for section in range(begin, stop):
        if slack[section] < waste:
            blame[section] += 1.0
            return False
    for section in range(begin, stop):
        slack[section] -= waste
        height[section] = wall
        closed[section] = 0
    return True


@compiled
def count_fitting(
    lower: Longs,
    upper: Longs,
    placed: Flags,
    end: Longs,
    usable: Flags,
    fitting: Flags,
    count: Longs,
) -> None:
    """Which buffers could rest on a low run, and how many of them each section has."""
    count[:] = 0
    for buffer in range(lower.shape[0]):
        fitting[buffer] = 0
        if placed[buffer] or not usable[lower[buffer]] or end[lower[buffer]] < upper[buffer]:
            continue
        fits = True
        for section in range(lower[buffer], upper[buffer]):
            if not usable[section]:
                fits = False
                break
        if fits:
            fitting[buffer] = 1
            for section in range(lower[buffer], upper[buffer]):
                count[section] += 1


@compiled
def settle(
    lower: Longs,
    upper: Longs,
    capacity: int,
    placed: Flags,
    height: Longs,
    slack: Longs,
    closed: Flags,
    first: Longs,
    end: Longs,
    usable: Flags,
    fitting: Flags,
    count: Longs,
    blame: Doubles,
) -> bool:
    """Close and raise what has no choice left, until nothing changes; False on a contradiction."""
    while True:
        run = mark_plateaus(height, closed, capacity, first, end, usable)
        if run >= 0:
            if not raise_run(run, end[run], capacity, height, slack, closed, blame):
                return False
            continue
        count_fitting(lower, upper, placed, end, usable, fitting, count)
        changed = False
        for section in range(height.shape[0]):
            if usable[section] and count[section] == 0:
                if slack[section] == 0:
                    blame[section] += 1.0
                    return False
                closed[section] = 1
                changed = True
        if not changed:
            return True


@compiled
def all_reachable(
    lower: Longs,
    upper: Longs,
    size: Longs,
    capacity: int,
    placed: Flags,
    height: Longs,
    rest: Longs,
    blame: Doubles,
) -> bool:
    """Write the lowest place where each unplaced buffer can rest; False if one does not fit over it."""
    for buffer in range(lower.shape[0]):
        if placed[buffer]:
            continue
        top = height[lower[buffer]]
        for section in range(lower[buffer], upper[buffer]):
            top = max(top, height[section])
        rest[buffer] = top
        if top + size[buffer] > capacity:
            for section in range(lower[buffer], upper[buffer]):
                if height[section] == top:
                    blame[section] += 1.0
            return False
    return True


@compiled
def all_fillable(
    size: Longs,
    placed: Flags,
    height: Longs,
    slack: Longs,
    alive_start: Longs,
    alive: Longs,
    rest: Longs,
    sorted_rest: Longs,
    sorted_size: Longs,
    blame: Doubles,
) -> bool:
    """Whether no section has a hole larger than its slack below the buffers that cannot come lower.

    In order of the lowest place where they can rest, the buffers of a section plus its slack must reach the
    place of the next one.
    """
    for section in range(height.shape[0]):
        filled = height[section] + slack[section]
        waiting = 0
        for index in range(alive_start[section], alive_start[section + 1]):
            buffer = alive[index]
            if placed[buffer]:
                continue
            if rest[buffer] <= height[section] + slack[section]:
                filled += size[buffer]
                continue
            rank = waiting
            while rank > 0 and sorted_rest[rank - 1] > rest[buffer]:
                sorted_rest[rank] = sorted_rest[rank - 1]
                sorted_size[rank] = sorted_size[rank - 1]
                rank -= 1
            sorted_rest[rank] = rest[buffer]
            sorted_size[rank] = size[buffer]
            waiting += 1
        for rank in range(waiting):
            if sorted_rest[rank] > filled:
                blame[section] += 1.0
                return False
            filled += sorted_size[rank]
    return True


@compiled
def choose_section(slack: Longs, closed: Flags, usable: Flags, count: Longs, blame: Doubles) -> int:
    """The usable section with the fewest choices for its blame; -1 if none is left."""
    best = -1
    best_score = 0.0
    for section in range(slack.shape[0]):
        if usable[section] and not closed[section]:
            choices = count[section] + (1 if slack[section] > 0 else 0)
            score = 0.0 if choices <= 1 else choices / blame[section]
            if best < 0 or score < best_score:
                best, best_score = section, score
    return best


@compiled
def collect(section: int, lower: Longs, upper: Longs, fitting: Flags, score: Doubles, choices: Longs) -> int:
    """The buffers that may rest on a section, best score first; how many."""
    total = 0
    for buffer in range(lower.shape[0]):
        if fitting[buffer] and lower[buffer] <= section < upper[buffer]:
            rank = total
            while rank > 0 and score[choices[rank - 1]] < score[buffer]:
                choices[rank] = choices[rank - 1]
                rank -= 1
            choices[rank] = buffer
            total += 1
    return total


@compiled
def search(
    lower: Longs,
    upper: Longs,
    size: Longs,
    slack_at_start: Longs,
    capacity: int,
    score: Doubles,
    blame: Doubles,
    max_nodes: int,
    alive_start: Longs,
    alive_list: Longs,
    thorough: bool,
    offsets: Longs,
) -> int:
    """Depth-first search; FOUND fills ``offsets``, IMPOSSIBLE is a proof, UNDECIDED means out of nodes.

    ``lower`` and ``upper`` are section indices, ``score`` orders the choices, ``blame`` is read and
    updated; section ``s`` has the buffers ``alive_list[alive_start[s] : alive_start[s + 1]]``; ``thorough``
    asks for `all_fillable` at each node: fewer nodes, each three times as slow.
    """
    buffers, sections = lower.shape[0], slack_at_start.shape[0]
    depths = buffers + sections + 2
    height = np.zeros((depths, sections), dtype=np.int64)
    slack = np.zeros((depths, sections), dtype=np.int64)
    closed = np.zeros((depths, sections), dtype=np.uint8)
    choices = np.zeros((depths, buffers + 1), dtype=np.int64)
    choice_count = np.zeros(depths, dtype=np.int64)
    next_choice = np.zeros(depths, dtype=np.int64)
    chosen_section = np.zeros(depths, dtype=np.int64)
    placed = np.zeros(buffers, dtype=np.uint8)
    fitting = np.zeros(buffers, dtype=np.uint8)
    first = np.zeros(sections, dtype=np.int64)
    end = np.zeros(sections, dtype=np.int64)
    usable = np.zeros(sections, dtype=np.uint8)
    count = np.zeros(sections, dtype=np.int64)
    rest = np.zeros(buffers, dtype=np.int64)
    sorted_rest = np.zeros(buffers, dtype=np.int64)
    sorted_size = np.zeros(buffers, dtype=np.int64)
    slack[0] = slack_at_start
    depth, placed_count = 0, 0
    for _ in range(max_nodes):
        alive = settle(
            lower, upper, capacity, placed, height[depth], slack[depth], closed[depth],
            first, end, usable, fitting, count, blame,
        )  # fmt: skip
        if alive and placed_count == buffers:
            return FOUND
        alive = alive and all_reachable(lower, upper, size, capacity, placed, height[depth], rest, blame)
        if alive and thorough:
            alive = all_fillable(
                size, placed, height[depth], slack[depth], alive_start, alive_list,
                rest, sorted_rest, sorted_size, blame,
            )  # fmt: skip
        choice_count[depth] = 0
        next_choice[depth] = 0
        if alive:
            section = choose_section(slack[depth], closed[depth], usable, count, blame)
            if section >= 0:
                total = collect(section, lower, upper, fitting, score, choices[depth])
                if slack[depth, section] > 0:
                    choices[depth, total] = CLOSE
                    total += 1
                choice_count[depth] = total
                chosen_section[depth] = section
        while next_choice[depth] >= choice_count[depth]:
            depth -= 1
            if depth < 0:
                return IMPOSSIBLE
            undone = choices[depth, next_choice[depth] - 1]
            if undone != CLOSE:
                placed[undone] = 0
                placed_count -= 1
        choice = choices[depth, next_choice[depth]]
        next_choice[depth] += 1
        height[depth + 1] = height[depth]
        slack[depth + 1] = slack[depth]
        closed[depth + 1] = closed[depth]
        if choice == CLOSE:
            closed[depth + 1, chosen_section[depth]] = 1
        else:
            offsets[choice] = height[depth, lower[choice]]
            height[depth + 1, lower[choice] : upper[choice]] += size[choice]
            placed[choice] = 1
            placed_count += 1
        depth += 1
    return UNDECIDED
