"""What a problem may be: every law of `Problem` and the message when it is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daypack.planners.problem import Node, NodeKind, Paging, Problem, ProblemError

A = Node(0, "a", 1.0, 8)
B = Node(1, "b", 1.0, 8, inputs=(0,))

BROKEN = [
    ((replace(A, id=1), B), {}, "must be its position 0"),
    ((replace(A, size_bytes=-1), B), {}, "size_bytes must be at least 0, found -1"),
    ((replace(A, workspace_bytes=-1), B), {}, "workspace_bytes must be at least 0, found -1"),
    ((replace(A, size_bytes=2**62), B), {}, "size_bytes must be below 2^62"),
    ((replace(A, size_bytes=2**61), replace(B, size_bytes=2**61)), {}, "sizes together must stay below 2^62"),
    ((replace(A, cost=-1.0), B), {}, "cost must be a finite number of at least 0, found -1.0"),
    ((replace(A, cost=float("nan")), B), {}, "cost must be a finite number of at least 0, found nan"),
    ((replace(A, cost=1e308), replace(B, cost=1e308)), {}, "costs together overflow"),
    ((A, replace(B, inputs=(7,))), {}, "reads value 7, which no node makes; there are 2 nodes"),
    ((replace(A, inputs=(1,)), replace(B, inputs=())), {}, "reads value 1, which is not listed before it"),
    ((A, replace(B, kind=NodeKind.SOURCE)), {}, "a source reads nothing, found inputs [0]"),
    ((A, B), {"keep": frozenset({2})}, "keep: value 2 does not exist"),
    ((A, B), {"fixed_bytes": -5}, "fixed_bytes must be at least 0, found -5"),
    ((A, B), {"paging": Paging(1.0, 1.0, 0, frozenset({9}))}, "paging.pageable: value 9 does not exist"),
    ((A, B), {"paging": Paging(1.0, 1.0, 0, frozenset({0}), frozenset({1}))}, "not in paging.pageable"),
    ((A, B), {"paging": Paging(0.0, 1.0)}, "read_bytes_per_s must be a finite number above 0"),
    ((A, B), {"paging": Paging(1.0, -1.0)}, "write_bytes_per_s must be a finite number above 0"),
    ((A, B), {"paging": Paging(1.0, 1.0, -2)}, "min_read_bytes must be at least 0"),
    ((A, replace(B, overwrites=0, size_bytes=4)), {}, "so its size_bytes must be the same, found 4"),
    ((A, replace(B, overwrites=0), Node(2, "c", 1.0, 8, inputs=(0,))), {}, "which node 2 still reads"),
    (
        (A, replace(B, overwrites=0), Node(2, "c", 1.0, 8, overwrites=0)),
        {},
        "which node 1 already overwrites",
    ),
    ((A, replace(B, overwrites=0)), {"keep": frozenset({0})}, "keep 1 instead"),
]


@pytest.mark.parametrize(("nodes", "rest", "message"), BROKEN, ids=[row[2][:30] for row in BROKEN])
def test_a_broken_problem_is_refused_with_its_reason(nodes, rest, message):
    with pytest.raises(ProblemError) as caught:
        Problem(nodes, **rest)
    assert message in str(caught.value)


def test_operands_include_what_is_overwritten_once():
    assert Node(3, "u", 1.0, 8, inputs=(1, 0, 1), overwrites=0).operands == (1, 0)
    assert Node(3, "u", 1.0, 8, inputs=(1,), overwrites=2).operands == (1, 2)
    assert Problem((A, replace(B, overwrites=0))).users == ((1,), ())
