"""`state.safetensors`: its exact header bytes and where each tensor's data lies.

The compiler computes the header once; the plan carries it, the engine writes it unchanged before the data and
on reading insists on the very same bytes. So the engine needs no JSON, and what it writes any safetensors
reader opens. Only the digits of `journal` in the metadata are a generation's own: the words a policy keeps,
and the CRC-32 of each block of the data. Source: https://github.com/huggingface/safetensors (README,
"Format"): u64 header size, JSON, data without holes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError
from daypack.runtime.plan_file import ALIGNMENT_BYTES, DTYPE_BYTES, StateTensor

NAME = "state.safetensors"
METADATA_KEY = "__metadata__"
_METADATA = {"daypack": "state 1"}
#: The checksummed pieces of the data; `native/src/internal.h` has the same.
BLOCK_BYTES = 1 << 20
#: uint32 that a policy keeps from one run to the next.
POLICY_WORDS = 8
_WORD_DIGITS = 8
_BEFORE_DIGITS = json.dumps({METADATA_KEY: _METADATA | {"journal": ""}}, separators=(",", ":"))[:-3]
#: Where the digits begin in the file.
DIGITS_OFFSET = 8 + len(_BEFORE_DIGITS)
#: Stands for an identity that is not known yet.
NO_ID = "0" * 64
#: Name, dtype and shape of a tensor.
Entry = tuple[str, str, tuple[int, ...]]

#: numpy dtype name -> safetensors code, for the dtypes that numpy has
CODE_OF_NUMPY: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
}


@dataclass(frozen=True, slots=True)
class StateLayout:
    """`header` is everything before the data; `offsets_bytes` count from the start of the file."""

    header: bytes
    offsets_bytes: tuple[int, ...]
    file_bytes: int

    @property
    def digits(self) -> slice:
        """Where a generation's digits are in the header, which has zeros there."""
        blocks = -(-(self.file_bytes - len(self.header)) // BLOCK_BYTES)
        return slice(DIGITS_OFFSET, DIGITS_OFFSET + _digit_count(blocks))

    def with_digits(self, data: Iterable[bytes]) -> bytes:
        """The header of a generation with these blocks of data, and a policy that keeps nothing."""
        digits = b"0" * (POLICY_WORDS * _WORD_DIGITS) + b"".join(map(_digits, data))
        digits += _digits(digits)
        header = bytearray(self.header)
        header[self.digits] = digits
        if len(header) != len(self.header):
            raise ValueError("state: expected the blocks of the layout's data")
        return bytes(header)


def state_layout(tensors: Sequence[StateTensor], state_id: str = "") -> StateLayout:
    """Lay the tensors out in the given order, without holes; the header is padded with spaces to 64 bytes.

    `state_id` says what is trained; it is of a fixed length, so the layout does not depend on it.
    """
    total = sum(tensor.size_bytes for tensor in tensors)
    journal = {"journal": "0" * _digit_count(-(-total // BLOCK_BYTES))}
    metadata = _METADATA | journal | ({"training": state_id} if state_id else {})
    entries: dict[str, Any] = {METADATA_KEY: metadata}
    begin = 0
    begins: list[int] = []
    for tensor in tensors:
        end = begin + tensor.size_bytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begins.append(begin)
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT_BYTES)
    header = len(text).to_bytes(8, "little") + text
    return StateLayout(header, tuple(len(header) + offset for offset in begins), len(header) + begin)


def write_state(
    path: Path,
    tensors: Sequence[StateTensor],
    arrays: Mapping[str, NDArray[Any]],
    identify: Callable[[bytes], str] | None = None,
) -> str:
    """Write generation 0: every tensor of the plan from `arrays`, which has exactly these names, dtypes,
    shapes.

    `identify(digest)` makes the state's identity of the SHA-256 of the tensors' bytes. Returns the identity.
    """
    layout = state_layout(tensors, NO_ID if identify else "")
    digest = hashlib.sha256()
    names = [tensor.name for tensor in tensors]
    if sorted(names) != sorted(arrays):
        missing, extra = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
        raise BundleError(
            f"{path}: state arrays do not match the plan: missing {missing}, not in the plan {extra}"
        )
    with path.open("wb") as file:
        file.write(layout.header)
        for tensor in tensors:
            array = arrays[tensor.name]
            found = (CODE_OF_NUMPY.get(array.dtype.name, array.dtype.name), array.shape)
            if found != (tensor.dtype, tensor.shape):
                raise BundleError(
                    f"{path}: state array {tensor.name!r}: expected {tensor.dtype} {tensor.shape}, "
                    f"found {found[0]} {found[1]}"
                )
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            digest.update(data)
            file.write(data)
    state_id = identify(digest.digest()) if identify else ""
    layout = state_layout(tensors, state_id)
    with path.open("r+b") as file:
        file.seek(len(layout.header))
        header = layout.with_digits(iter(lambda: file.read(BLOCK_BYTES), b""))
        file.seek(0)
        file.write(header)
    return state_id


def check_state(path: Path, tensors: Sequence[StateTensor], state_id: str = "") -> None:
    """Insist that a state file has the plan's header, byte for byte but for the digits of its generation, and
    the size that follows from it.
    """
    layout = state_layout(tensors, state_id)
    size = path.stat().st_size
    if size != layout.file_bytes:
        raise BundleError(f"{path}: expected {layout.file_bytes} bytes for this plan's state, found {size}")
    with path.open("rb") as file:
        found = bytearray(file.read(len(layout.header)))
    found[layout.digits] = layout.header[layout.digits]
    if bytes(found) != layout.header:
        raise BundleError(f"{path}: its header is not this plan's: the state belongs to another bundle")


def check_blocks(path: Path, layout: StateLayout) -> None:
    """Insist that the data of a state file is what its digits say. Raises BundleError."""
    with path.open("rb") as file:
        digits = file.read(len(layout.header))[layout.digits]
        sums = [digits[at : at + _WORD_DIGITS] for at in range(0, len(digits), _WORD_DIGITS)]
        if sums[-1] != _digits(digits[:-_WORD_DIGITS]):
            raise BundleError(f"{path}: its header is damaged; copy it again, or use --fresh to start again")
        for block, expected in enumerate(sums[POLICY_WORDS:-1]):
            found = _digits(file.read(BLOCK_BYTES))
            if found != expected:
                raise BundleError(
                    f"{path}: block {block}: expected CRC-32 {expected.decode()}, found {found.decode()}: "
                    "the file is damaged; copy it again, or use --fresh to start again"
                )


def _digit_count(blocks: int) -> int:
    return (POLICY_WORDS + blocks + 1) * _WORD_DIGITS


def _digits(data: bytes) -> bytes:
    """The CRC-32 of bytes, as the header has it."""
    return b"%08x" % zlib.crc32(data)


def parse_header(header: bytes) -> tuple[str, list[Entry]]:
    """Header bytes -> the identity (or nothing) and (name, dtype, shape) in data order; the caller insists
    that `state_layout` gives them back.

    Raises ValueError on anything that is not the JSON of a safetensors header.
    """
    entries: Any = json.loads(header[8:])
    if not isinstance(entries, dict):
        raise ValueError("not an object")
    found: list[Entry] = []
    state_id = ""
    for name, entry in cast("dict[str, Any]", entries).items():
        if name == METADATA_KEY:
            metadata = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
            state_id = str(metadata.get("training", ""))
            continue
        try:
            dtype, shape = str(entry["dtype"]), tuple(int(dim) for dim in entry["shape"])
        except (TypeError, KeyError) as error:
            raise ValueError(f"entry {name!r} lacks dtype or shape") from error
        if dtype not in DTYPE_BYTES or any(dim < 0 for dim in shape):
            raise ValueError(f"entry {name!r} has dtype {dtype}, shape {shape}")
        found.append((name, dtype, shape))
    return state_id, found
