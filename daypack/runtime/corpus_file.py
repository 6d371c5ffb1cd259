"""`corpus.bin`: how the engine makes examples of a raw file. FORMAT.md has the bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from daypack.errors import SpecError

NAME = "corpus.bin"
MAGIC = b"DPCORPUS"
MOST_BYTES = 1 << 16

#: By number: what the suffix tells, and the kinds of `data.kind`.
KINDS = ("", "text", "jsonl", "csv", "ids")
NO_TOKENIZER, BYTES, TABLES = 0, 1, 2
CHAT, SYSTEM = 1, 2
TRIMS = {"system": 4, "user": 8, "assistant": 16}
#: Texts of a chat format, in the order of the file.
TEXTS = (
    "start",
    "system_prefix",
    "system_join",
    "user_prefix",
    "user_suffix",
    "assistant_prefix",
    "assistant_suffix",
)

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("file_bytes", "<u8"),
        ("kind", "<u4"),
        ("tokenizer", "<u4"),
        ("packing", "<u4"),
        ("shuffle", "<u4"),
        ("seed", "<u4"),
        ("sequence", "<u4"),
        ("chat", "<u4"),
        *((f"{name}_bytes", "<u4") for name in TEXTS),
        ("zero", "<u4"),
        ("reserved", "<u4"),
    ]
)


def corpus_bytes(
    *,
    kind: str,
    tokenizer: int,
    packing: bool,
    seed: int | None,
    sequence: int,
    texts: Mapping[str, str | None] | None = None,
    trimmed: tuple[str, ...] = (),
) -> bytes:
    """The file's bytes. `kind` "" leaves it to the suffix; `seed` None keeps the order of the file; `texts`
    are those around the turns of a conversation, the system's None where the template takes no such turn.

    Raises:
        SpecError: the texts do not fit.
    """
    header = np.zeros((), HEADER)
    header["kind"], header["tokenizer"] = KINDS.index(kind), tokenizer
    header["packing"], header["sequence"] = packing, sequence
    header["shuffle"], header["seed"] = seed is not None, seed or 0
    parts: list[bytes] = []
    if texts is not None:
        takes_system = texts["system_prefix"] is not None
        header["chat"] = CHAT | SYSTEM * takes_system | sum(TRIMS[role] for role in trimmed)
        parts = [(texts[name] or "").encode() for name in TEXTS]
        for name, part in zip(TEXTS, parts, strict=True):
            header[f"{name}_bytes"] = len(part)
    header["magic"], header["file_bytes"] = MAGIC, HEADER.itemsize + sum(map(len, parts))
    if int(header["file_bytes"]) > MOST_BYTES:
        raise SpecError(
            f"the chat template puts {sum(map(len, parts))} bytes around turns; the engine takes at most "
            f"{MOST_BYTES - HEADER.itemsize}: use `prompt` and `completion`"
        )
    return header.tobytes() + b"".join(parts)
