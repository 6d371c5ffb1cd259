"""`daypack run` and `daypack inspect`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from daypack.errors import BundleError, MissingTool, Stopped

PLAN = ("--order", "layer-major", "--memory", "160MB")


def test_json_is_one_object_a_step(command, api) -> None:
    outcome = command("run", "b", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    steps = [json.loads(line) for line in outcome.out.splitlines()]
    assert steps[0] == {
        "step": 1,
        "loss": 5.5,
        "seconds": 0.5,
        "tokens": 512,
        "peak_rss_bytes": 120_000_000,
        "read_bytes": 4096,
        "written_bytes": 64,
        "source": "measured",
    }
    assert [list(step) for step in steps] == [
        ["step", "loss", "seconds", "tokens", "peak_rss_bytes", "read_bytes", "written_bytes", "source"]
    ] * 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_null(command, api, loss: float) -> None:
    api.first_loss = loss
    first = command("run", "b", "--json").out.splitlines()[0]
    assert json.loads(first, parse_constant=pytest.fail)["loss"] is None


def test_people_get_a_line_a_step(command, api) -> None:
    outcome = command("run", "b")
    assert outcome.out == (
        "step     1  loss 5.50000  0.500 s  512 tokens  peak 120 MB  measured\n"
        "step     2  loss 5.25000  0.500 s  512 tokens  peak 120 MB  measured\n"
    )


def test_the_defaults_arrive(command, api) -> None:
    command("run", "b")
    assert api.calls == [
        (
            "run",
            {
                "bundle": Path("b"),
                "data": None,
                "steps": None,
                "via": "local",
                "threads": None,
                "state": None,
                "fresh": False,
                "direct": False,
                "public_key": None,
                "order": None,
                "memory_bytes": None,
            },
        )
    ]


def test_the_options_arrive(command, api) -> None:
    options = ["--data", "d.txt", "--steps", 3, "--via", "emulated", "--threads", 4, "--state", "s"]
    command("run", "b", *options, "--fresh", "--direct", "--public-key", "k.pub", *PLAN)
    assert api.calls[0][1] == {
        "bundle": Path("b"),
        "data": Path("d.txt"),
        "steps": 3,
        "via": "emulated",
        "threads": 4,
        "state": Path("s"),
        "fresh": True,
        "direct": True,
        "public_key": Path("k.pub"),
        "order": "layer-major",
        "memory_bytes": 160_000_000,
    }


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (
            BundleError("b/plan.bin: 64 bytes expected, found 63"),
            4,
            "b/plan.bin: 64 bytes expected, found 63",
        ),
        (MissingTool("adb is not on the path"), 5, "adb is not on the path"),
        (Stopped("stopped after step 1"), 6, "stopped after step 1"),
        (KeyboardInterrupt(), 6, "interrupted; run the same command to go on from the last saved state"),
        (OSError(28, "No space left on device", "s/state"), 2, "s/state: No space left on device"),
        (OSError("odd"), 2, "odd"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_after_a_step(command, api, failure, code: int, message: str, as_json: bool) -> None:
    api.fail = failure
    outcome = command("run", "b", *(["--json"] if as_json else []))
    assert outcome.code == code
    lines = outcome.out.splitlines()
    if as_json:
        assert outcome.err == ""
        assert json.loads(lines[1])["message"] == message
    else:
        assert outcome.err == f"error: {message}\n"
        assert len(lines) == 1


def test_a_defect_is_not_hidden(command, api) -> None:
    api.fail = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError, match="a defect"):
        command("run", "b")


def test_inspect_json(command, api) -> None:
    api.inspected = {"kernels": 3, "files": ["a", "b"]}
    assert command("inspect", "b", "--json").json == api.inspected
    assert api.calls == [("inspect", {"bundle": Path("b")})]


def test_inspect_for_people(command, api) -> None:
    api.inspected = {
        "kernels": 3,
        "budget": None,
        "predicted": {"step_seconds": 1.25},
        "files": ["a", "b"],
        "arrays": [{"name": "w", "shape": []}],
        "nothing": {},
    }
    assert command("inspect", "b").out.splitlines() == [
        "kernels = 3",
        "budget = none",
        "predicted",
        "  step_seconds = 1.25",
        "files = a, b",
        "arrays[0]",
        "  name = w",
        "  shape = none",
    ]


def test_inspect_refuses_a_broken_bundle(command, api) -> None:
    api.fail = BundleError("b/MANIFEST: missing")
    outcome = command("inspect", "b", "--json")
    assert outcome.code == 4
    assert outcome.json == {"error": "bad-bundle", "message": "b/MANIFEST: missing"}
