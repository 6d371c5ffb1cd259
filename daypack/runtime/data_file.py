"""`data.bin`: records of one micro-batch each, in the order of the plan's inputs. FORMAT.md has the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError, SpecError
from daypack.runtime.plan_file import ALIGNMENT_BYTES, BatchInput
from daypack.runtime.state_file import CODE_OF_NUMPY

NAME = "data.bin"
MAGIC = b"DPDATA1\0"
VERSION = 1

HEADER = np.dtype(
    [
        ("magic", "u1", (8,)),
        ("version", "<u4"),
        ("input_count", "<u4"),
        ("record_bytes", "<u8"),
        ("record_count", "<u8"),
        ("zero", "u1", (32,)),
    ]
)

_NUMPY_OF_CODE = {code: name for name, code in CODE_OF_NUMPY.items() if name != "bfloat16"}


def record_bytes(inputs: Sequence[BatchInput]) -> int:
    """Size of one record: each input at a multiple of 64 bytes, the whole a multiple of 64."""
    return sum(_aligned(entry.size_bytes) for entry in inputs)


def write_data(
    path: Path, inputs: Sequence[BatchInput], records: Iterable[Mapping[str, NDArray[Any]]]
) -> int:
    """Write the records (input name -> array, of any shape with the input's dtype and size); returns their
    number.

    The file appears under its name only when it is complete. Raises SpecError for an array that does not
    match its input, a value out of bounds, or no record at all.
    """
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        with partial.open("wb") as file:
            file.write(bytes(HEADER.itemsize))
            for count, record in enumerate(records, start=1):
                for entry in inputs:
                    data = _checked(entry, record, count - 1).tobytes()
                    file.write(data + bytes(_aligned(len(data)) - len(data)))
            if count == 0:
                raise SpecError(f"{path}: expected at least one record of data, found none")
            file.seek(0)
            file.write(_header(inputs, count))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_data(path: Path, inputs: Sequence[BatchInput]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the records as flat arrays (the file does not know shapes); a foreign file is a BundleError."""
    with path.open("rb") as file:
        found = file.read(HEADER.itemsize)
        count = int.from_bytes(found[24:32], "little")
        expected_bytes = HEADER.itemsize + count * record_bytes(inputs)
        if found != _header(inputs, count) or path.stat().st_size != expected_bytes:
            raise BundleError(
                f"{path}: expected a data file of {len(inputs)} inputs in records of "
                f"{record_bytes(inputs)} bytes, found another header or a size that is not {expected_bytes}"
            )
        for _ in range(count):
            record: dict[str, NDArray[Any]] = {}
            for entry in inputs:
                data = file.read(_aligned(entry.size_bytes))[: entry.size_bytes]
                record[entry.name] = np.frombuffer(data, _NUMPY_OF_CODE[entry.dtype])
            yield record


def _aligned(size_bytes: int) -> int:
    return size_bytes + -size_bytes % ALIGNMENT_BYTES


def _header(inputs: Sequence[BatchInput], count: int) -> bytes:
    header = np.zeros((), HEADER)
    header["magic"] = np.frombuffer(MAGIC, "u1")
    header["version"], header["input_count"] = VERSION, len(inputs)
    header["record_bytes"], header["record_count"] = record_bytes(inputs), count
    return header.tobytes()


def _checked(entry: BatchInput, record: Mapping[str, NDArray[Any]], number: int) -> NDArray[Any]:
    where = f"record {number}, input {entry.name!r}"
    if entry.name not in record:
        raise SpecError(f"{where}: expected an array, found {sorted(record)}")
    array = np.ascontiguousarray(record[entry.name])
    code = CODE_OF_NUMPY.get(array.dtype.name, array.dtype.name)
    if (code, array.nbytes) != (entry.dtype, entry.size_bytes):
        raise SpecError(
            f"{where}: expected {entry.size_bytes} bytes of {entry.dtype}, found {array.nbytes} of {code}"
        )
    if entry.bound:
        bad = (array < 0) | (array >= entry.bound)
        if entry.ignore is not None:
            bad &= array != entry.ignore
        if bad.any():
            position = int(np.flatnonzero(bad)[0])
            raise SpecError(
                f"{where}, position {position}: expected a value from 0 to {entry.bound - 1}, "
                f"found {array.reshape(-1)[position]}"
            )
    return array
