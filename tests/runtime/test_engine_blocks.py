"""The checksums of a saved state: the engine writes what zlib computes, and refuses a state that differs."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime import state_file
from daypack.runtime.plan_file import FileKind, StatePiece, StateTensor, Store, Wait, Zero
from daypack.runtime.state_file import check_blocks, state_layout

NATIVE = Path(state_file.__file__).parent / "native"
#: Bytes of records that begin and end anywhere: four blocks and a part of a fifth.
SIZES = (700_001, 1_048_577, 3, 2_097_152, 500_009)


@pytest.fixture
def large(make_case: Callable[..., Any], example: Any) -> Any:
    """The example with more state: every second record stays, the others are stored, backwards and twice."""
    place = example.ARENA_BYTES
    arena = place + sum(size + 64 for size in SIZES)
    pieces: list[StatePiece] = []
    places: list[int] = []
    for number, size in enumerate(SIZES):
        places.append(place)
        pieces.append(StatePiece(place if number % 2 else None, size))
        place += size + -size % 64
    big = StateTensor("mutable/big", "U8", (sum(SIZES),), None, tuple(pieces))
    state = (*example.STATE, big)
    offset = state_layout(state).offsets_bytes[-1]
    stores: list[Store] = []
    for number, size in enumerate(SIZES):
        if number % 2 == 0:
            stores.append(Store(FileKind.NEXT, offset, places[number], size))
        offset += size
    painted = [Zero(places[0] + 64, 100), Zero(places[2], 3)]
    steps = (*example.example_plan().steps, *stores, Wait(len(stores)), *painted, *stores[::-1])
    case = make_case(arena_bytes=arena, budget_bytes=0, state=example.STATE)
    rng = np.random.default_rng(3)
    data = (case.bundle / "state.safetensors").read_bytes()[len(state_layout(example.STATE).header) :]
    data += rng.integers(0, 256, sum(SIZES), np.uint8).tobytes()
    blocks = [data[at : at + state_file.BLOCK_BYTES] for at in range(0, len(data), state_file.BLOCK_BYTES)]
    case.set_file("state.safetensors", state_layout(state).with_digits(blocks) + data)
    case.set_plan(state=state, steps=steps)
    return case


def test_of_records_that_begin_and_end_anywhere(large: Any) -> None:
    layout = state_layout(large.plan.state)
    for _ in range(2):
        assert large.run("--steps", "2", "--threads", "1").status == 0
        check_blocks(large.state, layout)
    assert layout.file_bytes > 4 * state_file.BLOCK_BYTES


def test_a_damaged_state_is_refused(large: Any) -> None:
    """Where the damage is: in the data of each block, in the digits of the policy, of a block, of digits."""
    layout = state_layout(large.plan.state)
    assert large.run("--steps", "1").status == 0
    original = large.state.read_bytes()
    rng = random.Random(5)
    starts = range(len(layout.header), len(original), state_file.BLOCK_BYTES)
    places = [rng.randrange(start, min(start + state_file.BLOCK_BYTES, len(original))) for start in starts]
    digits = layout.digits
    for place in (*places, len(original) - 1, digits.start, digits.start + 70, digits.stop - 1):
        damaged = bytearray(original)
        damaged[place] ^= 1
        large.state.write_bytes(damaged)
        run = large.run("--steps", "1")
        block = (place - len(layout.header)) // state_file.BLOCK_BYTES
        where = f"block {block}" if place >= len(layout.header) else "header, checksum 5"
        assert run.status == 4, place
        assert f"state.safetensors: {where}: expected CRC-32 " in run.message
        assert run.message.endswith("is damaged; copy it again, or use --fresh to start again")
        with pytest.raises(BundleError, match=r"is damaged; copy it again, or use --fresh to start again"):
            check_blocks(large.state, layout)
    large.state.write_bytes(original)
    assert large.run("--steps", "1").status == 0


def test_what_a_policy_keeps_survives(large: Any) -> None:
    """The words are read, written again with every generation, and covered by a checksum."""
    layout = state_layout(large.plan.state)
    assert large.run("--steps", "1").status == 0
    header = bytearray(large.state.read_bytes()[: len(layout.header)])
    digits = bytearray(header[layout.digits])
    digits[:16] = b"0123abcdfffffffe"
    digits[-8:] = b"%08x" % zlib.crc32(digits[:-8])
    header[layout.digits] = digits
    with large.state.open("r+b") as file:
        file.write(header)
    assert large.run("--steps", "1").status == 0
    assert large.state.read_bytes()[layout.digits][:16] == b"0123abcdfffffffe"
    check_blocks(large.state, layout)


def test_both_sides_have_the_same_sizes() -> None:
    text = (NATIVE / "src" / "internal.h").read_text()
    assert f"DAYPACK_IO_BYTES = 1 << {state_file.BLOCK_BYTES.bit_length() - 1}," in text
    assert "DAYPACK_BLOCK_BYTES = DAYPACK_IO_BYTES," in text
    assert f"DAYPACK_POLICY_WORDS = {state_file.POLICY_WORDS}," in text


def test_on_a_phone_s_processor(make_case: Callable[..., Any]) -> None:
    """By the instruction there, by tables here."""
    case = make_case("aarch64")
    assert case.run("--steps", "1").status == 0
    check_blocks(case.state, state_layout(case.plan.state))


def test_without_the_processor_s_instructions(make_case: Callable[..., Any]) -> None:
    case = make_case(variant="faulty")
    assert case.run("--steps", "1").status == 0
    by_instruction = case.state.read_bytes()
    assert case.run("--steps", "1", "--fresh", env={"FAULT": "has_feature:0"}).status == 0
    assert case.state.read_bytes() == by_instruction
