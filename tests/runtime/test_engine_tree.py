"""Blocks of large files are checked at their first read: the same results, and every flip of them found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime.budget import engine_overhead_bytes
from daypack.runtime.bundle import MANIFEST, verify_manifest, write_manifest
from daypack.runtime.data_file import write_data
from daypack.runtime.hash_tree import BLOCK_BYTES, DIGEST_BYTES, LARGE, NAME
from daypack.runtime.plan_file import Fetch, FileKind, Read, Rows, Store, Wait

BLOCKS = 5
FILE_BYTES = BLOCKS * BLOCK_BYTES - 1000
#: `x` lies across the first two blocks, and `a` behind it.
AT = BLOCK_BYTES - 8192
#: Read besides: the end of the second block, the whole third, the beginning of the fourth.
BESIDE = (BLOCK_BYTES + 700_032, 2 * BLOCK_BYTES)


def moved(instruction: Any) -> Any:
    """The same read of the weights from where they are in the large file."""
    if isinstance(instruction, Read | Fetch) and instruction.file is FileKind.WEIGHTS:
        return replace(instruction, file_offset_bytes=instruction.file_offset_bytes + AT)
    return instruction


def large_case(make_case: Callable[..., Any], example: Any, paged: bool = False, **changes: Any) -> Any:
    """The example with its weights within a file of 5 MB."""
    plan = replace(example.example_plan(), **(example.paged_plan() if paged else {}))
    beside = (Fetch if paged else Read)(FileKind.WEIGHTS, BESIDE[0], example.ARENA_BYTES, BESIDE[1])
    setup, steps = [moved(each) for each in plan.setup], [moved(each) for each in plan.steps]
    if paged:
        steps[-1:-1] = [beside, Wait(1 + sum(isinstance(each, Fetch | Store) for each in steps))]
    else:
        setup.append(beside)
    changes = {"setup": tuple(setup), "steps": tuple(steps), "state": plan.state} | changes
    case = make_case(arena_bytes=example.ARENA_BYTES + BESIDE[1], budget_bytes=0, **changes)
    weights = bytearray(np.random.default_rng(1).bytes(FILE_BYTES))
    own = (case.bundle / "weights.bin").read_bytes()
    weights[AT : AT + len(own)] = own
    case.set_file("weights.bin", bytes(weights))
    return case


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 16]))


def said(name: str, block: int) -> str:
    return (
        f"{name}: block {block}, which begins at byte {block * BLOCK_BYTES}: "
        "expected its SHA-256 in blocks.bin, found another; copy the bundle again"
    )


def list_blocks(case: Any, data: bytes) -> None:
    """Put blocks.bin beside small files, and a line for it into MANIFEST."""
    (case.bundle / NAME).write_bytes(data)
    path = case.bundle / MANIFEST
    first, *lines = (line for line in path.read_text().splitlines(keepends=True) if NAME not in line)
    path.write_text("".join([first, f"{hashlib.sha256(data).hexdigest()} {len(data)} {NAME}\n", *lines]))


@pytest.mark.parametrize("arguments", [(), ("--direct",)], ids=["cached", "direct"])
@pytest.mark.parametrize("paged", [False, True], ids=["read", "fetched"])
def test_the_same_bits_and_every_flip_of_what_is_read(
    paged: bool, arguments: tuple[str, ...], make_case: Callable[..., Any], example: Any
) -> None:
    plain = make_case(name="plain")
    assert plain.run("--steps", "2").status == 0
    case = large_case(make_case, example, paged)
    run = case.run("--steps", "2", "--threads", "2", *arguments)
    if arguments and run.status == 2:
        pytest.skip(f"no direct reads in this file system: {run.message}")
    assert run.status == 0, run
    assert case.state.read_bytes() == plain.state.read_bytes()
    path = case.bundle / "weights.bin"
    for position in (0, AT - 1, AT + 5000, BLOCK_BYTES, BESIDE[0], 2 * BLOCK_BYTES, 4 * BLOCK_BYTES - 1):
        flip(path, position)
        run = case.run("--steps", "1", "--fresh", *arguments)
        assert (run.status, run.message) == (4, said("weights.bin", position // BLOCK_BYTES))
        flip(path, position)
    flip(path, FILE_BYTES - 1)  # in a block that this plan never reads
    assert case.run("--steps", "1", "--fresh", *arguments).status == 0
    run = case.run("--verify-only")
    assert run.status == 4 and run.message.startswith("weights.bin: expected SHA-256")


def test_rows_are_checked_too(make_case: Callable[..., Any], example: Any) -> None:
    rows: Rows = replace(example.rows_instruction("ids", "out"), file_offset_bytes=4 * BLOCK_BYTES - 128)
    plan = example.example_plan()
    steps = (*plan.steps[:3], rows, *plan.steps[3:])
    case = large_case(make_case, example, steps=steps)
    assert case.run("--steps", "1").status == 0
    flip(case.bundle / "weights.bin", FILE_BYTES - 1)
    run = case.run("--steps", "1", "--fresh")
    assert (run.status, run.message) == (4, said("weights.bin", BLOCKS - 1))


def test_blocks_of_the_data(make_case: Callable[..., Any], example: Any) -> None:
    case = make_case()
    write_data(case.bundle / "data.bin", example.INPUTS, example.records() * 2500)
    write_manifest(case.bundle)
    path = case.bundle / "data.bin"
    last = path.stat().st_size - 1
    assert last > BLOCK_BYTES and case.run("--steps", "3").status == 0
    flip(path, last)
    assert case.run("--steps", "3").status == 0
    assert case.run("--verify-only").status == 4
    flip(path, BLOCK_BYTES - 1)
    run = case.run("--steps", "3")
    assert (run.status, run.message) == (4, said("data.bin", 0))
    flip(path, BLOCK_BYTES - 1)
    assert case.run("--steps", "3", "--data", str(path)).status == 0  # another's file: nobody listed it


def test_the_start_is_checked_when_a_run_begins_from_it(case: Any) -> None:
    assert case.run("--steps", "1").status == 0
    path = case.bundle / "state.safetensors"
    flip(path, path.stat().st_size - 1)
    assert case.run("--steps", "1").status == 0
    for arguments in (("--fresh", "--steps", "1"), ("--verify-only",)):
        run = case.run(*arguments)
        assert run.status == 4 and run.message.startswith("state.safetensors: expected SHA-256")


def test_memory_stays_within_the_planners_figures(make_case: Callable[..., Any], example: Any) -> None:
    case = large_case(make_case, example)
    run = case.run("--steps", "2", "--threads", "4")
    overhead = engine_overhead_bytes(
        threads=4,
        scratch_bytes=example.SCRATCH_BYTES,
        plan_bytes=(case.bundle / "plan.bin").stat().st_size,
        engine_bytes=(case.bundle / "engine").stat().st_size,
    )
    assert run.steps[-1]["peak_rss_bytes"] <= case.plan.arena_bytes + overhead


def test_the_tree_has_every_block(make_case: Callable[..., Any], example: Any) -> None:
    case = large_case(make_case, example)
    parts: list[bytes] = []
    for name in LARGE:
        data = (case.bundle / name).read_bytes()
        parts += [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    made = (case.bundle / NAME).read_bytes()
    assert [made[at : at + DIGEST_BYTES] for at in range(0, len(made), DIGEST_BYTES)] == [
        hashlib.sha256(part).digest() for part in parts
    ]
    verify_manifest(case.bundle)
    list_blocks(case, made[:-1] + bytes([made[-1] ^ 1]))
    with pytest.raises(
        BundleError, match=r"blocks\.bin: expected the SHA-256 of every block of data\.bin and"
    ):
        verify_manifest(case.bundle)
    case.set_file("weights.bin", bytes(100))
    assert not (case.bundle / NAME).exists()
