"""The instruction Rows: the rows that ids name, exactly, whatever the ids are.

The example's `x` is here 32 rows of the weights, gathered anew in each micro-step by the record's ids, so the
state after a run tells which rows were read and where they were put.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from daypack.runtime.data_file import write_data
from daypack.runtime.plan_file import Batch, EndShard, FileKind, Instr, Rows, Zero

ROW_FLOATS = 128
ROW_COUNT = 32
INT32 = np.iinfo(np.int32)


def plan_steps(example: Any, rows: Rows) -> tuple[Instr, ...]:
    """The example's step with `rows` after each batch."""
    steps: list[Instr] = []
    for instruction in example.example_plan().steps:
        steps += [instruction, rows] if isinstance(instruction, Batch) else [instruction]
    return tuple(steps)


@pytest.fixture
def make_rows(make_case: Callable[..., Any], example: Any) -> Callable[..., Any]:
    """(case arguments, fields of Rows) -> a case that reads x by rows; its ids have no bounds."""

    def make(arch: str = example.HOST, variant: str = "plain", name: str = "rows", **fields: Any) -> Any:
        rows = replace(example.rows_instruction("ids", "x"), **fields)
        inputs = (replace(example.INPUTS[0], bound=0, ignore=None), example.INPUTS[1])
        return make_case(arch, variant, name, steps=plan_steps(example, rows), inputs=inputs)

    return make


def set_ids(case: Any, ids: Iterable[np.ndarray]) -> list[np.ndarray]:
    """One record an array of 32 ids. The loss is finite: huge ids count with a small scale."""
    arrays = [np.asarray(values, np.int32) for values in ids]
    records = [{"ids": values, "scale": np.array([1e-6], np.float32)} for values in arrays]
    write_data(case.bundle / "data.bin", case.plan.inputs, records)
    case.set_file("data.bin", (case.bundle / "data.bin").read_bytes())
    return arrays


def gathered(example: Any, ids: np.ndarray, first: int = 0, row_count: int = ROW_COUNT) -> np.ndarray:
    x, _ = example.weights()
    matrix = x[first * ROW_FLOATS :][: row_count * ROW_FLOATS].reshape(row_count, ROW_FLOATS)
    return matrix[np.clip(ids.astype(np.int64), 0, row_count - 1)].ravel()


def accumulated(xs: Iterable[np.ndarray], a: np.float32) -> np.ndarray:
    y = np.zeros(4096, np.float32)
    for x in xs:
        y = y + a * x
    return y


