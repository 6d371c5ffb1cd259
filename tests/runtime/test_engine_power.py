"""Power is lost at every moment of a small run, on a disk that forgets what was not synced.

What SIGKILL cannot show: after it the system still writes what the engine wrote. The platform is
native/power_main.c; `make proof` loses power a thousand times in compiled trainings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOST = 99
STEPS = 2
NAME = "state.safetensors"


def generations(case: Any, folder: Path) -> dict[int, bytes]:
    """The file of each generation of a training that nothing befalls."""
    found: dict[int, bytes] = {}
    for step in range(1, 2 * STEPS + 1):
        assert case.run("--steps", "1", "--state", str(folder)).status == 0
        found[step] = (folder / NAME).read_bytes()
    return found


@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_loss_at_every_moment(
    make_case: Callable[..., Any], example: Any, paged: bool, seed: int, tmp_path: Path
) -> None:
    """The first run from nothing, and one that goes on: told windows are on disk, and none is half there."""
    case = make_case(variant="power", **(example.paged_plan() if paged else {}))
    whole = generations(case, tmp_path / "whole")
    for before in (0, STEPS):
        moment = losses = 0
        while True:
            moment += 1
            state = tmp_path / f"{before}-{moment}"
            if before:
                state.mkdir()
                (state / NAME).write_bytes(whole[before])
            power = {"POWER": f"{moment}:{seed and seed * 1000 + moment}"}
            run = case.run("--steps", str(STEPS), "--state", str(state), "--threads", "2", env=power)
            told = max((event["step"] for event in run.steps), default=before)
            kept = (state / NAME).read_bytes() if (state / NAME).exists() else b""
            found = next((step for step, data in whole.items() if data == kept), 0)
            assert bool(kept) == (found > 0), (moment, "a state that no step left")
            assert told <= found <= told + 1, (moment, run)
            if run.status == 0:
                break
            assert run.status == LOST, (moment, run)
            losses += 1
            if (moment + seed) % 4 == 0:
                again = case.run("--steps", str(before + STEPS - found), "--state", str(state))
                assert again.status == 0 or found == before + STEPS, (moment, again)
                if found < before + STEPS:
                    assert (state / NAME).read_bytes() == whole[before + STEPS], moment
        assert losses > 12


def test_a_directory_that_was_just_made(make_case: Callable[..., Any], tmp_path: Path) -> None:
    """Its own name is synced before the first window is told."""
    case = make_case(variant="power")
    state = tmp_path / "new"
    run = case.run("--steps", "1", "--state", str(state), env={"POWER": "0"})
    assert run.status == 0 and (state / NAME).exists()
