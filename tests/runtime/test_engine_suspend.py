"""A window that is stopped goes on from its last kept place, from its start where it cannot: same bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from daypack.errors import BundleError
from daypack.runtime.data_file import write_data
from daypack.runtime.plan_file import (
    Batch,
    EndShard,
    Fetch,
    FileKind,
    Instr,
    Order,
    Store,
    Suspend,
    Wait,
    Zero,
)
from daypack.runtime.plan_format import read_plan, write_plan
from daypack.runtime.plan_records import HEADER as PLAN_HEADER
from daypack.runtime.plan_records import INSTRUCTION, Op
from daypack.runtime.state_file import state_layout

WINDOW = 4
HEADER = struct.Struct("<8sII32sQQQIIII")
SUM = 3  # its field of the header's own checksum is at byte 12


def in_memory(example: Any) -> dict[str, Any]:
    """Window of 4, kept after each micro-step: all that the rest needs lies in one stretch but the sums."""
    arena, sizes = example.ARENA, example.SIZES
    kept = ((arena["y"], sizes["y"]), (arena["total"], 64 + 64))
    steps: list[Instr] = [Zero(arena["total"], 64), Zero(arena["weight"], 64)]
    for micro in range(WINDOW):
        steps += [
            Batch(micro, (arena["ids"], arena["scale"])),
            example.call(0, "ids", "scale", "total", "weight"),
            example.call(1, "a", "x", "y"),
            Suspend(kept),
            EndShard(),
        ]
    steps += [example.call(2, "y", "partial", "out"), example.call(3, "total", "weight", "loss", "clock")]
    return {"window": WINDOW, "steps": tuple(steps)}


def paged(example: Any) -> dict[str, Any]:
    """The same where `x` is fetched for each micro-step, and `y` lies in the state's file between steps."""
    arena, sizes = example.ARENA, example.SIZES
    y, out, x, size = arena["y"], arena["out"], arena["x"], sizes["y"]
    changed = dict(example.paged_plan())
    y_file, out_file, _ = state_layout(changed["state"]).offsets_bytes
    sums = (arena["total"], 128)
    steps: list[Instr] = [
        Zero(arena["total"], 64),
        Zero(arena["weight"], 64),
        Fetch(FileKind.STATE, y_file, y, size),
        Fetch(FileKind.WEIGHTS, 0, x, size),
        Suspend((sums,), (2, 3)),
        EndShard(),
    ]
    for micro in range(WINDOW):
        steps += [
            Batch(micro, (arena["ids"], arena["scale"])),
            example.call(0, "ids", "scale", "total", "weight"),
            Wait(2 + micro),
            example.call(1, "a", "x", "y"),
            Zero(x, size),
            Fetch(FileKind.WEIGHTS, 0, x, size),
        ]
        steps += [Suspend(((y, size), sums), (len(steps) - 1,)), EndShard()]
    steps += [
        Store(FileKind.NEXT, y_file, y, size),
        example.call(2, "y", "partial", "out"),
        Store(FileKind.NEXT, out_file, out, size),
        example.call(3, "total", "weight", "loss", "clock"),
        EndShard(),
    ]
    return {**changed, "window": WINDOW, "steps": tuple(steps)}


def without(changes: dict[str, Any]) -> dict[str, Any]:
    """The same plan with no place kept."""
    return {**changes, "steps": tuple(s for s in changes["steps"] if not isinstance(s, Suspend))}


def events(run: Any, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == kind]


def polls(case: Any) -> int:
    """How often a run of one step asks whether to stop."""
    run = case.run("--steps", "1", "--fresh", "--threads", "1", env={"COUNTS": "1"})
    assert run.status == 0, run
    (count,) = (int(x.split()[2]) for x in run.stderr.splitlines() if "count stop_requested " in x)
    return count


def stop_at(case: Any, poll: int) -> Any:
    words = ("--steps", "1", "--threads", "1")
    return case.run(*words, env={"FAULT": f"stop_requested:{poll}+"})