def id_patterns() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        np.arange(32),  # one read
        np.arange(32)[::-1],  # 32 reads
        np.full(32, 7),  # the same row
        np.repeat([0, 31], 16),
        np.arange(-16, 16),  # clamped below, then a run that begins at the clamped rows
        np.arange(16, 48),  # a run that is clamped at its end
        rng.integers(INT32.min, INT32.max, 32),
        np.resize([INT32.min, -1, 0, 31, 32, INT32.max], 32),
        rng.integers(0, 32, 32),
        np.r_[0:4, 10:20, 3:6, 30:45],  # runs of several lengths
    ]


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_rows_are_exact(make_rows: Callable[..., Any], example: Any, arch: str, threads: str) -> None:
    case = make_rows(arch)
    ids = set_ids(case, id_patterns())
    run = case.run("--steps", str(len(ids) // 2), "--threads", threads)
    assert run.status == 0, run
    _, a = example.weights()
    expected = accumulated((gathered(example, values) for values in ids), a)
    np.testing.assert_array_equal(load_file(case.state)["y"].ravel(), expected)


def test_partial_reads_give_the_same_rows(make_rows: Callable[..., Any]) -> None:
    states: list[bytes] = []
    for variant in ("plain", "faulty"):  # every read of the second gives half of what was asked
        case = make_rows(variant=variant, name=variant)
        set_ids(case, id_patterns())
        assert case.run("--steps", "5").status == 0
        states.append(case.state.read_bytes())
    assert states[0] == states[1]


@pytest.mark.parametrize(("first", "row_count"), [(31, 1), (5, 3), (0, 32)])
def test_any_part_of_the_file_is_a_matrix(
    make_rows: Callable[..., Any], example: Any, first: int, row_count: int
) -> None:
    case = make_rows(file_offset_bytes=4 * ROW_FLOATS * first, row_count=row_count)
    ids = set_ids(case, id_patterns()[-2:])
    assert case.run("--steps", "1").status == 0
    _, a = example.weights()
    expected = accumulated((gathered(example, values, first, row_count) for values in ids), a)
    np.testing.assert_array_equal(load_file(case.state)["y"].ravel(), expected)


def test_a_row_of_four_bytes_and_bytes_beside_the_result(make_rows: Callable[..., Any], example: Any) -> None:
    """31 single floats: the result begins where it should, and its neighbours keep what they were."""
    case = make_rows(row_bytes=4, row_count=4096, ids_count=31)
    ids = set_ids(case, [np.arange(4095, 4063, -1), np.arange(100, 132)])
    assert case.run("--steps", "1").status == 0
    x, a = example.weights()
    xs: list[np.ndarray] = []
    for values in ids:
        x = x.copy()
        x[:31] = example.weights()[0][values[:31]]
        xs.append(x)
    np.testing.assert_array_equal(load_file(case.state)["y"].ravel(), accumulated(xs, a))


def test_the_result_may_touch_its_ids(make_rows: Callable[..., Any], example: Any) -> None:
    """Half-open intervals: right behind the ids is free. `scale` follows `ids` there and gets the row."""
    arena = example.ARENA
    assert arena["scale"] == arena["ids"] + 128
    case = make_rows(row_bytes=4, row_count=4096, ids_count=1, arena_offset_bytes=arena["scale"])
    ids = set_ids(case, [np.full(32, 4095), np.full(32, 4095)])
    x, _ = example.weights()
    total = np.float32(0)
    for value in [number for values in ids for number in values]:
        total += x[4095] * np.float32(value)
    run = case.run("--steps", "1")
    assert np.float32(run.steps[0]["loss"]) == total / np.float32(64)


def test_ids_may_be_what_a_kernel_made(make_case: Callable[..., Any], example: Any) -> None:
    """Ids are arena bytes like any others: here zeros."""
    rows = example.rows_instruction("partial", "x")
    steps = (Zero(example.ARENA["partial"], 256), EndShard(), rows, *example.example_plan().steps)
    case = make_case(steps=steps)
    assert case.run("--steps", "1").status == 0
    x, a = example.weights()
    expected = accumulated([np.tile(x[:ROW_FLOATS], 32)] * 2, a)
    np.testing.assert_array_equal(load_file(case.state)["y"].ravel(), expected)


def reads(case: Any) -> int:
    run = case.run("--steps", "1", "--fresh", env={"COUNTS": "1"})
    assert run.status == 0
    (line,) = (line for line in run.stderr.splitlines() if line.startswith("count read_at "))
    return int(line.split()[-1])


def test_consecutive_ids_are_one_read(make_rows: Callable[..., Any]) -> None:
    case = make_rows(variant="faulty")
    set_ids(case, [np.arange(32)] * 2)
    together = reads(case)
    set_ids(case, [np.arange(32)[::-1]] * 2)
    assert reads(case) > together + 2 * 31


def test_failing_reads(make_rows: Callable[..., Any], example: Any) -> None:
    """Each read of the step fails once: exit 6, and the state on disk is the last one."""
    case = make_rows(variant="faulty")
    set_ids(case, [np.repeat([3, 20], 16), np.arange(32)])
    assert case.run("--steps", "1").status == 0
    before = case.state.read_bytes()
    messages: set[str] = set()
    for number in range(1, 2000, 5):
        run = case.run("--steps", "1", "--threads", "2", env={"FAULT": f"read_at:{number}"})
        if run.status == 0:
            break
        assert run.status in (4, 6) and case.state.read_bytes() == before
        messages.add(run.message)
    assert any(text.startswith("weights.bin: cannot read 512 bytes at 10240: I/O error") for text in messages)


def test_rows_of_another_file_are_refused(make_case: Callable[..., Any], example: Any) -> None:
    """The weights end before the matrix does: what only the engine can know."""
    rows = replace(example.rows_instruction("ids", "x"), row_count=33)  # 128 * 4 more than `a` has
    run = make_case(steps=(rows, *example.example_plan().steps)).run("--steps", "1")
    assert run.status == 4
    assert "file_offset_bytes: expected a matrix in the file, found 0" in run.message


def test_rows_in_the_plan_know_their_size() -> None:
    assert Rows(FileKind.WEIGHTS, 0, 12, 9, 0, 5, 64).size_bytes == 60
