"""The lines of a data file, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from daypack.errors import SpecError

MAX_LINE_BYTES = 16 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of every line, its end included; `where` is the file and the number of the line.

    Raises:
        SpecError: a line of more than MAX_LINE_BYTES, of which no more is read.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}: line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise SpecError(
                    f"{where}: longer than {MAX_LINE_BYTES} bytes; break it into documents of a line each"
                )
            yield where, decoded(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)


def decoded(data: bytes) -> str:
    """UTF-8 as text; what is malformed becomes U+FFFD, as the engine has it."""
    return data.decode("utf-8", "replace")
