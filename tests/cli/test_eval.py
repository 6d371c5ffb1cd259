"""`daypack eval`."""

from __future__ import annotations

import math
from pathlib import Path

from daypack.errors import BundleError

GIVEN = {
    "bundle": Path("b"),
    "data": Path("d.txt"),
    "kind": None,
    "options": None,
    "state": None,
    "before": False,
    "via": "local",
    "threads": None,
    "public_key": None,
}


def test_arguments_arrive_and_the_result_is_told(command, api) -> None:
    outcome = command("eval", "b", "--data", "d.txt")
    assert (outcome.code, api.calls[0]) == (0, ("eval", GIVEN))
    assert "perplexity = 7.5" in outcome.out.splitlines()
    assert "accuracy" not in outcome.out
    words = ("--before", "--kind", "jsonl", "--options", "letters", "--via", "emulated", "--threads", "2")
    outcome = command("eval", "b", "--data", "d.txt", *words, "--state", "s", "--public-key", "k", "--json")
    assert outcome.json == {"data": "d.txt", "perplexity": 7.5, "step": 3, "accuracy": None}
    assert api.calls[1][1] == GIVEN | {
        "kind": "jsonl",
        "options": "letters",
        "state": Path("s"),
        "before": True,
        "via": "emulated",
        "threads": 2,
        "public_key": Path("k"),
    }


def test_a_perplexity_beyond_numbers_is_null(command, api) -> None:
    api.perplexity = math.inf
    assert command("eval", "b", "--data", "d.txt", "--json").json["perplexity"] is None


def test_errors(command, api) -> None:
    outcome = command("eval", "b")
    assert (outcome.code, api.calls) == (2, [])
    assert "Missing option '--data'" in outcome.err
    assert command("eval", "b", "--data", "d", "--kind", "prose").code == 2
    api.fail = BundleError("s: expected a saved state, found none")
    outcome = command("eval", "b", "--data", "d", "--state", "s")
    assert (outcome.code, outcome.err) == (4, "error: s: expected a saved state, found none\n")
