"""`data.bin`: examples, and in which order micro-batches take them. FORMAT.md has the bytes and the law."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError, SpecError
from daypack.runtime.plan_file import ALIGNMENT_BYTES, BatchInput
from daypack.runtime.shuffle import permuted
from daypack.runtime.state_file import CODE_OF_NUMPY

NAME = "data.bin"
MAGIC = b"DPDATA1\0"
VERSION = 2

HEADER = np.dtype(
    [
        ("magic", "u1", (8,)),
        ("version", "<u4"),
        ("input_count", "<u4"),
        ("example_bytes", "<u8"),
        ("example_count", "<u8"),
        ("micro_batch", "<u4"),
        ("shuffle", "<u4"),
        ("seed", "<u4"),
        ("zero", "<u4"),
        ("source", "u1", (12,)),
        ("examples_crc32", "<u4"),
    ]
)

_NUMPY_OF_CODE = {code: name for name, code in CODE_OF_NUMPY.items() if name != "bfloat16"}
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How examples become micro-batches of `micro_batch`, each in its turn.

    With a `seed` every epoch has an order of its own, without one all have that of the file.
    """

    micro_batch: int = 1
    seed: int | None = None

    def examples(self, number: int, count: int) -> list[int]:
        """The examples, of `count`, of micro-batch `number` of a training, counted from its first step."""
        return [self._example(number * self.micro_batch + place, count) for place in range(self.micro_batch)]

    def _example(self, place: int, count: int) -> int:
        epoch, place = divmod(place, count)
        return place if self.seed is None else int(permuted(np.array([place]), count, self.seed, epoch)[0])


def record_bytes(inputs: Sequence[BatchInput]) -> int:
    """Size of one example: each input at a multiple of 64 bytes, the whole a multiple of 64."""
    return sum(_aligned(entry.size_bytes) for entry in inputs)


def write_data(
    path: Path,
    inputs: Sequence[BatchInput],
    examples: Iterable[Arrays],
    arrangement: Arrangement | None = None,
) -> int:
    """Write the examples (input name -> array, of any shape with the dtype and size of the input's share);
    returns their number.

    The file appears under its name only when it is complete. Raises SpecError for an array that does not
    match its input, a value out of bounds, no example at all, or inputs that do not divide by the
    micro-batch.
    """
    arrangement = arrangement or Arrangement()
    shares = _shares(path, inputs, arrangement.micro_batch)
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        with partial.open("wb") as file:
            file.write(bytes(HEADER.itemsize))
            for count, example in enumerate(examples, start=1):
                for entry in shares:
                    data = _checked(entry, example, count - 1).tobytes()
                    file.write(data + bytes(_aligned(len(data)) - len(data)))
            if count == 0:
                raise SpecError(f"{path}: expected at least one example of data, found none")
            file.seek(0)
            file.write(_header(shares, arrangement, count))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_data(path: Path, inputs: Sequence[BatchInput], count: int | None = None) -> Iterator[Arrays]:
    """Yield the first `count` micro-batches of a training, by default as many as take every example, as flat
    arrays (the file does not know shapes); a foreign file is a BundleError.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    found = _found_header(data)
    micro = max(1, int(found["micro_batch"]))
    arrangement = Arrangement(micro, int(found["seed"]) if found["shuffle"] else None)
    shares, examples = _shares(path, inputs, micro), int(found["example_count"])
    expected_bytes = HEADER.itemsize + examples * record_bytes(shares)
    header = np.frombuffer(_header(shares, arrangement, examples), HEADER)[0].copy()
    header["source"] = found["source"]
    header["examples_crc32"] = found["examples_crc32"]
    if header.tobytes() != found.tobytes() or data.size != expected_bytes:
        raise BundleError(
            f"{path}: expected a data file of {len(inputs)} inputs in examples of "
            f"{record_bytes(shares)} bytes, found another header or a size that is not {expected_bytes}"
        )
    table = data[HEADER.itemsize :].reshape(examples, -1)
    for number in range(-(-examples // micro) if count is None else count):
        rows = table[arrangement.examples(number, examples)]
        offset = 0
        batch: dict[str, NDArray[Any]] = {}
        for entry in shares:
            values = np.ascontiguousarray(rows[:, offset : offset + entry.size_bytes])
            batch[entry.name] = values.view(_NUMPY_OF_CODE[entry.dtype]).reshape(-1)
            offset += _aligned(entry.size_bytes)
        yield batch


def _shares(path: Path, inputs: Sequence[BatchInput], micro_batch: int) -> list[BatchInput]:
    """What one example has of each input."""
    for entry in inputs:
        if entry.size_bytes % micro_batch:
            raise SpecError(
                f"{path}: expected input {entry.name!r} of {entry.size_bytes} bytes to divide into "
                f"{micro_batch} examples"
            )
    return [replace(entry, size_bytes=entry.size_bytes // micro_batch) for entry in inputs]


def _found_header(data: NDArray[np.uint8]) -> Any:
    padded = np.zeros(HEADER.itemsize, np.uint8)
    padded[: data.size] = data[: HEADER.itemsize]
    return padded.view(HEADER)[0]


def _aligned(size_bytes: int) -> int:
    return size_bytes + -size_bytes % ALIGNMENT_BYTES


def _header(shares: Sequence[BatchInput], arrangement: Arrangement, count: int) -> bytes:
    header = np.zeros((), HEADER)
    header["magic"] = np.frombuffer(MAGIC, "u1")
    header["version"], header["input_count"] = VERSION, len(shares)
    header["example_bytes"], header["example_count"] = record_bytes(shares), count
    header["micro_batch"] = arrangement.micro_batch
    header["shuffle"], header["seed"] = arrangement.seed is not None, arrangement.seed or 0
    return header.tobytes()


def _checked(entry: BatchInput, example: Arrays, number: int) -> NDArray[Any]:
    where = f"example {number}, input {entry.name!r}"
    if entry.name not in example:
        raise SpecError(f"{where}: expected an array, found {sorted(example)}")
    array = np.ascontiguousarray(example[entry.name])
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
