"""`daypack export` and `daypack merge`."""

from __future__ import annotations

from pathlib import Path

import pytest

from daypack.errors import SpecError


@pytest.mark.parametrize("name", ["export", "merge"])
def test_arguments_arrive_and_the_result_is_told(command, api, name: str) -> None:
    outcome = command(name, "b", "--out", "d")
    assert (outcome.code, outcome.out) == (0, "out = d\nstep = 3\nparameters = 96\n")
    outcome = command(name, "b", "--out", "d", "--state", "s", "--json")
    assert outcome.json == {"out": "d", "step": 3, "parameters": 96}
    given = {"bundle": Path("b"), "out": Path("d")}
    assert api.calls == [(name, given | {"state": None}), (name, given | {"state": Path("s")})]


@pytest.mark.parametrize("name", ["export", "merge"])
def test_errors(command, api, name: str) -> None:
    outcome = command(name, "b")
    assert (outcome.code, api.calls) == (2, [])
    assert "Missing option '--out'" in outcome.err
    api.fail = SpecError("d: already holds files; name a new directory")
    outcome = command(name, "b", "--out", "d")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: d: already holds files; name a new directory\n"
