"""Buffers as CSV: ``id,lower,upper,size`` in, the same with ``offset`` out (the format of google/minimalloc).

Lifetimes are half-open. Ids are free text and only have to differ.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daypack.planners.fields import read_text
from daypack.planners.layout import Buffer, Layout, LayoutError

COLUMNS = ("id", "lower", "upper", "size")


@dataclass(frozen=True, slots=True)
class NamedBuffers:
    """Buffers numbered from 0, and the ids that the file gave them."""

    buffers: tuple[Buffer, ...]
    ids: tuple[str, ...]


def read_buffers(path: Path) -> NamedBuffers:
    """The buffers in a file; `LayoutError` names the line."""
    return parse_buffers(read_text(path), str(path))


def parse_buffers(text: str, where: str = "buffers") -> NamedBuffers:
    """The buffers in a CSV text."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip() for cell in next(reader, list[str]())]
    if sorted(header) != sorted(COLUMNS):
        raise LayoutError(
            f"{where}: line 1: expected the columns {','.join(COLUMNS)}, found {','.join(header)!r}"
        )
    buffers: list[Buffer] = []
    lines: dict[str, int] = {}
    for cells in reader:
        if not cells:
            continue
        at = f"{where}: line {reader.line_num}"
        row = _row(at, header, cells)
        if row["id"] in lines:
            raise LayoutError(
                f"{at}: id {row['id']!r} is a duplicate of line {lines[row['id']]}; ids must differ"
            )
        lines[row["id"]] = reader.line_num
        buffers.append(_buffer(at, len(buffers), row))
    return NamedBuffers(tuple(buffers), tuple(lines))


def _row(at: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise LayoutError(f"{at}: expected {len(header)} cells, found {len(cells)}")
    return dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _buffer(at: str, index: int, row: dict[str, str]) -> Buffer:
    lower, upper, size = (_integer(at, column, row[column]) for column in COLUMNS[1:])
    if lower >= upper:
        raise LayoutError(f"{at}: lower must be below upper, found lower {lower}, upper {upper}")
    return Buffer(index, lower, upper, size)


def _integer(at: str, column: str, cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise LayoutError(f"{at}: {column} must be an integer of at least 0, found {cell!r}")
    if len(cell) > 18:
        raise LayoutError(f"{at}: {column} overflows: must be below 10^18, found {cell}")
    return int(cell)


def layout_text(named: NamedBuffers, layout: Layout) -> str:
    """The CSV with offsets."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, "offset"])
    for name, buffer, offset in zip(named.ids, named.buffers, layout.offsets, strict=True):
        writer.writerow([name, buffer.lower, buffer.upper, buffer.size_bytes, offset])
    return out.getvalue()
