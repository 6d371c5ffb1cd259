"""Random instances to judge planners and layouts by: layered graphs, and buffers that fill an arena
tightly."""

from __future__ import annotations

import math

import numpy as np

from daypack.planners.layout import Buffer
from daypack.planners.problem import Node, Problem


def layered_problem(
    node_count: int,
    seed: int,
    *,
    width: float = 0.3,
    width_variation: float = 0.75,
    edge_density: float = 0.2,
    skip_density: float = 0.14,
) -> Problem:
    """A random layered graph like those of Gagrani et al. (NeurIPS 2022, appendix A) that MOCCASIN is
    measured on.

    One source-like first node feeds the first layer; one last node reads the last layer and is kept. A layer
    has ``2 width sqrt(nodes)`` nodes on average, give or take ``width_variation``. A node reads the nodes of
    the layer before it that are near its own place, one more than 1.2 ``edge_density`` times a layer's
    width; besides, ``skip_density`` times as many edges jump from any layer to any later one. Sizes are
    integers of 10 up to some thousands (the absolute value of a Gaussian), costs integers of 1 to 1,000.
    Nodes are listed layer by layer, which is the given order. The two factors are fitted to that benchmark's
    public graphs (``docs/adr/0012-random-graphs-as-wide-as-published.md``).
    """
    rng = np.random.default_rng([seed, node_count])
    layers = _layers(node_count, width, width_variation, rng)
    edges = {(0, node) for node in layers[0]} | {(node, node_count - 1) for node in layers[-1]}
    for above, below in zip(layers, layers[1:], strict=False):
        edges |= _local_edges(above, below, edge_density, rng)
    edges |= _skip_edges(layers, round(skip_density * len(edges)), rng)
    sizes = 10 * (1 + np.abs(rng.normal(0.0, 250.0, node_count)).astype(int))
    costs = rng.integers(1, 1001, node_count)
    inputs: list[list[int]] = [[] for _ in range(node_count)]
    for reader, operand in sorted((reader, operand) for operand, reader in edges):
        inputs[reader].append(operand)
    nodes = tuple(
        Node(i, f"n{i}", int(costs[i]), int(sizes[i]), inputs=tuple(inputs[i])) for i in range(node_count)
    )
    return Problem(nodes, keep=frozenset({node_count - 1}))


def _layers(node_count: int, width: float, variation: float, rng: np.random.Generator) -> list[list[int]]:
    """All nodes but the first and the last; the last layer has what is left."""
    mean, total = 2 * width * math.sqrt(node_count), node_count - 2
    layers: list[list[int]] = []
    begin = 1
    while begin <= total:
        size = max(1, round(rng.uniform(mean * (1 - variation), mean * (1 + variation))))
        layers.append(list(range(begin, min(begin + size, total + 1))))
        begin += size
    return layers


def _local_edges(
    above: list[int], below: list[int], density: float, rng: np.random.Generator
) -> set[tuple[int, int]]:
    edges: set[tuple[int, int]] = set()
    reach = 1.2 * density * len(below)
    for place, node in enumerate(above):
        centre = min((place + rng.random()) / len(above) * len(below), len(below) - 0.01)
        first = max(0, math.floor(centre - reach / 2))
        last = min(len(below) - 1, math.floor(centre + reach / 2))
        edges.update((node, below[index]) for index in range(first, last + 1))
    for place, node in enumerate(below):
        if not any(reader == node for _, reader in edges):
            edges.add((above[min(len(above) - 1, place * len(above) // len(below))], node))
    return edges


def _skip_edges(layers: list[list[int]], count: int, rng: np.random.Generator) -> set[tuple[int, int]]:
    edges: set[tuple[int, int]] = set()
    if len(layers) < 3:
        return edges
    while len(edges) < count:
        first = int(rng.integers(0, len(layers) - 2))
        last = int(rng.integers(first + 2, len(layers)))
        edges.add((int(rng.choice(layers[first])), int(rng.choice(layers[last]))))
    return edges


def tight_buffers(
    count: int, seed: int, *, removed: float = 0.1, pinwheels: float = 0.2, unit_bytes: int = 1024
) -> tuple[list[Buffer], int]:
    """Buffers that are known to fit a capacity, and the capacity: a cut-up arena of which some pieces are
    removed.

    The arena (lifetime by offset) is cut at random across, along, or into pinwheels of five, which no
    sequence of straight cuts makes. With nothing removed not a byte is free at any time.
    """
    rng = np.random.default_rng([seed, count])
    units = 1024
    pieces: list[tuple[int, int, int, int]] = [(0, max(20, count // 2), 0, units)]
    while len(pieces) < count:
        weight = np.array([((b - a) * (d - c)) ** 0.7 for a, b, c, d in pieces])
        index = int(rng.choice(len(pieces), p=weight / weight.sum()))
        pieces[index : index + 1] = _cut_piece(pieces[index], pinwheels, rng)
    rng.shuffle(pieces)
    kept = [piece for piece in pieces if rng.random() >= removed]
    buffers = [Buffer(i, a, b, (d - c) * unit_bytes) for i, (a, b, c, d) in enumerate(kept)]
    return buffers, units * unit_bytes


def _cut_piece(
    piece: tuple[int, int, int, int], pinwheels: float, rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    a, b, c, d = piece
    if rng.random() < pinwheels and b - a >= 3 and d - c >= 3:
        x1, x2 = sorted(int(x) for x in rng.choice(np.arange(a + 1, b), 2, replace=False))
        y1, y2 = sorted(int(y) for y in rng.choice(np.arange(c + 1, d), 2, replace=False))
        return [(a, x2, c, y1), (x2, b, c, y2), (x1, b, y2, d), (a, x1, y1, d), (x1, x2, y1, y2)]
    if b - a >= 2 and (rng.random() < 0.3 or d - c < 2):
        x = int(rng.integers(a + 1, b))
        return [(a, x, c, d), (x, b, c, d)]
    if d - c >= 2:
        y = int(rng.integers(c + 1, d))
        return [(a, b, c, y), (a, b, y, d)]
    return [piece]


def paged_buffers(steps: int, seed: int, *, capacity_bytes: int = 60_000_000) -> list[Buffer]:
    """The buffers of a step whose weights come and go: few sizes, and a load near the capacity at most times.

    Each step loads a block of one of the sizes of a transformer's arrays, or makes a small array of any size;
    what is in memory leaves at random when there is no room. Nothing says that a layout as small as the load
    exists.
    """
    rng = np.random.default_rng([seed, steps])
    sizes = 64 * 1024 * np.array([189, 144, 36, 36, 108, 24, 12])
    alive: list[tuple[int, int]] = []  # (when it came, bytes)
    rows: list[tuple[int, int, int]] = []
    for step in range(steps):
        size = int(rng.choice(sizes)) if rng.random() < 0.7 else 64 * int(rng.integers(1, 2000))
        while sum(held for _, held in alive) + size > capacity_bytes:
            came, held = alive.pop(int(rng.integers(0, len(alive))))
            rows.append((came, step, held))
        alive.append((step, size))
    rows += [(came, steps, held) for came, held in alive]
    return [Buffer(i, *row) for i, row in enumerate(rows)]
