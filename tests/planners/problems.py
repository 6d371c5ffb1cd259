"""Problems that the planner tests share."""

from __future__ import annotations

from daypack.planners.problem import Node, NodeKind, Paging, Problem

SOURCE = NodeKind.SOURCE


def example() -> Problem:
    """The worked example of `daypack/planners/problem.py`."""
    rows = [
        ("x", 4, ()),
        ("a", 4, (0,)),
        ("b", 4, (1,)),
        ("c", 4, (2,)),
        ("loss", 1, (3,)),
        ("dc", 4, (3, 4)),
        ("db", 4, (2, 5)),
        ("da", 4, (0, 1, 6)),
    ]
    nodes = [Node(i, name, 1.0, size, inputs=inputs) for i, (name, size, inputs) in enumerate(rows)]
    nodes[0] = Node(0, "x", 0.0, 4, kind=SOURCE)
    return Problem(tuple(nodes), keep=frozenset({4, 7}))


def update(paged: bool = True) -> Problem:
    """One weight and its moment, a gradient, and an update that overwrites the weight and changes the moment.

    ::

        batch ─► grad ─► new_w (overwrites w, reads m)
        w ───────┘
    """
    nodes = (
        Node(0, "batch", 0.0, 1, kind=SOURCE),
        Node(1, "w", 0.0, 8, kind=SOURCE),
        Node(2, "m", 0.0, 8, kind=SOURCE),
        Node(3, "grad", 5.0, 8, 2, inputs=(0, 1)),
        Node(4, "new_w", 1.0, 8, inputs=(3, 1, 2), overwrites=1),
    )
    paging = Paging(8.0, 4.0, 4, pageable=frozenset({1, 2, 4}), dirty=frozenset({2})) if paged else None
    return Problem(nodes, keep=frozenset({2, 4}), fixed_bytes=3, paging=paging)
