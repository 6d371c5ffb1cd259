"""--direct reads the weights past the system's cache, in whole pages, and changes no bit of any result."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daypack.runtime.engine_process import EngineArguments
from daypack.runtime.plan_file import Batch, FileKind, Instr, Read

PAGE_BYTES = 4096
BUFFER_BYTES = 1 << 20


@pytest.fixture(autouse=True)
def needs_direct_reads(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_bytes(bytes(PAGE_BYTES))
    try:
        file = os.open(probe, os.O_RDONLY | os.O_DIRECT)
        try:
            os.preadv(file, [mmap.mmap(-1, PAGE_BYTES)], 0)
        finally:
            os.close(file)
    except OSError as error:
        pytest.skip(f"no direct reads in this file system: {error.strerror}")


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_direct_reads_give_the_same_bits(make_case: Callable[..., Any], example: Any, arch: str) -> None:
    """Reads and rows that begin and end inside pages, the last one with the file."""
    arena = example.ARENA
    rows = replace(example.rows_instruction("ids", "x"), row_count=31, file_offset_bytes=96)
    middle = Read(FileKind.WEIGHTS, 3968, arena["x"], 5000)
    end = Read(FileKind.WEIGHTS, 4 * example.COUNT, arena["a"], 64)
    steps: list[Instr] = [middle]
    for instruction in example.example_plan().steps:
        steps += [instruction, rows, middle, end] if isinstance(instruction, Batch) else [instruction]
    states: list[bytes] = []
    for arguments in ((), ("--direct",)):
        case = make_case(arch, name=f"example{len(states)}", steps=tuple(steps))
        run = case.run("--steps", "3", "--threads", "2", *arguments)
        assert run.status == 0, run
        states.append(case.state.read_bytes())
    assert states[0] == states[1]


def test_a_read_larger_than_the_buffer(make_case: Callable[..., Any], example: Any) -> None:
    """Over 2 MB from an odd offset: three pieces, and the bytes that matter are the last ones."""
    size = 2 * BUFFER_BYTES + 5000
    at = example.ARENA_BYTES + 64
    large = Read(FileKind.WEIGHTS, 1000, at, size)
    # The kernel takes its `x` from the end of what was read.
    steps = (large, *example.example_plan().steps)
    states: list[bytes] = []
    for arguments in ((), ("--direct",)):
        case = make_case(name=f"large{len(states)}", setup=(), steps=(), budget_bytes=0)
        last = at + size - 4 * example.COUNT
        last -= last % 64
        calls = [
            replace(item, operands=(item.operands[0], last, item.operands[2]))
            if item == example.call(1, "a", "x", "y")
            else item
            for item in steps
        ]
        scale = Read(FileKind.WEIGHTS, 0, example.ARENA["a"], 64)
        case.set_plan(steps=(scale, *calls), arena_bytes=at + size + 64)
        pattern = bytes(number * 7 % 61 for number in range(1000)) * 2200  # exponents of ordinary floats
        case.set_file("weights.bin", pattern)
        run = case.run("--steps", "1", *arguments)
        assert run.status == 0, run
        states.append(case.state.read_bytes())
    assert states[0] == states[1]


def test_bytes_read_are_whole_pages(make_case: Callable[..., Any], example: Any) -> None:
    read = Read(
        FileKind.WEIGHTS, 4000, example.ARENA["x"], 200
    )  # the end of a page and the start of the next
    case = make_case(steps=(read, *example.example_plan().steps))
    batch_bytes = 2 * (128 + 4)
    assert case.run("--steps", "1").steps[0]["read_bytes"] == batch_bytes + 200
    assert case.run("--steps", "1", "--direct").steps[0]["read_bytes"] == batch_bytes + 2 * PAGE_BYTES


def test_direct_takes_no_more_memory(make_case: Callable[..., Any]) -> None:
    peaks = [
        make_case(name=f"memory{number}").run("--steps", "2", *arguments).steps[-1]["peak_rss_bytes"]
        for number, arguments in enumerate(((), ("--direct",)))
    ]
    assert peaks[1] < peaks[0] + BUFFER_BYTES + 200_000  # the buffer of the check, touched in full at most


def test_empty_weights(make_case: Callable[..., Any], example: Any) -> None:
    case = make_case(setup=())
    case.set_file("weights.bin", b"")
    assert case.run("--steps", "1", "--direct").status == 0


def test_the_host_passes_it_on() -> None:
    words = EngineArguments(direct=True).command_line("B", "S", None)
    assert words == ["--bundle", "B", "--state", "S", "--direct"]