@pytest.mark.parametrize("made", [in_memory, paged])
def test_a_stop_anywhere_redoes_no_micro_step_that_was_kept(
    made: Callable[[Any], dict[str, Any]], make_case: Callable[..., Any], example: Any
) -> None:
    plain = make_case(name="plain", **without(made(example)))
    expected = plain.run("--steps", "2")
    case = make_case(variant="faulty", **made(example))
    count = polls(case)
    done: list[int] = []
    assert case.run("--steps", "1", "--fresh").status == 0
    first = case.state.read_bytes()
    assert not case.state.with_name("window").exists()
    for poll in range(2, count):
        case.state.write_bytes(first)
        stopped = stop_at(case, poll)
        if stopped.status == 0:
            continue
        assert stopped.status == 6, stopped
        run = case.run("--steps", "1", "--threads", "2", "--audit-arena")
        assert run.status == 0, run
        resumed = events(run, "resumed")
        done.append(resumed[0]["micro_batches"] if resumed else 0)
        assert bool(resumed) == ("goes on within" in stopped.message)
        assert run.steps[-1]["micro_batches"] == WINDOW - done[-1]
        assert run.steps[-1]["loss"] == expected.steps[-1]["loss"], poll
        assert case.state.read_bytes() == plain.state.read_bytes(), poll
        assert [path.name for path in case.state.parent.glob("*")] == ["state.safetensors"]
    assert set(done) == set(range(WINDOW + 1))
    if made is in_memory:  # a pager asks too, and when is not told
        spans = [done.count(number) for number in range(1, WINDOW)]
        assert done == sorted(done)
        assert min(spans) > 8 and max(spans) - min(spans) <= 1, "a micro-step was done again"


