"""Which places of a window are kept, and that what is kept is all that the rest of it needs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from survival import subjects

from daypack.compiler import planning, shards, suspends
from daypack.compiler.suspends import Contents, Keeping
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import Batch, EndShard, FileKind, Store, Suspend

MINUTE = Keeping(write_bytes_per_s=1e9, endurance_bytes=1e18)


def loss(chosen: tuple[int, ...], times: list[float], costs: list[float], whole: float) -> float:
    ends = [0.0, *(times[n] for n in chosen), whole]
    redone = sum((b - a) ** 2 for a, b in itertools.pairwise(ends)) / (2 * suspends.STOP_EVERY_S)
    return redone + sum(costs[n] for n in chosen)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 20)), max_size=7), st.floats(0, 100))
@settings(deadline=None)
def test_no_choice_of_places_loses_less(rows: list[tuple[float, float]], rest: float) -> None:
    times, costs = sorted(time for time, _ in rows), [cost for _, cost in rows]
    whole = (times[-1] if times else 0.0) + rest
    found = tuple(suspends.least_loss(np.array(times), np.array(costs), whole))
    every = itertools.chain.from_iterable(itertools.combinations(range(len(rows)), n) for n in range(8))
    least = min(loss(chosen, times, costs, whole) for chosen in every)
    assert loss(found, times, costs, whole) == pytest.approx(least, rel=1e-9, abs=1e-12)


def test_equal_places_are_kept_at_youngs_interval() -> None:
    """Of shards of a second each, in 1,000 s, where keeping costs as much as a fifth."""
    cost, whole = 0.2, 1000
    times = np.arange(1.0, whole)
    found = suspends.least_loss(times, np.full(len(times), cost), float(whole))
    young = (2 * cost * suspends.STOP_EVERY_S) ** 0.5
    assert whole / (len(found) + 1) == pytest.approx(young, rel=0.1)


def contents(rows: int, size: int, **given: Any) -> Contents:
    """One row that lives from each instruction to two behind it, and one that lives all along."""
    made = [(n, n + 3, size) for n in range(rows)] + [(0, rows + 3, 64)]
    empty: dict[str, Any] = {"restored": frozenset(), "fetched": frozenset(), "changed": {}, "barred": ()}
    return Contents(made, [size * (n % 4) for n in range(rows)] + [4 * size], **{**empty, **given})


def test_what_is_kept_is_what_lives_on_and_no_file_has() -> None:
    size = 128
    found = contents(8, size).at(4)
    assert found is not None and found.ranges == ((2 * size, 2 * size + 64),)
    again = contents(8, size, fetched=frozenset({2, 3}), changed={3: 3}).at(4)
    assert again is not None and again.fetched_rows == {2}
    assert again.ranges == ((3 * size, size + 64),)
    later = contents(8, size, restored=frozenset({8}), changed={8: 4}).at(4)
    assert later is not None and later.ranges == ((2 * size, 2 * size),)
    assert contents(8, size, restored=frozenset(range(9))).at(4) is None
    assert contents(8, size, barred=((3, 5),)).at(4) is None
    assert contents(8, size, barred=((3, 4), (5, 9))).at(4) is not None


def chosen(keeping: Keeping, size: int = 1 << 20) -> int:
    seconds = [10.0 * (n + 1) for n in range(60)]
    return len(suspends.suspends(contents(60, size), range(1, 60), seconds, keeping))


def test_limits_on_what_is_written_and_on_wear_are_kept() -> None:
    assert chosen(MINUTE) > 30
    kept_bytes = 2 * (1 << 20) + 64
    for limit in (0, kept_bytes, 5 * kept_bytes):
        keeping = Keeping(1e9, 1e18, written_bytes=limit + 77, already_bytes=77)
        assert chosen(keeping) <= limit // kept_bytes
    assert chosen(Keeping(1e9, 1e18, written_bytes=5, already_bytes=77)) == 0
    worn = Keeping(1e9, endurance_bytes=150e12)
    assert 0 < chosen(worn) <= suspends.WEAR_SHARE * 150e12 / suspends.YEAR_S * 600 / kept_bytes
    assert chosen(Keeping(1e9, state_bytes=3 * kept_bytes)) in (1, 2, 3)
    assert chosen(Keeping(1e9)) == 0
    assert chosen(Keeping(1e9, 1e18, saves_each=False)) == 0
    assert chosen(Keeping(1e5, 1e18)) < chosen(Keeping(1e9, 1e18))


def test_of_very_many_places_the_small_ones_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspends, "PLACES", 5)
    assert 0 < chosen(MINUTE) <= 5


def engine_run(engine: Path, bundle: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(engine), "--bundle", str(bundle), "--threads", "1", *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )


def test_a_compiled_training_goes_on_from_every_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout and a window of two, stopped at many places, the arena full of rubbish when it goes on."""
    monkeypatch.setattr(shards, "QUANTUM_S", 0.0)
    monkeypatch.setattr(suspends, "STOP_EVERY_S", 1e-9)
    monkeypatch.setattr(Keeping, "allowed_bytes", lambda *_: 1e18)
    monkeypatch.setattr(planning, "PLAN_SECONDS_A_NODE", 0.0005)
    monkeypatch.setattr(suspends, "RECORD_BYTES", 1_000_000)
    made = subjects.lora(tmp_path, subjects.TINY, "fault")
    plan = read_bundle(made.bundle).plan
    places = [n for n, step in enumerate(plan.steps) if isinstance(step, Suspend)]
    ends = sum(isinstance(step, EndShard) for step in plan.steps)
    stores = [n for n, s in enumerate(plan.steps) if isinstance(s, Store) and s.file is FileKind.NEXT]
    last = max(n for n, step in enumerate(plan.steps) if isinstance(step, Batch))
    assert any(place > last for place in places) and all(p < min(stores, default=p + 1) for p in places)
    assert 20 < len(places) < ends
    engine, state = made.engines["fault"], tmp_path / "state"
    whole = tmp_path / "whole"
    assert (
        engine_run(made.engines["plain"], made.bundle, "--steps", "2", "--state", str(whole)).returncode == 0
    )
    expected = (whole / "state.safetensors").read_bytes()
    words = ("--steps", "2", "--state", str(state))
    counted = engine_run(engine, made.bundle, *words, COUNTS="1")
    assert counted.returncode == 0, counted.stdout[-500:]
    (polls,) = (int(x.split()[2]) for x in counted.stderr.splitlines() if "count stop_requested " in x)
    resumed = 0
    for poll in range(polls // 40, polls, polls // 40):
        for path in state.glob("*"):
            path.unlink()
        stopped = engine_run(engine, made.bundle, *words, FAULT=f"stop_requested:{poll}+")
        assert stopped.returncode == 6, stopped.stdout[-500:]
        done = stopped.stdout.count('"event":"step"')
        rest = ("--steps", str(2 - done), "--state", str(state), "--audit-arena")
        again = engine_run(made.engines["plain"], made.bundle, *rest)
        assert again.returncode == 0, again.stdout[-500:]
        resumed += '"event":"resumed"' in again.stdout
        assert (state / "state.safetensors").read_bytes() == expected, poll
    assert resumed > 20
