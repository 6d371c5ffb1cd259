"""The one-pass planner, where it once went wrong."""

from __future__ import annotations

from daypack.planners.anneal_state import Tables
from daypack.planners.greedy import Pass, run_pass
from daypack.planners.orders import given
from daypack.planners.plan import Op
from daypack.planners.problem import Node, NodeKind, Paging, Problem

STREAMS = 8
PARAMETER = 0


def updated_parameter() -> Problem:
    """For each stream a value `first` of a parameter and a `second` of `first`; then every `first` is read
    once more, then every `second`, and at last the parameter is overwritten. Computing is dear, so large
    values are paged.
    """
    nodes = [Node(PARAMETER, "parameter", 0.0, 100, kind=NodeKind.SOURCE)]

    def add(name: str, size_bytes: int, *inputs: int, overwrites: int | None = None) -> int:
        nodes.append(Node(len(nodes), name, 10.0, size_bytes, inputs=inputs, overwrites=overwrites))
        return len(nodes) - 1

    firsts: list[int] = []
    seconds: list[int] = []
    for _ in range(STREAMS):
        firsts.append(add("first", 100, PARAMETER))
        seconds.append(add("second", 100, firsts[-1]))
    reads = [add("read", 1, value) for value in (*firsts, *seconds)]
    update = add("update", 100, *reads, overwrites=PARAMETER)
    return Problem(
        tuple(nodes), frozenset({update}), 0, Paging(100.0, 100.0, 0, frozenset({*firsts, *seconds}))
    )


def test_what_is_not_needed_any_more_is_not_brought_back_before_an_update() -> None:
    """After its last read a `first` is wanted only to compute its `second` again, which is paged instead."""
    problem = updated_parameter()
    found = run_pass(Tables(problem), 420, Pass(given(problem)))
    assert found is not None
    back = [value for op, value in found.sequence if op is Op.PAGE_IN]
    assert len(back) == len(set(back))


def test_a_value_recomputed_is_not_paid_for_on_flash_too() -> None:
    """Reading alone is cheaper than computing again, writing and reading is not."""
    nodes = [
        Node(0, "source", 0.0, 1, kind=NodeKind.SOURCE),
        Node(1, "early", 1.5, 100, inputs=(0,)),
        Node(2, "first use", 1.0, 1, inputs=(1,)),
        Node(3, "large", 1.0, 150, inputs=(0,)),
        Node(4, "small", 1.0, 1, inputs=(3,)),
        Node(5, "late use", 1.0, 1, inputs=(1, 2, 4)),
    ]
    problem = Problem(tuple(nodes), frozenset({5}), 0, Paging(100.0, 100.0, 0, frozenset({1})))
    found = run_pass(Tables(problem), 200, Pass(given(problem)))
    assert found is not None
    assert found.cost == sum(node.cost for node in nodes) + 1.5


def test_a_long_chain_of_evicted_values_is_looked_up_within_the_stack() -> None:
    """The last values of a chain are read again, last first: each evicted one is made of the one before."""
    length = 50_000
    chain = tuple(Node(n, "link", 1.0, 1, inputs=(n - 1,) if n else ()) for n in range(length))
    reads = tuple(Node(length + n, "read", 1.0, 0, inputs=(length - 1 - n,)) for n in range(4))
    last = Node(length + 4, "last", 1.0, 1, inputs=tuple(node.id for node in reads))
    problem = Problem((*chain, *reads, last), frozenset({last.id}))
    found = run_pass(Tables(problem), 12, Pass(given(problem)))
    assert found is not None and found.peak_bytes <= 12


def test_nothing_is_left_to_be_computed_from_what_an_update_took() -> None:
    """`late` is evicted after the update: `early`, of which it was made and which is gone since `middle`,
    cannot be computed any more.
    """
    nodes = [
        Node(0, "parameter", 0.0, 100, kind=NodeKind.SOURCE),
        Node(1, "early", 1.0, 10, inputs=(0,)),
        Node(2, "late", 1.0, 100, inputs=(1,)),
        Node(3, "middle", 1.0, 95, inputs=(2,)),
        Node(4, "update", 1.0, 100, inputs=(0, 3), overwrites=0),
        Node(5, "large", 1.0, 150, inputs=(4,)),
        Node(6, "use of large", 1.0, 1, inputs=(5,)),
        Node(7, "last use", 1.0, 1, inputs=(2, 6)),
    ]
    problem = Problem(tuple(nodes), frozenset({4, 7}), 0, Paging(1.0, 1.0, 0, frozenset({2})))
    found = run_pass(Tables(problem), 300, Pass(given(problem)))
    assert found is not None
    assert [value for op, value in found.sequence if op is Op.PAGE_IN] == [2]
