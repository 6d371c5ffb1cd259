"""Problem, plan and buffer files: what is read is what was written, and each bad file says what is wrong
with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daypack.planners.buffers_csv import layout_text, parse_buffers
from daypack.planners.exchange import named, parse_plan, parse_problem, plan_row, problem_text, read_problem
from daypack.planners.keep_all import keep_all
from daypack.planners.layout import Buffer, Layout, LayoutError
from daypack.planners.plan import PlanOptions
from daypack.planners.problem import Node, NodeKind, Paging, Problem, ProblemError
from tests.planners.problems import example, update

FILE = {
    "format": "daypack-problem/1",
    "nodes": [
        {"id": "w", "kind": "source", "size_bytes": 8},
        {"id": 7, "name": "grad", "cost": 2, "size_bytes": 8, "workspace_bytes": 1, "inputs": ["w"]},
        {"id": 9, "cost": 0.5, "size_bytes": 8, "inputs": [7], "overwrites": "w"},
    ],
    "keep": [9],
    "fixed_bytes": 5,
    "paging": {"read_bytes_per_s": 4, "write_bytes_per_s": 2, "min_read_bytes": 1, "pageable": ["w", 9]},
}


def test_a_file_is_read_as_it_says():
    read = parse_problem(json.dumps(FILE))
    assert read.ids == ("w", 7, 9)
    assert read.problem == Problem(
        (
            Node(0, "w", 0, 8, kind=NodeKind.SOURCE),
            Node(1, "grad", 2, 8, 1, (0,)),
            Node(2, "9", 0.5, 8, inputs=(1,), overwrites=0),
        ),
        frozenset({2}),
        5,
        Paging(4, 2, 1, frozenset({0, 2})),
    )


@pytest.mark.parametrize("problem", [example(), update(), update(paged=False)])
def test_a_problem_survives_its_file(problem):
    assert parse_problem(problem_text(named(problem))).problem == problem


def test_a_plan_survives_its_file():
    plan = keep_all(update(), 100, PlanOptions())
    ids = ("batch", "w", "m", 3, -4)
    text = json.dumps(plan_row(plan, ids))
    assert json.loads(text)["sequence"][0] == ["compute", 3]
    assert parse_plan(text, ids) == plan


def edited(*path: str | int, value: object) -> str:
    root = json.loads(json.dumps(FILE))
    place = root
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(root)


def without(*path: str | int) -> str:
    root = json.loads(json.dumps(FILE))
    place = root
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return json.dumps(root)


BAD = {
    "cyclic": (edited("nodes", 1, "inputs", value=["w", 9]), "the nodes are cyclic: 7 -> 9 -> 7"),
    "self": (edited("nodes", 1, "inputs", value=[7]), "the nodes are cyclic: 7 -> 7"),
    "unsorted": (
        json.dumps(FILE | {"nodes": [FILE["nodes"][i] for i in (1, 0, 2)]}),
        "nodes[0] (id 7) reads 'w', which is listed later",
    ),
    "dangling": (edited("nodes", 1, "inputs", value=["v"]), "nodes[1]: inputs[0]: 'v' is dangling"),
    "dangling keep": (edited("keep", value=[9, 10]), "keep[1]: 10 is dangling"),
    "dangling paging": (edited("paging", "dirty", value=[1]), "dirty[0]: 1 is dangling"),
    "dangling overwrites": (edited("nodes", 2, "overwrites", value=1), "nodes[2]: overwrites: 1 is dangling"),
    "duplicate": (edited("nodes", 1, "id", value="w"), "nodes[1]: id 'w' is a duplicate of nodes[0]"),
    "negative": (
        edited("nodes", 1, "size_bytes", value=-8),
        "nodes[1]: size_bytes: must be at least 0, found -8",
    ),
    "negative cost": (
        edited("nodes", 1, "cost", value=-0.1),
        "nodes[1]: cost: must be at least 0, found -0.1",
    ),
    "overflow": (edited("nodes", 1, "size_bytes", value=2**63), "nodes[1]: size_bytes: overflows"),
    "huge": (
        edited("nodes", 1, "size_bytes", value=1).replace('"size_bytes": 1,', f'"size_bytes": {"9" * 5000},'),
        "not usable JSON",
    ),
    "overflowing sum": (edited("fixed_bytes", value=2**62 - 20), "sizes together must stay below 2^62"),
    "overflowing cost": (edited("nodes", 1, "cost", value=1e301), "cost: overflows"),
    "not a number": (json.dumps(FILE | {"fixed_bytes": float("nan")}), "NaN is not a JSON number"),
    "infinite": (edited("nodes", 1, "cost", value=float("inf")), "Infinity is not a JSON number"),
    "fraction": (edited("nodes", 1, "size_bytes", value=1.5), "size_bytes: expected an integer, found 1.5"),
    "boolean": (edited("nodes", 1, "size_bytes", value=True), "size_bytes: expected an integer, found True"),
    "kind": (edited("nodes", 1, "kind", value=["x"]), "kind must be 'compute' or 'source', found ['x']"),
    "name": (edited("nodes", 1, "name", value=3), "nodes[1]: name must be a string, found 3"),
    "id": (edited("nodes", 1, "id", value=None), "an id must be an integer or a string, found null"),
    "no id": (without("nodes", 1, "id"), "nodes[1]: 'id' is missing"),
    "no size": (without("nodes", 1, "size_bytes"), "nodes[1]: 'size_bytes' is missing"),
    "no cost": (without("nodes", 1, "cost"), "nodes[1]: 'cost' is missing"),
    "no nodes": (without("nodes"), "'nodes' is missing"),
    "no format": (without("format"), "'format' is missing"),
    "format": (
        edited("format", value="daypack-problem/2"),
        "format must be 'daypack-problem/1', found 'daypack-pr",
    ),
    "misspelt": (
        edited("nodes", 1, "workspace_byte", value=1),
        "nodes[1]: unknown key 'workspace_byte'; known are",
    ),
    "top level": ("[1]", "problem: expected an object, found a list"),
    "inputs": (edited("nodes", 1, "inputs", value="w"), "inputs: expected a list, found 'w'"),
    "paging": (edited("paging", value=[]), "paging: expected an object, found a list"),
    "speed": (
        edited("paging", "read_bytes_per_s", value=0),
        "read_bytes_per_s must be a finite number above 0",
    ),
    "source that reads": (edited("nodes", 0, "overwrites", value=9), "cyclic"),
    "twice": ('{"format": 1, "format": 2}', "the key 'format' is given twice"),
    "text": ("{", "line 1: not JSON"),
    "deep": ("[" * 100000, "not usable JSON"),
    "empty": ("", "line 1: not JSON"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_problem_files_are_refused_with_their_reason(text, message):
    with pytest.raises(ProblemError) as caught:
        parse_problem(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("problem: ")


def test_unreadable_files_are_refused(tmp_path: Path):
    for name, message in [
        ("absent", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
    ]:
        with pytest.raises(ProblemError) as caught:
            read_problem(tmp_path / name)
        assert message in str(caught.value)
    (tmp_path / "latin").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ProblemError, match="expected UTF-8 text"):
        read_problem(tmp_path / "latin")


PLAN = {
    "format": "daypack-plan/1",
    "sequence": [["compute", 1]],
    "peak_bytes": 1,
    "cost": 1,
    "lower_bound_cost": 1,
    "proven_optimal": True,
    "seconds": 0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "format must be 'daypack-plan/1'"),
        ({"sequence": [["jump", 1]]}, "sequence[0]: expected [operation, id]"),
        ({"sequence": [["compute"]]}, "sequence[0]: expected [operation, id]"),
        ({"sequence": [["compute", 2]]}, "sequence[0]: 2 is dangling"),
        ({"peak_bytes": -1}, "peak_bytes: must be at least 0"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_bad_plan_files_are_refused(change, message):
    with pytest.raises(ProblemError) as caught:
        parse_plan(json.dumps(PLAN | change), (1,))
    assert message in str(caught.value)


def test_buffers_survive_their_file():
    read = parse_buffers("size,id,lower,upper\n 8 ,a,0,2\n\n4,b c,1,3\n")
    assert read.buffers == (Buffer(0, 0, 2, 8), Buffer(1, 1, 3, 4))
    assert layout_text(read, Layout((0, 8), 12, 12)) == "id,lower,upper,size,offset\na,0,2,8,0\nb c,1,3,4,8\n"
    assert parse_buffers("id,lower,upper,size\n").buffers == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the columns id,lower,upper,size, found ''"),
        ("id,lower,upper\n", "line 1: expected the columns"),
        ("id,lower,upper,size\n1,2,3\n", "line 2: expected 4 cells, found 3"),
        ("id,lower,upper,size\n1,2,2,1\n", "line 2: lower must be below upper, found lower 2, upper 2"),
        ("id,lower,upper,size\n1,0,2,-1\n", "line 2: size must be an integer of at least 0, found '-1'"),
        ("id,lower,upper,size\n1,0,2,1.5\n", "line 2: size must be an integer of at least 0, found '1.5'"),
        ("id,lower,upper,size\n1,0,2,9999999999999999999\n", "line 2: size overflows"),
        ("id,lower,upper,size\n1,0,2,1\n1,0,2,1\n", "line 3: id '1' is a duplicate of line 2"),
    ],
)
def test_bad_buffer_files_are_refused(text, message):
    with pytest.raises(LayoutError) as caught:
        parse_buffers(text)
    assert message in str(caught.value)
