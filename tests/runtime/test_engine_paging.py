"""Fetches, stores and waits: the same training with nothing large in memory between steps, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from daypack.runtime.plan_file import Fetch, FileKind, StatePiece, Store, Wait
from daypack.runtime.state_file import state_layout


def trained(case: Any, *arguments: str) -> tuple[list[float], bytes]:
    run = case.run("--steps", "4", *arguments)
    assert run.status == 0, run
    return [event["loss"] for event in run.steps], case.state.read_bytes()


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_paging_changes_no_bit(make_case: Callable[..., Any], example: Any, threads: str) -> None:
    kept = trained(make_case(name="kept"), "--threads", threads)
    paged = trained(make_case(name="paged", **example.paged_plan()), "--threads", threads)
    assert paged == kept


def test_paging_under_the_emulator(make_case: Callable[..., Any], example: Any) -> None:
    arch = "aarch64"
    assert trained(make_case(arch, name="paged", **example.paged_plan())) == trained(
        make_case(arch, name="kept")
    )


def test_partial_reads_and_writes(make_case: Callable[..., Any], example: Any) -> None:
    """The platform of the second moves a part of what it is asked for."""
    paged = example.paged_plan()
    assert trained(make_case(name="a", **paged)) == trained(make_case(variant="faulty", name="b", **paged))


def test_direct_transfers_change_no_bit(make_case: Callable[..., Any], example: Any) -> None:
    case = make_case(name="direct", **example.paged_plan())
    if case.run("--steps", "1", "--direct", "--fresh").status == 2:
        pytest.skip("no direct reads in this file system")
    case.state.unlink()
    assert trained(case, "--direct") == trained(make_case(name="kept"))


def test_direct_transfers_from_odd_places(make_case: Callable[..., Any], example: Any) -> None:
    """Swap that begins and ends inside pages, and is larger than the buffer of direct transfers."""
    arena = example.ARENA_BYTES
    size = (2 << 20) + 4 * example.COUNT
    more = (
        Fetch(FileKind.WEIGHTS, 0, arena, 64),
        Store(FileKind.SWAP, 1001, arena, size),
        Fetch(FileKind.SWAP, 1001 + size - 4 * example.COUNT, example.ARENA["x"], 4 * example.COUNT),
        Wait(3),
    )
    states: list[bytes] = []
    for arguments in ((), ("--direct",)):
        steps = (*more, *example.example_plan().steps)
        case = make_case(name=f"odd{len(states)}", steps=steps, arena_bytes=arena + size, budget_bytes=0)
        run = case.run("--steps", "2", *arguments)
        if run.status == 2:
            pytest.skip("no direct reads in this file system")
        assert run.status == 0, run
        states.append(case.state.read_bytes())
    assert states[0] == states[1]


def test_bytes_of_transfers_are_counted(make_case: Callable[..., Any], example: Any) -> None:
    """No byte of the state is written twice: the header, what is stored, the clock that stays."""
    case = make_case(**example.paged_plan())
    size = 4 * example.COUNT
    batches = 2 * (128 + 4)
    header = len(state_layout(case.plan.state).header)
    for event in case.run("--steps", "3").steps:
        assert event["read_bytes"] == 5 * size + batches
        assert event["written_bytes"] == header + 2 * size + 4 + size + size  # swap; `out` once more


def test_a_tensor_in_pieces(make_case: Callable[..., Any], example: Any) -> None:
    """The first half of y stays, the second is paged; the file holds one tensor."""
    whole = example.example_plan()
    half = 2 * example.COUNT
    place = example.ARENA["y"]
    offset = state_layout(whole.state).offsets_bytes[0] + half
    pieces = (StatePiece(place, half), StatePiece(None, half))
    y = replace(whole.state[0], arena_offset_bytes=None, parts=pieces)
    first, *rest = whole.steps
    steps = (
        Fetch(FileKind.STATE, offset, place + half, half),
        Wait(1),
        first,
        *rest[:-1],
        Store(FileKind.NEXT, offset, place + half, half),
        rest[-1],
    )
    pieced = make_case(name="pieces", state=(y, *whole.state[1:]), steps=steps)
    assert trained(pieced) == trained(make_case(name="whole"))
    assert load_file(pieced.state)["y"].shape == (64, 64)


def test_fetches_are_hinted(make_case: Callable[..., Any], example: Any) -> None:
    """In each step two fetches of the weights or the state lie behind another fetch."""
    case = make_case(variant="faulty", **example.paged_plan())
    run = case.run("--steps", "3", env={"COUNTS": "1"})
    assert run.status == 0 and f"count will_read {3 * 2}\n" in run.stderr
    hinted = case.state.read_bytes()
    case.state.unlink()
    assert case.run("--steps", "3", env={"FAULT": "will_read:0"}).status == 0
    assert case.state.read_bytes() == hinted


def test_the_profile_tells_of_transfers(make_case: Callable[..., Any], example: Any) -> None:
    run = make_case(**example.paged_plan()).run("--steps", "1", "--profile")
    (profile,) = (event for event in run.events if event["event"] == "profile")
    assert profile["transfer_seconds"] > profile["store_seconds"] > 0 and profile["io_seconds"] > 0


def test_swap_has_no_name_and_its_room_is_reserved(make_case: Callable[..., Any], example: Any) -> None:
    case = make_case(variant="faulty", **example.paged_plan())
    run = case.run("--steps", "1", env={"FAULT": "reserve:1"})
    assert run.status == 6
    assert run.message == (
        f"{case.state.parent}: expected room for {4096 + 4 * example.COUNT} bytes of swap, found: "
        "No space left on device; free that much or give --state another"
    )
    assert list(case.state.parent.iterdir()) == []
    assert case.run("--steps", "1").status == 0
    assert [path.name for path in case.state.parent.iterdir()] == ["state.safetensors"]


def test_a_stop_is_seen_between_the_pieces_of_a_transfer(make_case: Callable[..., Any], example: Any) -> None:
    """A store of 1 GB would take long; it is left after the piece under way, and so is the step."""
    size = 1 << 30
    steps = (Store(FileKind.SWAP, 0, 0, size), *example.example_plan().steps, Wait(1))
    case = make_case(variant="faulty", steps=steps, arena_bytes=size, budget_bytes=0)
    process = subprocess.Popen(
        case.command("--steps", "3"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()  # the run has started
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read().decode()
    assert process.wait(timeout=30) == 6 and "stopped by a signal" in said
    process.stdout.close()
    assert list(case.state.parent.iterdir()) == []


def test_a_kill_at_any_moment_loses_at_most_the_step_under_way(
    make_case: Callable[..., Any], example: Any
) -> None:
    """SIGKILL after random delays: the state is whole each time, and resumed runs end where one run does."""
    steps = 60
    whole = make_case(name="whole", **example.paged_plan())
    assert whole.run("--steps", str(steps)).status == 0
    killed = make_case(name="killed", **example.paged_plan())
    rng = random.Random(1)
    done = kills = 0
    while done < steps:
        process = subprocess.Popen(killed.command("--steps", str(steps - done)), stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 12)):  # some events, then a moment of a step
            process.stdout.readline()
        time.sleep(rng.random() * 0.002)
        process.kill()
        process.wait()
        process.stdout.close()
        kills += process.returncode == -signal.SIGKILL
        before, done = done, clock(killed.state)
        assert before <= done <= steps
    assert kills >= 3
    assert killed.state.read_bytes() == whole.state.read_bytes()


def clock(path: Path) -> int:
    if not path.exists():
        return 0
    with safe_open(path, "np") as file:
        return int(file.get_tensor("clock/step"))


def test_the_state_of_another_training_is_refused(make_case: Callable[..., Any], example: Any) -> None:
    """Same tensors, another identity: exit 4; --fresh starts again; the same identity goes on."""
    ids = ["1" * 64, "2" * 64]
    cases = [identified(make_case(name=f"case{number}"), state_id) for number, state_id in enumerate(ids)]
    assert cases[0].run("--steps", "2").status == 0
    with safe_open(cases[0].state, "np") as file:
        assert file.metadata() == {**file.metadata(), "daypack": "state 1", "training": ids[0]}
    place = ("--state", str(cases[0].state.parent))
    refused = cases[1].run("--steps", "1", *place)
    assert refused.status == 4 and "found another header" in refused.message
    assert clock(cases[0].state) == 2
    assert cases[0].run("--steps", "1", *place).status == 0
    assert clock(cases[0].state) == 3
    assert cases[1].run("--steps", "1", "--fresh", *place).status == 0
    assert clock(cases[0].state) == 1


def identified(case: Any, state_id: str) -> Any:
    case.set_plan(state_id=state_id)
    old = len(state_layout(case.plan.state).header)
    data = (case.bundle / "state.safetensors").read_bytes()[old:]
    case.set_file("state.safetensors", state_layout(case.plan.state, state_id).with_digits([data]) + data)
    return case


def test_no_transfer_outlives_the_arena_of_a_failed_run(make_case: Callable[..., Any], example: Any) -> None:
    """A stop while the pager works: the run ends with its message, the last state and nothing else."""
    case = make_case(variant="faulty", **example.paged_plan())
    assert case.run("--steps", "1").status == 0
    for number in range(1, 40, 3):
        run = case.run("--steps", "1", env={"FAULT": f"stop_requested:{number}+"})
        assert run.status == 6, run
        assert clock(case.state) == 1
        assert os.listdir(case.state.parent) == ["state.safetensors"]
