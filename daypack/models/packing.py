"""Documents packed into rows, several in one, with next to no padding between them.

A document is cut into parts of at most `sequence` tokens; the label of a part's last token is the next token
of the document, where that is learnt. A part goes into the open row with the least room that holds it, the
oldest of equals, else into a new one; at most `OPEN_ROWS` are open, and the one with the least room is closed
for another (best fit with bounded space: Csirik and Johnson 2001, "Bounded space on-line bin packing"). Parts
without a label are left out. The engine packs the same (`native/src/packing.c`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from daypack.models.document import NO_LABEL, Document, Ids

OPEN_ROWS = 256
_LEAST_TOKENS = 2  #: of the last part of a document that has a label
_Part = tuple[Ids, Ids]


@dataclass(slots=True, eq=False)
class _Row:
    room: int
    parts: list[_Part] = field(default_factory=list[_Part])


def pack(documents: Sequence[Document], sequence: int) -> dict[str, Ids]:
    """Batch inputs by name, int32 (rows, sequence).

    `segments` has for each token the place where its part begins in the row. Behind the last part of a row
    every place is a part of its own, with id 0 and no label.
    """
    rows: list[_Row] = []
    open_rows: list[_Row] = []
    for part in _parts(documents, sequence):
        size = part[0].size
        row = min((row for row in open_rows if row.room >= size), key=lambda row: row.room, default=None)
        if row is None:
            if len(open_rows) == OPEN_ROWS:
                open_rows.remove(min(open_rows, key=lambda row: row.room))
            row = _Row(sequence)
            rows.append(row)
            open_rows.append(row)
        row.parts.append(part)
        row.room -= size
        if row.room < _LEAST_TOKENS:
            open_rows.remove(row)
    return _arrays(rows, sequence)


def _parts(documents: Sequence[Document], sequence: int) -> Iterator[_Part]:
    """(ids, labels) of every part that has a label."""
    for document in documents:
        labels = document.labels
        for start in range(0, document.ids.size, sequence):
            part = slice(start, start + sequence)
            if (labels[part] != NO_LABEL).any():
                yield document.ids[part], labels[part]


def _arrays(rows: Sequence[_Row], sequence: int) -> dict[str, Ids]:
    shape = (len(rows), sequence)
    ids, labels = np.zeros(shape, np.int32), np.full(shape, NO_LABEL, np.int32)
    segments = np.tile(np.arange(sequence, dtype=np.int32), (len(rows), 1))
    for number, row in enumerate(rows):
        start = 0
        for part_ids, part_labels in row.parts:
            place = slice(start, start + part_ids.size)
            ids[number, place], labels[number, place] = part_ids, part_labels
            segments[number, place] = start
            start = place.stop
    return {"ids": ids, "labels": labels, "segments": segments}
