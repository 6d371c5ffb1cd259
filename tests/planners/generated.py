"""Random problems for Hypothesis: sizes, workspaces, in-place chains, paging, what is kept, computed once."""

from __future__ import annotations

from hypothesis import strategies as st

from daypack.planners.problem import Node, NodeKind, Paging, Problem


@st.composite
def problems(draw: st.DrawFn, most_nodes: int = 12) -> Problem:
    """A problem that obeys every law; empty ones, empty values and unused sources included."""
    count = draw(st.integers(0, most_nodes))
    nodes: list[Node] = []
    overwritten: set[int] = set()
    for index in range(count):
        nodes.append(_node(draw, index, nodes, overwritten))
    ids = st.integers(0, max(0, count - 1))
    some = st.frozensets(ids, max_size=count) if count else st.just(frozenset[int]())
    keep = draw(some) - overwritten
    return Problem(tuple(nodes), keep, draw(st.integers(0, 5)), _paging(draw, some), draw(some))


def _node(draw: st.DrawFn, index: int, nodes: list[Node], overwritten: set[int]) -> Node:
    size = draw(st.integers(0, 9))
    if not nodes or draw(st.integers(0, 4)) == 0:
        return Node(index, f"s{index}", 0.0, size, kind=NodeKind.SOURCE)
    alive = [node.id for node in nodes if node.id not in overwritten]
    inputs = tuple(draw(st.lists(st.sampled_from(alive), max_size=3))) if alive else ()
    old = draw(st.sampled_from(alive)) if alive and draw(st.integers(0, 3)) == 0 else None
    if old is not None:
        overwritten.add(old)
        size = nodes[old].size_bytes
    cost = draw(st.sampled_from([0.0, 0.5, 1.0, 7.0]))
    return Node(index, f"n{index}", cost, size, draw(st.integers(0, 3)), inputs, overwrites=old)


def _paging(draw: st.DrawFn, some: st.SearchStrategy[frozenset[int]]) -> Paging | None:
    if draw(st.booleans()):
        return None
    pageable = draw(some)
    dirty = draw(some) & pageable
    return Paging(draw(st.sampled_from([1.0, 8.0])), 2.0, draw(st.integers(0, 4)), pageable, dirty)
