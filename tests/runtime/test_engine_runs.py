"""The engine does what the plan says: exact results, any number of threads, resumable state, its events."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from daypack.runtime.data_file import write_data
from daypack.runtime.plan_file import FileKind, Instr, Read, Zero
from daypack.runtime.state_file import state_layout


def assert_state(case: Any, reference: Any) -> None:
    state = load_file(case.state)
    assert set(state) == {"y", "opt/out", "clock/step"}
    assert state["clock/step"] == reference.step and state["clock/step"].dtype == np.uint32
    np.testing.assert_array_equal(state["y"], reference.y.reshape(64, 64))
    np.testing.assert_array_equal(state["opt/out"], reference.out)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_results_are_exact(make_case: Callable[..., Any], example: Any, arch: str) -> None:
    case, reference = make_case(arch), example.Reference()
    run = case.run("--steps", "4", "--threads", "2")
    assert run.status == 0, run.stderr
    losses = [reference.run(example.records()) for _ in range(4)]
    assert [np.float32(step["loss"]) for step in run.steps] == [loss for loss, _ in losses]
    assert [step["tokens"] for step in run.steps] == [tokens for _, tokens in losses]
    assert_state(case, reference)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_any_number_of_threads_gives_the_same_bits(make_case: Callable[..., Any], arch: str) -> None:
    states = set[bytes]()
    for threads in ("1", "2", "3", "4", "16"):
        case = make_case(arch, name=f"threads-{threads}")
        run = case.run("--steps", "5", "--threads", threads)
        assert run.status == 0, run.stderr
        assert run.events[0]["threads"] == int(threads)
        states.add(case.state.read_bytes())
    assert len(states) == 1


def test_events(case: Any) -> None:
    run = case.run("--steps", "2", "--threads", "1")
    start, first, second, end = run.events
    assert start == {
        "event": "start",
        "version": 1,
        "threads": 1,
        "arena_bytes": case.plan.arena_bytes,
        "cpu": case.plan.target_arch,
        "step": 0,
        "plan": 0,
        "plans": 1,
        "order": "micro-batch-major",
        "sandbox": start["sandbox"],  # what this system has; test_sandbox.py
    }
    assert list(first) == [
        *("event", "step", "loss", "seconds", "tokens"),
        *(
            "peak_rss_bytes",
            "save_seconds",
            "paused_seconds",
            "read_bytes",
            "weights_read_bytes",
            "written_bytes",
            "micro_batches",
            "source",
        ),
    ]
    assert (first["step"], second["step"], first["source"]) == (1, 2, "measured")
    assert first["save_seconds"] > 0
    assert first["seconds"] > 0 and case.plan.arena_bytes < first["peak_rss_bytes"] < 6_000_000
    assert end == {"event": "end", "steps": 2, "state": str(case.state)}
    assert run.stderr == ""


def test_resume_continues_where_it_stopped(case: Any, example: Any) -> None:
    reference = example.Reference()
    for steps in (1, 2, 3):
        assert case.run("--steps", str(steps)).status == 0
    for _ in range(6):
        reference.run(example.records())
    assert_state(case, reference)
    assert case.run("--steps", "1").events[0]["step"] == 6


def test_fresh_starts_again(case: Any, example: Any) -> None:
    reference = example.Reference()
    case.run("--steps", "3")
    run = case.run("--steps", "1", "--fresh")
    reference.run(example.records())
    assert (run.events[0]["step"], run.steps[0]["step"]) == (0, 1)
    assert_state(case, reference)


def test_without_steps_one_pass_over_the_data(case: Any) -> None:
    assert case.run().events[-1]["steps"] == 3  # 5 records in windows of 2


def test_state_is_saved_every_save_steps_and_at_the_end(make_case: Callable[..., Any]) -> None:
    case = make_case(variant="faulty", save_steps=3)
    run = case.run("--steps", "8", env={"COUNTS": "1"})
    assert run.status == 0 and "count rename 3\n" in run.stderr  # after 3, 6 and 8
    run = case.run("--steps", "1", env={"COUNTS": "1"})
    assert run.status == 0 and "count rename 1\n" in run.stderr  # 9: not once more at the end


def test_state_directory_and_data_elsewhere(case: Any, tmp_path: Path, example: Any) -> None:
    data = tmp_path / "other.bin"
    write_data(data, example.INPUTS, example.records()[1:2])
    run = case.run("--state", f"{tmp_path}/there/", "--data", str(data), "--steps", "1")
    expected, _ = example.Reference().run(example.records()[1:2])
    assert np.float32(run.steps[0]["loss"]) == expected
    assert run.events[-1]["state"] == f"{tmp_path}/there//state.safetensors"
    saved = tmp_path / "there" / "state.safetensors"
    assert saved.stat().st_mode & 0o777 == 0o600 and saved.parent.stat().st_mode & 0o777 == 0o700
    assert not case.state.parent.exists()


def test_a_trailing_slash_names_the_same_bundle(case: Any) -> None:
    command = [*case.command()[:-1], f"{case.bundle}//", "--steps", "1"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert case.state.is_file()


def test_setup_may_read_the_state(make_case: Callable[..., Any], example: Any) -> None:
    plan = example.example_plan()
    layout = state_layout(plan.state)
    read = Read(FileKind.STATE, layout.offsets_bytes[0], example.ARENA["x"], example.SIZES["y"])
    case = make_case(setup=(*plan.setup, read))  # x becomes the initial y: zeros
    assert case.run("--steps", "1").status == 0
    assert not load_file(case.state)["y"].any()
    case.run("--steps", "1")
    assert case.run("--steps", "1").status == 0


def test_profile_counts_calls_by_kernel(case: Any) -> None:
    run = case.run("--steps", "2", "--profile")
    profiles = [event for event in run.events if event["event"] == "profile"]
    assert [[kernel["calls"] for kernel in profile["kernels"]] for profile in profiles] == [
        [2, 2, 1, 1, 0]
    ] * 2
    assert all(profile["kernels"][1]["seconds"] > 0 for profile in profiles)
    assert [event["event"] for event in run.events[1:5]] == ["step", "profile", "step", "profile"]
    steps = [event for event in run.events if event["event"] == "step"]
    for step, profile in zip(steps, profiles, strict=True):
        assert 0 < profile["io_seconds"] < step["seconds"]
        assert all(seconds > 0 for seconds in profile["shards"]) and profile["shards"]
        assert sum(profile["shards"]) < step["seconds"]


def test_a_step_tells_the_bytes_of_its_files(make_case: Callable[..., Any], example: Any) -> None:
    case = make_case(save_steps=2)
    batch_bytes = 2 * (128 + 4)
    run = case.run("--steps", "3")
    state_bytes = case.state.stat().st_size
    counted = [(step["read_bytes"], step["written_bytes"]) for step in run.steps]
    assert counted == [(batch_bytes, 0), (batch_bytes, state_bytes), (batch_bytes, state_bytes)]
    read = Read(FileKind.WEIGHTS, 0, example.ARENA["x"], example.SIZES["x"])
    rows = example.rows_instruction("ids", "x")
    case.set_plan(steps=(read, *case.plan.steps[:3], rows, *case.plan.steps[3:]))
    (step,) = case.run("--steps", "1").steps
    assert step["read_bytes"] == batch_bytes + 2 * example.SIZES["x"]


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_paged_weights_give_the_same_bits(
    make_case: Callable[..., Any], example: Any, arch: str, threads: str
) -> None:
    """The weights resident, and read again before each use into a place that was cleared since."""
    read = Read(FileKind.WEIGHTS, 0, example.ARENA["x"], example.SIZES["x"])
    scalar = Read(FileKind.WEIGHTS, example.SIZES["x"], example.ARENA["a"], 64)
    saxpy = example.call(1, "a", "x", "y")
    paged: list[Instr] = []
    for instruction in example.example_plan().steps:
        clear = Zero(example.ARENA["x"], example.SIZES["x"]), Zero(example.ARENA["a"], 64)
        paged += [read, scalar, saxpy, *clear] if instruction == saxpy else [instruction]
    assert paged.count(read) == 2
    states: list[bytes] = []
    for name, changes in {"resident": {}, "paged": {"setup": (), "steps": tuple(paged)}}.items():
        case = make_case(arch, name=name, **changes)
        assert case.run("--steps", "4", "--threads", threads).status == 0
        states.append(case.state.read_bytes())
    assert states[0] == states[1]


def test_verify_only_checks_and_leaves_no_trace(case: Any) -> None:
    run = case.run("--verify-only")
    assert run.events == [{"event": "verified", "version": 1, "files": 6}]
    assert run.status == 0 and not case.state.parent.exists()
    (case.bundle / "weights.bin").write_bytes(b"")
    assert case.run("--verify-only").status == 4


def test_both_builds_of_sha256_agree(make_case: Callable[..., Any]) -> None:
    case = make_case(variant="faulty")
    case.set_file("large.txt", bytes(range(256)) * 10_000)  # several pieces of the read buffer and a tail
    assert case.run("--verify-only").status == 0
    assert case.run("--verify-only", env={"FAULT": "has_feature:0"}).status == 0


def test_threads_are_as_many_as_the_budget_allows(make_case: Callable[..., Any], example: Any) -> None:
    from daypack.runtime.budget import engine_overhead_bytes

    case = make_case()
    plan_bytes = (case.bundle / "plan.bin").stat().st_size
    engine_bytes = (case.bundle / "engine").stat().st_size

    def budget(threads: int) -> int:
        overhead = engine_overhead_bytes(
            threads=threads,
            scratch_bytes=example.SCRATCH_BYTES,
            plan_bytes=plan_bytes,
            engine_bytes=engine_bytes,
        )
        return example.ARENA_BYTES + overhead

    case.set_plan(budget_bytes=budget(3))
    assert case.run("--steps", "1", "--threads", "3").status == 0
    run = case.run("--steps", "1", "--threads", "4")
    assert run.status == 2 and "--threads: expected at most 3" in run.message
    case.set_plan(budget_bytes=budget(1))
    assert case.run("--steps", "1").events[0]["threads"] == 1
    case.set_plan(budget_bytes=budget(1) - 1)
    run = case.run("--steps", "1")
    assert (
        run.status == 4
        and f"expected a run of one thread within the budget of {budget(1) - 1}" in run.message
    )


def test_peak_memory_stays_within_the_budget(make_case: Callable[..., Any], example: Any) -> None:
    """The planner's figures suffice: every byte of arena and 1 MB of reads touched, eight threads."""
    case = make_case()
    case.set_file("large.txt", bytes(3_000_000))
    run = case.run("--steps", "3", "--threads", "8", "--profile")
    plan_bytes = (case.bundle / "plan.bin").stat().st_size
    engine_bytes = (case.bundle / "engine").stat().st_size
    from daypack.runtime.budget import engine_overhead_bytes

    overhead = engine_overhead_bytes(
        threads=8, scratch_bytes=example.SCRATCH_BYTES, plan_bytes=plan_bytes, engine_bytes=engine_bytes
    )
    peak = run.steps[-1]["peak_rss_bytes"]
    assert 1_000_000 + example.ARENA_BYTES < peak <= example.ARENA_BYTES + overhead


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_signal_drops_the_unfinished_step(
    make_case: Callable[..., Any], example: Any, number: signal.Signals, threads: str
) -> None:
    case = make_case()
    assert case.run("--steps", "2").status == 0
    before = case.state.read_bytes()
    plan = example.example_plan(case.plan.target_arch, case.plan.kernel_id)
    case.set_plan(steps=(*plan.steps, example.call(4, "partial")))
    command = case.command("--steps", "1", "--threads", threads)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["step"] == 2
        time.sleep(0.05)
        process.send_signal(number)
        (line,) = process.stdout
        assert process.wait(timeout=10) == 6
    assert json.loads(line) == {
        "event": "error",
        "code": 6,
        "message": "stopped by a signal; the unfinished step is dropped, the state on disk is of step 2",
    }
    assert case.state.read_bytes() == before
    assert [path.name for path in case.state.parent.iterdir()] == ["state.safetensors"]


def test_a_kill_leaves_the_last_committed_state(make_case: Callable[..., Any]) -> None:
    """At many instants of a run that saves all the time: what is on disk always opens and is a whole
    generation.
    """
    case = make_case()
    reference = case.run("--steps", "1")
    assert reference.status == 0
    for delay in np.linspace(0.001, 0.05, 12):
        with subprocess.Popen(
            case.command("--steps", "100000"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        state = load_file(case.state)
        assert state["clock/step"] >= 1
    assert case.run("--steps", "1").status == 0
    assert [path.name for path in case.state.parent.iterdir()] == ["state.safetensors"]
