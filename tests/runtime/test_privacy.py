"""What a run writes is its owner's alone; what it says has nothing of the text or of what was learnt."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daypack.runtime.bundle import new_bundle


@pytest.fixture
def open_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
@pytest.mark.usefixtures("open_umask")
def test_a_state_is_its_owner_s(make_case: Callable[..., Any], example: Any, paged: bool) -> None:
    case = make_case(**(example.paged_plan() if paged else {}))
    for steps in ("1", "2"):  # the first generation, and one that takes the place of another
        assert case.run("--steps", steps).status == 0
        assert mode(case.state.parent) == 0o700
        assert {path.name: mode(path) for path in case.state.parent.iterdir()} == {"state.safetensors": 0o600}


@pytest.mark.usefixtures("open_umask")
def test_a_bundle_which_holds_the_data_is_its_owner_s(tmp_path: Path) -> None:
    with new_bundle(tmp_path / "out") as staging:
        assert mode(staging) == 0o700
    assert mode(tmp_path / "out") == 0o700


def strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings_of(part)


def test_events_say_no_word_of_the_data(case: Any) -> None:
    run = case.run("--steps", "3", "--profile", "--audit-arena")
    assert run.status == 0 and run.stderr == ""
    words = {word for event in run.events for word in strings_of(event)}
    kinds = {"start", "step", "profile", "end"}
    plain = {"x86_64", "aarch64", "measured", "micro-batch-major", str(case.state)}
    assert words <= kinds | plain | {"no_new_privileges", "landlock", "seccomp"}, words
    longest = max(len(part) for event in run.events for part in event.values() if isinstance(part, list))
    assert longest <= max(3, len(case.plan.kernels))  # no list of ids
