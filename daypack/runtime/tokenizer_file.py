"""`tokenizer.dpt`: the tables that the engine tokenizes by. FORMAT.md has the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "tokenizer.dpt"
MAGIC = b"DPTOKEN1"

#: Sections in the order of the file, little-endian uint32: name, the header's count, values an entry.
SECTIONS = (
    ("byte_ids", None, 1),
    ("results", "merge_count", 1),
    ("slots", "slot_count", 3),
    ("characters", "character_count", 2),
    ("added_starts", None, 1),
    ("added_ids", "added_count", 1),
    ("added_points", "added_point_count", 1),
    ("classes", "class_count", 2),
    ("orders", "order_count", 2),
    ("decomposed", "decomposed_count", 1),
    ("decomposed_starts", None, 1),
    ("decomposed_points", "decomposed_point_count", 1),
    ("compositions", "composition_count", 3),
    ("pairs", "pair_words", 1),
    ("whole_starts", None, 1),
    ("whole_ids", "whole_count", 1),
    ("whole_parts", "whole_part_count", 1),
)

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("file_bytes", "<u8"),
        ("kind", "<u4"),
        ("normalize", "<u4"),
        ("number_run", "<u4"),
        ("vocabulary", "<u4"),
        *((count, "<u4") for _, count, _ in SECTIONS if count is not None),
        ("reserved", "<u4"),
    ]
)


def tokenizer_bytes(scalars: Mapping[str, int], tables: Mapping[str, NDArray[Any]]) -> bytes:
    """The file's bytes. A table that is not given is empty."""
    header = np.zeros((), HEADER)
    parts: list[bytes] = []
    for name, count, width in SECTIONS:
        values = np.asarray(tables.get(name, ()), "<u4").reshape(-1)
        if count is not None:
            header[count] = values.size // width
        parts.append(values.tobytes())
    for name, value in scalars.items():
        header[name] = value
    header["magic"] = MAGIC
    header["file_bytes"] = HEADER.itemsize + sum(map(len, parts))
    return header.tobytes() + b"".join(parts)
