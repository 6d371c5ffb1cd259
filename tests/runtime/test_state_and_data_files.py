"""state.safetensors and data.bin: readable by those who should, refused when foreign, never half-written."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from daypack.errors import BundleError, SpecError
from daypack.runtime.data_file import read_data, record_bytes, write_data
from daypack.runtime.plan_file import BatchInput, StateTensor
from daypack.runtime.state_file import check_blocks, check_state, state_layout, write_state

TENSORS = (
    StateTensor("transformer.h.0.attn.c_attn.weight", "F32", (3, 5), 0),
    StateTensor("opt/count", "I64", (), 0),
    StateTensor("mutable/seen", "BOOL", (7,), 0),
    StateTensor("clock/step", "U32", (), 0),
)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "transformer.h.0.attn.c_attn.weight": np.arange(15, dtype=np.float32).reshape(3, 5),
    "opt/count": np.array(-5),
    "mutable/seen": np.array([True, False] * 3 + [True]),
    "clock/step": np.array(9, np.uint32),
}
INPUTS = (BatchInput("ids", "I32", 24, bound=10, ignore=-100), BatchInput("image", "F32", 64))


def test_the_safetensors_library_opens_a_state(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, ARRAYS)
    loaded = load_file(path)
    assert set(loaded) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
    with safe_open(path, "numpy") as file:
        journal = f"{0:064x}{zlib.crc32(path.read_bytes()[-state_data_bytes() :]):08x}"
        journal += f"{zlib.crc32(journal.encode()):08x}"
        assert file.metadata() == {"daypack": "state 1", "journal": journal}
    check_state(path, TENSORS)
    check_blocks(path, state_layout(TENSORS))


def state_data_bytes() -> int:
    return sum(tensor.size_bytes for tensor in TENSORS)


def test_every_flipped_bit_of_a_state_is_found(tmp_path: Path) -> None:
    """In the data and in the checksums by them, elsewhere in the header by comparison."""
    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, ARRAYS)
    original = path.read_bytes()
    for bit in range(0, 8 * len(original), 5):
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="is damaged|header is not this plan's"):
            check_state(path, TENSORS)
            check_blocks(path, state_layout(TENSORS))


def test_layout_gives_the_place_of_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, ARRAYS)
    layout = state_layout(TENSORS)
    data = path.read_bytes()
    assert len(layout.header) % 64 == 0 and layout.file_bytes == len(data)
    for tensor, offset in zip(TENSORS, layout.offsets_bytes, strict=True):
        assert data[offset : offset + tensor.size_bytes] == ARRAYS[tensor.name].tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock/step": np.array(9, np.int32)}, r"'clock/step': expected U32 \(\), found I32 \(\)"),
        ({"clock/step": np.array([9], np.uint32)}, r"'clock/step': expected U32 \(\), found U32 \(1,\)"),
        ({"clock/step": np.array(9, np.complex64)}, r"'clock/step': expected U32 \(\), found complex64 \(\)"),
        ({"more": np.array(1)}, r"missing \[\], not in the plan \['more'\]"),
    ],
)
def test_arrays_that_are_not_the_plan_s(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        write_state(tmp_path / "state", TENSORS, {**ARRAYS, **changes})


def test_states_of_another_bundle(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, ARRAYS)
    with pytest.raises(
        BundleError, match=rf"expected 459 bytes for this plan's state, found {path.stat().st_size}"
    ):
        check_state(path, TENSORS[:-1])
    renamed = (*TENSORS[:-1], StateTensor("clock/stop", "U32", (), 0))
    with pytest.raises(BundleError, match="header is not this plan's: the state belongs to another bundle"):
        check_state(path, renamed)


def records() -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    for number in range(3):
        ids = np.array([[0, number, 9], [-100, 1, 2]], np.int32)
        yield {"ids": ids, "image": np.full((4, 4), number, np.float32)}


def test_records_read_back(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    assert write_data(path, INPUTS, records()) == 3
    assert record_bytes(INPUTS) == 128 and path.stat().st_size == 64 + 3 * 128
    for written, read in zip(records(), read_data(path, INPUTS), strict=True):
        np.testing.assert_array_equal(read["ids"], written["ids"].ravel())
        np.testing.assert_array_equal(read["image"], written["image"].ravel())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "example 0, input 'ids': expected an array, found []"),
        ({"ids": np.zeros(6, np.int64)}, "example 0, input 'ids': expected 24 bytes of I32, found 48 of I64"),
        ({"ids": np.zeros(5, np.int32)}, "example 0, input 'ids': expected 24 bytes of I32, found 20 of I32"),
        (
            {"ids": np.array([0, 1, 2, -100, 10, -1], np.int32)},
            "example 0, input 'ids', position 4: expected a value from 0 to 9, found 10",
        ),
        (
            {"ids": np.array([[0, 1, 2], [-100, -1, 0]], np.int32)},
            "example 0, input 'ids', position 4: expected a value from 0 to 9, found -1",
        ),
        (None, "expected at least one example of data, found none"),
    ],
)
def test_bad_records_leave_no_file(tmp_path: Path, record: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        write_data(tmp_path / "data.bin", INPUTS, [] if record is None else [record])
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_data_file(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    write_data(path, INPUTS, records())
    with pytest.raises(BundleError, match="expected a data file of 1 inputs in examples of 64 bytes"):
        list(read_data(path, INPUTS[:1]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="found another header or a size that is not 448"):
        list(read_data(path, INPUTS))
