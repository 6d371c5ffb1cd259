"""Documents and questions as rows to evaluate: every label once, the right option first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models.document import Document, Encoder
from daypack.models.evaluation import Options, Rows, document_rows, question_rows
from daypack.models.tokenizer import ByteTokenizer

NO = -100


def document(*ids: int, learnt: tuple[int, ...] | None = None) -> Document:
    flags = np.ones(len(ids), np.bool_) if learnt is None else np.asarray(learnt, np.bool_)
    return Document(np.asarray(ids, np.int32), flags)


def text_of(rows: Rows, number: int) -> tuple[str, str]:
    """(all that a row reads and predicts, what it predicts)."""
    ids, labels = rows.ids[number], rows.labels[number]
    used = int(np.flatnonzero(labels != NO).max()) + 1
    return bytes([*ids[:used], labels[used - 1]]).decode(), bytes(labels[labels != NO].tolist()).decode()


def test_every_token_but_the_first_is_predicted_once_within_its_document() -> None:
    rows = document_rows([document(*range(1, 8)), document(9), document(8, 9)], 3, "x")
    assert rows.ids.tolist() == [[1, 2, 3], [4, 5, 6], [8, 0, 0]]
    assert rows.labels.tolist() == [[2, 3, 4], [5, 6, 7], [9, NO, NO]]
    assert (rows.ids.dtype, rows.labels.dtype, rows.choices, rows.cut) == (np.int32, np.int32, None, 0)


def test_only_what_is_learnt_is_a_label_and_rows_without_one_are_left_out() -> None:
    rows = document_rows([document(1, 2, 3, 4, 5, learnt=(1, 0, 0, 0, 1))], 2, "x")
    assert rows.ids.tolist() == [[3, 4]]
    assert rows.labels.tolist() == [[NO, 5]]


def test_a_file_without_labels_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        document_rows([document(1), document(1, 2, learnt=(1, 0))], 4, "notes.jsonl")
    assert caught.value.message == (
        "notes.jsonl: no label in 2 documents: no token that is learnt follows another of its document, so "
        "there is nothing to evaluate"
    )


def test_the_last_batch_is_filled_up_with_rows_without_labels() -> None:
    batches = list(document_rows([document(1, 2, 3, 4)], 1, "x").batches(2))
    assert [batch["ids"].tolist() for batch in batches] == [[[1], [2]], [[3], [0]]]
    assert [batch["labels"].tolist() for batch in batches] == [[[2], [3]], [[4], [NO]]]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.csv"
    path.write_text("Which?,one,two,three,four,C\n")
    return path


def test_the_right_option_comes_first(questions: Path) -> None:
    encoder = Encoder(ByteTokenizer(), 256)
    texts = question_rows(questions, encoder, 64, Options.TEXTS)
    assert texts.choices == 4
    assert [text_of(texts, n) for n in range(4)] == [
        (f"Which?\nAnswer: {option}", f" {option}") for option in ("three", "one", "two", "four")
    ]
    letters = question_rows(questions, encoder, 64, Options.LETTERS)
    prompt = "Which?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    assert [text_of(letters, n) for n in range(4)] == [(f"{prompt} {c}", f" {c}") for c in "CABD"]


def test_a_long_question_loses_its_beginning(questions: Path) -> None:
    rows = question_rows(questions, Encoder(ByteTokenizer(), 256), 12, Options.TEXTS)
    assert [text_of(rows, n)[0] for n in (0, 1)] == ["Answer: three", "?\nAnswer: one"]
    assert rows.cut == 4


def test_options_that_cannot_be_asked_for(questions: Path, tmp_path: Path) -> None:
    encoder = Encoder(ByteTokenizer(), 256)
    with pytest.raises(
        SpecError, match=r"line 1: the option 'three' has 6 tokens; expected 1 to 5 \(train.seq"
    ):
        question_rows(questions, encoder, 5, Options.TEXTS)
    empty = tmp_path / "empty.csv"
    empty.write_text("question,A,B,C,D,answer\n")
    with pytest.raises(SpecError, match=r"empty.csv: no question in it"):
        question_rows(empty, encoder, 5, Options.TEXTS)