@pytest.fixture
def stopped(make_case: Callable[..., Any], example: Any) -> Callable[..., tuple[Any, bytes]]:
    """A case that was stopped in its first window with two micro-steps kept, and the bits it should give."""

    def make(made: Callable[[Any], dict[str, Any]] = in_memory) -> tuple[Any, bytes]:
        changes = made(example)
        plain = make_case(name="whole", **without(changes))
        assert plain.run("--steps", "1").status == 0
        case = make_case(variant="faulty", **changes)
        count = polls(case)
        case.state.unlink()
        assert stop_at(case, count // 2).status == 6
        assert case.state.with_name("window").exists()
        return case, plain.state.read_bytes()

    return make


def begins_again(case: Any, expected: bytes, *arguments: str) -> str:
    """It says why in a note, does all micro-steps, and gives the same bits."""
    run = case.run("--steps", "1", *arguments)
    assert run.status == 0, run
    assert not events(run, "resumed") and run.steps[0]["micro_batches"] == WINDOW
    assert case.state.read_bytes() == expected
    assert not case.state.with_name("window").exists()
    (note,) = events(run, "note") or [{"message": ""}]
    return note["message"].removeprefix("the window that was under way begins again: ")


def sealed(data: bytes) -> bytes:
    """With the header's checksum made to fit."""
    header = data[:12] + bytes(4) + data[16 : HEADER.size]
    return data[:12] + struct.pack("<I", zlib.crc32(header)) + data[16:]


def damages(data: bytes) -> dict[str, tuple[bytes, str]]:
    """What is done to a window's file, and why it is then not gone on with."""
    fields = list(HEADER.unpack(data[: HEADER.size]))

    def changed(index: int, value: Any) -> bytes:
        made = [*fields]
        made[index] = value
        return sealed(HEADER.pack(*made) + data[HEADER.size :])

    flipped = data[:-3] + bytes([data[-3] ^ 4]) + data[-2:]
    return {
        "empty": (b"", "it is cut short"),
        "half a header": (data[:40], "it is cut short"),
        "half of it": (data[: len(data) // 2], "it is cut short"),
        "longer": (data + b"\0", "it is cut short"),
        "a bit of the header": (data[:50] + bytes([data[50] ^ 1]) + data[51:], "its header is damaged"),
        "version": (changed(1, 2), "its header is damaged"),
        "a bit of the data": (flipped, "its data are damaged"),
        "plan": (changed(3, bytes(32)), "it is of another plan"),
        "a later step": (changed(4, 7), "it began from another state"),
        "state": (changed(8, 1), "it began from another state"),
        "position": (changed(5, 0), "its place is none of the plan's"),
        "far position": (changed(5, 2**40), "its place is none of the plan's"),
        "size": (changed(6, 64), "its place is none of the plan's"),
        "examples": (changed(9, 5), "its examples are others"),
    }


def test_a_window_that_does_not_fit_begins_again(stopped: Callable[..., tuple[Any, bytes]]) -> None:
    case, expected = stopped()
    window = case.state.with_name("window")
    whole = window.read_bytes()
    assert sealed(whole) == whole
    for name, (data, why) in damages(whole).items():
        case.state.unlink(missing_ok=True)
        window.write_bytes(data)
        assert begins_again(case, expected) == why, name
    case.state.unlink()
    window.symlink_to(case.bundle / "data.bin")
    assert begins_again(case, expected) == "it is a link"
    window.write_bytes(whole)  # of the step that is over now: nothing is said
    later = case.run("--steps", "1")
    assert later.status == 0 and not events(later, "note") and not events(later, "resumed")
    case.state.unlink()
    window.write_bytes(whole)
    assert events(case.run("--steps", "1"), "resumed")
    assert case.state.read_bytes() == expected


def test_other_examples_or_another_plan_begin_again(
    stopped: Callable[..., tuple[Any, bytes]], make_case: Callable[..., Any], example: Any
) -> None:
    case, expected = stopped()
    whole = case.state.with_name("window").read_bytes()
    case.set_file("plan-1.bin", write_plan(replace(case.plan, order=Order.DEFERRED)))
    assert begins_again(case, expected, "--order", "deferred") == "it is of another plan"
    case.state.unlink()
    case.state.with_name("window").write_bytes(whole)
    assert begins_again(case, expected, "--fresh") == ""
    case.state.unlink()
    case.state.with_name("window").write_bytes(whole)
    write_data(case.bundle.with_name("other.bin"), example.INPUTS, example.records()[::-1])
    other = ("--data", str(case.bundle.with_name("other.bin")))
    plain = make_case(name="plain", **without(in_memory(example)))
    assert plain.run("--steps", "1", *other).status == 0
    assert begins_again(case, plain.state.read_bytes(), *other) == "its examples are others"


@pytest.mark.parametrize("made", [in_memory, paged])
def test_faults_while_a_window_is_kept_or_taken_up(
    made: Callable[[Any], dict[str, Any]], stopped: Callable[..., tuple[Any, bytes]]
) -> None:
    """The right result, or a clear error and the right one the next time."""
    case, expected = stopped(made)
    whole = case.state.with_name("window").read_bytes()
    for function, calls in (("write", 9), ("open_update", 4), ("rename", 4), ("close", 9), ("read_at", 24)):
        for number in range(1, calls):
            case.state.unlink(missing_ok=True)
            case.state.with_name("window").write_bytes(whole)
            words = ("--steps", "1", "--threads", "1")
            run = case.run(*words, env={"FAULT": f"{function}:{number}", "KIND": "eio"})
            assert run.status in (0, 2, 4, 6), run
            if run.status != 0 and not case.state.exists():
                assert run.message and case.run(*words).status == 0
            assert case.state.read_bytes() == expected, (function, number)
    fails = case.run("--steps", "1", "--fresh", env={"FAULT": "rename:1"})
    assert fails.status == 0
    assert events(fails, "note")[0]["message"].startswith("a window cannot be kept: Permission denied")


def test_nothing_is_kept_of_a_step_whose_start_is_not_on_disk(
    make_case: Callable[..., Any], example: Any
) -> None:
    changes = {**in_memory(example), "save_steps": 4}
    case = make_case(variant="faulty", **changes)
    plain = make_case(name="plain", **without(changes))
    assert plain.run("--steps", "4").status == 0
    count = polls(case)
    for poll, step in ((count // 2, 0), (count + count // 2, 1)):
        case.state.unlink(missing_ok=True)
        window = case.state.with_name("window")
        window.unlink(missing_ok=True)
        run = case.run("--steps", "4", "--threads", "1", env={"FAULT": f"stop_requested:{poll}+"})
        assert run.status == 6 and len(run.steps) == step
        assert window.exists()  # of step 0: in step 1 it still is what the state on disk goes on to
        again = case.run("--steps", "4")
        assert len(events(again, "resumed")) == 1 and again.status == 0
        assert case.state.read_bytes() == plain.state.read_bytes()


def test_what_a_plan_may_not_say(make_case: Callable[..., Any], example: Any) -> None:
    """Edited in the file: the engine's own checks."""
    case = make_case(**paged(example))
    data = write_plan(case.plan)
    header = np.frombuffer(data, PLAN_HEADER, count=1)[0]
    assert header["version_minor"] == 4 and write_plan(read_plan(data)) == data
    steps, operands = (int(header[name]["offset_bytes"]) for name in ("steps", "operands"))
    at = next(n for n, i in enumerate(case.plan.steps) if isinstance(i, Suspend) and len(i.ranges) == 2)
    record = steps + at * INSTRUCTION.itemsize
    first = operands + 8 * int(np.frombuffer(data, INSTRUCTION, count=1, offset=record)[0]["source"])
    last = steps + (len(case.plan.steps) - 1) * INSTRUCTION.itemsize
    suspend = data[record : record + INSTRUCTION.itemsize]
    for where, value, message in (
        (first, 1, "aligned ranges of the arena, ascending and apart"),
        (first, example.ARENA_BYTES, "aligned ranges of the arena"),
        (first + 8, 0, "aligned ranges of the arena"),
        (first + 8, 1 << 40, "aligned ranges of the arena"),
        (first + 16, 0, "ascending and apart"),
        (first + 32, at, "earlier fetches of file 0 or 1, ascending"),
        (first + 32, 0, "earlier fetches of file 0 or 1"),
        (first + 32, 1 << 60, "earlier fetches of file 0 or 1"),
        (record + 16, 64, "zero in the unused fields"),
        (record + 24, 99, "a number of fetches that are before it"),
        (record + 24, 0, "the next operand"),
    ):
        broken = data[:where] + struct.pack("<Q", value) + data[where + 8 :]
        case.set_file("plan.bin", broken)
        run = case.run("--steps", "1")
        assert run.status == 4 and message in run.message, (where, run)
        with pytest.raises(BundleError):
            read_plan(broken)
    assert Op.SUSPEND == 10 and suspend[:4] == struct.pack("<I", Op.SUSPEND)
    case.set_file("plan.bin", data[:last] + suspend + data[last + len(suspend) :])
    assert "before the first store in file 2 (next)" in case.run("--steps", "1").message


@pytest.mark.parametrize("seed", [0, 1])
def test_a_loss_of_power_at_every_moment(
    make_case: Callable[..., Any], example: Any, seed: int, tmp_path: Path
) -> None:
    """Nothing of a kept window is synced: what is left of it is gone on with, or not, and no bit differs."""
    case = make_case(variant="power", **paged(example))
    plain = make_case(name="plain", **without(paged(example)))
    assert plain.run("--steps", "2").status == 0
    for moment in range(1, 60):
        state = tmp_path / f"lost-{moment}"
        power = {"POWER": f"{moment}:{seed and seed * 1000 + moment}"}
        run = case.run("--steps", "2", "--state", str(state), env=power)
        if run.status == 0:
            break
        kept = state / "state.safetensors"
        rest = 2 - (int(load_file(kept)["clock/step"]) if kept.exists() else 0)
        if rest > 0:
            assert case.run("--steps", str(rest), "--state", str(state), env={"POWER": "0"}).status == 0
        assert kept.read_bytes() == plain.state.read_bytes(), moment
    else:
        pytest.fail("no run of more than sixty moments is expected")
