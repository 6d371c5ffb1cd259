"""Packed rows: every label once, no document seen from another, next to no padding."""

from __future__ import annotations

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models.data import cut_windows, pack_rows
from daypack.models.document import Document
from daypack.models.packing import OPEN_ROWS, pack

NO = -100


def document(*ids: int, learnt: list[bool] | None = None) -> Document:
    return Document(np.asarray(ids, np.int32), np.asarray(learnt or [True] * len(ids), np.bool_))


def test_documents_share_rows_and_long_ones_are_cut() -> None:
    first, second = document(1, 2, 3), document(11, 12, 13, 14, 15, 16, 17, 18)
    third = document(21, 22, 23, learnt=[False, True, False])
    arrays = pack([first, second, document(5), third, document(7, 8, learnt=[True, False])], 6)
    assert arrays["ids"].tolist() == [[1, 2, 3, 17, 18, 0], [11, 12, 13, 14, 15, 16], [21, 22, 23, 0, 0, 0]]
    assert arrays["labels"].tolist() == [
        [2, 3, NO, 18, NO, NO],
        [12, 13, 14, 15, 16, 17],
        [22, NO, NO, NO, NO, NO],
    ]
    assert arrays["segments"].tolist() == [[0, 0, 0, 3, 3, 5], [0] * 6, [0, 0, 0, 3, 4, 5]]


def test_a_part_goes_where_the_least_room_is_left() -> None:
    documents = [document(*range(count)) for count in (3, 5, 3)]
    assert pack(documents, 8)["segments"].tolist() == [[0, 0, 0, 3, 3, 3, 3, 3], [0, 0, 0, 3, 4, 5, 6, 7]]
    fits_best = pack([document(*range(count)) for count in (4, 5, 2, 3)], 7)["segments"]
    assert fits_best.tolist() == [[0, 0, 0, 0, 4, 4, 4], [0, 0, 0, 0, 0, 5, 5]]


def test_at_most_so_many_rows_are_open() -> None:
    """With one row too many the first, which has the least room of all, is closed: its room stays empty."""
    short, full = document(*range(6)), document(*range(7))
    for count, rows in ((OPEN_ROWS - 1, OPEN_ROWS), (OPEN_ROWS, OPEN_ROWS + 1)):
        arrays = pack([full, *[short] * count, document(*range(3))], 10)
        assert len(arrays["ids"]) == rows, count
        assert (arrays["segments"][0, 7] == 7) and (arrays["ids"][0, 8] > 0) == (rows == OPEN_ROWS)


def test_every_label_once_and_little_padding() -> None:
    """2,000 documents of 2 to 400 tokens in rows of 256: less than 1 % of the places are padding."""
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.uniform(np.log(2), np.log(400), 2000)).astype(int)
    made: list[Document] = []
    total = 0
    for length in lengths:
        made.append(document(*range(total, total + length)))
        total += length
    arrays = pack(made, 256)
    ids, labels = arrays["ids"], arrays["labels"]
    assert (labels[labels != NO] - 1 == ids[labels != NO]).all()
    expected = np.concatenate([entry.ids[1:] for entry in made])
    assert sorted(labels[labels != NO].tolist()) == expected.tolist()
    padding = (arrays["segments"] == np.arange(256)) & (labels == NO)
    share = padding.mean()
    print(f"{share:.2%} padding in {len(ids)} rows")
    assert share < 0.01
    starts = np.take_along_axis(ids, arrays["segments"].astype(np.int64), 1)
    same = labels != NO
    assert (ids[same] - starts[same] < 256).all() and (ids[same] >= starts[same]).all()


def test_no_label_is_an_error() -> None:
    with pytest.raises(SpecError) as caught:
        pack_rows([document(1), document(2, 3, learnt=[True, False])], 8, "notes")
    assert caught.value.message == (
        "notes: no label in 3 tokens: no token that is learnt follows another of its document"
    )
    assert cut_windows([document(1, 2, 3)], 2, "notes").count == 1
