"""`daypack plan` and `daypack layout` end to end on files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daypack.cli import main


def _node(
    number: int, inputs: list[int], size_bytes: int, workspace_bytes: int = 0, **more: object
) -> object:
    row = {"id": number, "name": f"n{number}", "cost": 1, "size_bytes": size_bytes, "inputs": inputs}
    return {**row, "workspace_bytes": workspace_bytes, "overwrites": None, **more}


PROBLEM = {
    "format": "daypack-problem/1",
    "nodes": [_node(0, [], 4, kind="source", cost=0), _node(1, [0], 8, 2), _node(2, [1], 8)],
    "keep": [2],
    "fixed_bytes": 10,
    "paging": None,
}


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(PROBLEM))
    return path


def test_plan_writes_a_judged_plan(problem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    assert main(["plan", str(problem), "--memory", "100", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    written = json.loads(out.read_text())
    assert written["format"] == "daypack-plan/1"
    assert [step for step in written["sequence"] if step[0] == "compute"] == [["compute", 1], ["compute", 2]]
    # x 4 + a 8 + b 8 is less than x 4 + a 8 + workspace 2 only without b: the fullest moment is computing b.
    assert shown["peak_bytes"] == written["peak_bytes"]
    assert shown["peak_bytes"] <= 10 + 4 + 8 + 8


def test_plan_says_which_budget_would_do(
    problem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    assert main(["plan", str(problem), "--memory", "11", "--out", str(out), "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert shown["error"] == "budget-infeasible"
    assert {"smallest_feasible_bytes", "bound_bytes", "forced_by", "message"} <= set(shown)
    assert not out.exists()


def test_layout_adds_offsets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffers = tmp_path / "buffers.csv"
    buffers.write_text("id,lower,upper,size\n0,0,2,5\n1,1,3,7\n2,2,4,5\n")
    out = tmp_path / "out.csv"
    assert main(["layout", str(buffers), "--capacity", "12", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_bytes"] == 12
    assert out.read_text().splitlines()[0] == "id,lower,upper,size,offset"
