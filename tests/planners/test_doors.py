"""The research doors: files in, files out, errors with their exit codes, and a fast start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daypack.errors import ExitCode, SpecError
from daypack.planners.buffers_csv import parse_buffers
from daypack.planners.doors import layout_file, plan_file
from daypack.planners.exchange import named, parse_plan, problem_text
from daypack.planners.infeasible import LayoutInfeasible, PlanInfeasible
from daypack.planners.layout import Layout
from daypack.planners.validate import validate_layout, validate_plan
from tests.planners.problems import example


@pytest.fixture
def problem_path(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(problem_text(named(example())))
    return path


def test_plan_file_writes_a_valid_plan(problem_path: Path, tmp_path: Path):
    out = tmp_path / "plan.json"
    figures = plan_file(problem_path, out, memory_bytes=21, planner="keep-all")
    plan = parse_plan(out.read_text(), range(8))
    validate_plan(example(), plan, 21)
    assert "sequence" not in figures
    assert (figures["peak_bytes"], figures["cost"], figures["proven_optimal"]) == (21, 7, True)


@pytest.mark.parametrize("memory_bytes", [0, 16])
def test_an_infeasible_budget_is_an_answer(problem_path: Path, tmp_path: Path, memory_bytes: int):
    out = tmp_path / "plan.json"
    with pytest.raises(PlanInfeasible) as caught:
        plan_file(problem_path, out, memory_bytes=memory_bytes, planner="keep-all")
    assert caught.value.code == ExitCode.BUDGET_INFEASIBLE
    answer = caught.value.details()
    assert answer["error"] == "budget-infeasible"
    assert (answer["memory_bytes"], answer["bound_bytes"]) == (memory_bytes, 16)
    assert {row["name"] for row in answer["forced_by"]} == {"x", "a", "db", "da"}
    assert f"budget of {memory_bytes} bytes" in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_bytes": -1}, "--memory must be at least 0, found -1"),
        ({"time_limit_s": -1.0}, "--time-limit must be at least 0, found -1.0"),
        ({"time_limit_s": float("nan")}, "--time-limit must be at least 0, found nan"),
        ({"threads": 0}, "--threads must be at least 1, found 0"),
        ({"seed": -1}, "--seed must be at least 0, found -1"),
        ({"planner": "best"}, "planner: 'best' is not one of auto, keep-all"),
    ],
)
def test_bad_arguments_are_refused(problem_path: Path, tmp_path: Path, arguments, message):
    with pytest.raises(SpecError) as caught:
        plan_file(problem_path, tmp_path / "plan.json", **({"memory_bytes": 100} | arguments))
    assert message in str(caught.value)


def test_an_output_that_cannot_be_written_is_an_error(problem_path: Path, tmp_path: Path):
    with pytest.raises(SpecError, match="cannot be written"):
        plan_file(problem_path, tmp_path / "absent" / "plan.json", memory_bytes=100, planner="keep-all")


def test_layout_file_writes_a_valid_layout(tmp_path: Path):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,lower,upper,size\na,0,2,8\nb,1,3,4\nc,2,4,8\n")
    figures = layout_file(source, out)
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["id", "lower", "upper", "size", "offset"]
    layout = Layout(tuple(int(row[4]) for row in rows[1:]), 12, 12)
    validate_layout(parse_buffers(source.read_text()).buffers, layout, 1)
    assert (figures["total_bytes"], figures["max_load_bytes"], figures["proven_optimal"]) == (12, 12, True)
    with pytest.raises(LayoutInfeasible) as caught:
        layout_file(source, tmp_path / "none.csv", capacity_bytes=11)
    assert caught.value.code == ExitCode.BUDGET_INFEASIBLE
    assert caught.value.details() == {
        "error": "layout-infeasible",
        "capacity_bytes": 11,
        "smallest_feasible_bytes": 12,
        "bound_bytes": 12,
    }
    assert "no layout can fit it" in str(caught.value)
    assert not (tmp_path / "none.csv").exists()
    with pytest.raises(SpecError, match="--capacity must be at least 0, found -1"):
        layout_file(source, out, capacity_bytes=-1)


def test_the_doors_import_neither_compiler_nor_solver():
    """A start in under a second is mostly a matter of what is not imported."""
    code = (
        "import sys, json; import daypack.planners.doors; "
        "print(json.dumps([m for m in ('jax', 'tvm', 'ortools', 'numba', 'networkx') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
