"""--evaluate: sums of labelled rows and answers of questions, of the state that is there, unchanged."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import BatchInput, StateTensor
from daypack.runtime.plan_format import write_plan

Make = Callable[..., Any]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What is in a folder, to the byte and the nanosecond."""
    return (
        {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()} if folder.exists() else {}
    )


def test_rows_are_summed_and_told(case: Any) -> None:
    case.set_evaluation()
    case.set_rows((-2.5, 2), (0, 0), (-4, 3))
    run = case.run("--evaluate")
    assert run.status == 0
    start, *rows, end = run.events
    assert (start["event"], start["step"]) == ("start", 0)
    assert [(row["log_likelihood"], row["labels"]) for row in rows] == [
        ([-2.5], [2]),
        ([0], [0]),
        ([-4], [3]),
    ]
    assert {k: end[k] for k in ("event", "step", "rows", "labels", "log_likelihood")} == {
        "event": "evaluated",
        "step": 0,
        "rows": 2,
        "labels": 5,
        "log_likelihood": -6.5,
    }
    assert end["perplexity"] == pytest.approx(np.exp(1.3), rel=1e-8)
    assert end["peak_rss_bytes"] > 0 and end["source"] == "measured"
    assert case.run("--evaluate", "--steps", "1").events[-1]["labels"] == 2


def test_a_perplexity_beyond_numbers_is_null(case: Any) -> None:
    case.set_evaluation()
    case.set_rows((-2000, 2))
    assert case.run("--evaluate").events[-1]["perplexity"] is None


def test_the_right_option_is_the_first_and_must_be_likelier_than_all_others(case: Any) -> None:
    """Right by sum and by length; by sum alone; by length alone; equal, so wrong. Then filling."""
    questions = [
        [(-1, 2), (-2, 2), (-3, 1)],
        [(-2, 1), (-3, 2), (-9, 3)],
        [(-4, 4), (-3, 1), (-2, 1)],
        [(-1, 1), (-1, 1), (-2, 1)],
    ]
    case.set_evaluation()
    case.set_rows(*(row for question in questions for row in question), (0, 0), (0, 0))
    end = case.run("--evaluate", "--choices", "3").events[-1]
    assert [end[k] for k in ("questions", "right", "right_by_length")] == [4, 2, 2]
    assert (end["rows"], end["labels"], end["log_likelihood"]) == (4, 8, -8)


def test_the_state_that_is_there_is_read_and_nothing_is_written(case: Any, tmp_path: Path) -> None:
    case.set_evaluation()
    assert case.run("--evaluate").events[0]["step"] == 0
    assert not case.state.parent.exists()
    case.run("--steps", "3")
    before = files(case.state.parent), files(case.bundle)
    assert case.run("--evaluate").events[-1]["step"] == 3
    assert case.run("--evaluate", "--state", str(case.state.parent)).events[-1]["step"] == 3
    assert case.run("--evaluate", "--fresh").events[-1]["step"] == 0
    assert (files(case.state.parent), files(case.bundle)) == before
    assert {p.name for p in tmp_path.iterdir()} == {case.bundle.name, case.state.parent.name}


def test_a_run_beside_it_is_refused(case: Any) -> None:
    case.set_evaluation()
    case.run("--steps", "1")
    descriptor = os.open(case.state.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "another run is using this state directory" in case.run("--evaluate").message
    assert case.run("--evaluate", "--fresh").status == 0
    os.close(descriptor)


def test_what_the_evaluation_lacks_is_said_of_it(case: Any) -> None:
    case.set_file("eval.bin", (case.bundle / "plan.bin").read_bytes())
    message = case.run("--evaluate").message
    assert message == "eval.bin: header[0].rows: expected 1 or more in an evaluation, found 0"
    case.set_evaluation()
    case.set_file("plan.bin", (case.bundle / "eval.bin").read_bytes())
    assert case.run().message == "plan.bin: header[0].rows: expected 0 in a training, found 1"


def test_the_host_reads_both_and_compares_them(case: Any, example: Any) -> None:
    case.set_evaluation()
    found = read_bundle(case.bundle)
    assert found.evaluation == example.evaluation_plan(case.plan)
    for changes, message in (
        ({"kernel_id": bytes(32)}, "expected the kernels and the state of plan.bin, found others"),
        ({"state": (StateTensor("z", "F32", (1,), None),)}, "expected the kernels and the state of plan.bin"),
        ({"state_id": "0" * 64}, "expected the evaluation of what plan.bin trains, found another plan"),
        ({"inputs": (BatchInput("ids", "I32", 128),), "steps": ()}, None),
    ):
        plan = example.evaluation_plan(case.plan, **changes)
        case.set_file("eval.bin", write_plan(plan))
        if message is None:
            assert read_bundle(case.bundle).evaluation == plan
        else:
            with pytest.raises(BundleError, match=f"eval.bin: {message}"):
                read_bundle(case.bundle)
