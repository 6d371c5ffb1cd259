"""Rows to evaluate: documents, each by itself, or the options of multiple-choice questions.

A document is cut into rows of `sequence` tokens whose labels are the next tokens, so each of its tokens but
the first is predicted once, from the tokens of its row before it; what is left over is a shorter row. An
option is one row: the question and the option behind it, of which the option's tokens are the labels. A
question too long for a row loses its beginning. Places behind the last token of a row have id 0 and no label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from daypack.errors import SpecError
from daypack.models.document import NO_LABEL, Document, Encoder, Ids
from daypack.models.multiple_choice import LETTERS, Question, prompt_of, read_questions


class Options(Enum):
    """What of an option is asked for."""

    LETTERS = "letters"
    """Its letter, behind the question with all options: what learning from CSV teaches."""
    TEXTS = "texts"
    """Its text, behind the question alone."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`ids` and `labels`, int32 (rows, sequence).

    `choices`: that many rows are the options of a question, the right one first; None for documents. `cut`
    counts the rows whose question lost its beginning.
    """

    ids: Ids
    labels: Ids
    choices: int | None = None
    cut: int = 0

    def batches(self, rows: int) -> Iterator[dict[str, Ids]]:
        """Batches of `rows` rows in order; rows without labels fill up the last. `segments` is for models
        that learn from packed rows: here each row is one document.
        """
        missing = -self.ids.shape[0] % rows
        ids = np.pad(self.ids, ((0, missing), (0, 0)))
        labels = np.pad(self.labels, ((0, missing), (0, 0)), constant_values=NO_LABEL)
        for start in range(0, ids.shape[0], rows):
            part = slice(start, start + rows)
            yield {"ids": ids[part], "labels": labels[part], "segments": np.zeros_like(ids[part])}


def document_rows(documents: Sequence[Document], sequence: int, where: str) -> Rows:
    """The rows of documents that have a label.

    Raises:
        SpecError: there is none.
    """
    rows = [
        _row(document.ids[start:end], document.learnt[start:end], sequence)
        for document in documents
        for start, end in _parts(document.ids.size, sequence)
        if document.learnt[start + 1 : end].any()
    ]
    if not rows:
        raise SpecError(
            f"{where}: no label in {len(documents)} documents: no token that is learnt follows another of "
            "its document, so there is nothing to evaluate"
        )
    return _rows(rows)


def question_rows(path: Path, encoder: Encoder, sequence: int, options: Options) -> Rows:
    """Four rows for each question of a CSV file.

    Raises:
        SpecError: no question, an option without tokens or with more than a row holds, and as
        `read_questions`.
    """
    rows: list[tuple[Ids, Ids]] = []
    cut = 0
    for question in read_questions(path):
        for prompt, option in _asked(question, options):
            document = encoder.of_pieces([(prompt, False), (option, True)], question.where)
            learnt = int(document.learnt.sum())
            if not 1 <= learnt <= min(sequence, document.ids.size - 1):
                raise SpecError(
                    f"{question.where}: the option {option.strip()[:80]!r} has {learnt} tokens; expected 1 "
                    f"to {sequence} (train.sequence) behind a question of at least 1"
                )
            cut += document.ids.size > sequence + 1
            rows.append(_row(document.ids[-sequence - 1 :], document.learnt[-sequence - 1 :], sequence))
    if not rows:
        raise SpecError(f"{path}: no question in it")
    found = _rows(rows)
    return Rows(found.ids, found.labels, len(LETTERS), cut)


def _asked(question: Question, options: Options) -> list[tuple[str, str]]:
    """(prompt, option) for each option, the right one first."""
    order = [question.answer, *(n for n in range(len(question.options)) if n != question.answer)]
    if options is Options.LETTERS:
        prompt = prompt_of(question.text, list(question.options))
        return [(prompt, f" {LETTERS[n]}") for n in order]
    return [(f"{question.text}\nAnswer:", f" {question.options[n]}") for n in order]


def _parts(size: int, sequence: int) -> Iterator[tuple[int, int]]:
    """Ranges of sequence + 1 tokens, each beginning at the last token of the one before."""
    for start in range(0, size - 1, sequence):
        yield start, min(start + sequence + 1, size)


def _row(ids: Ids, learnt: np.ndarray[tuple[int], np.dtype[np.bool_]], sequence: int) -> tuple[Ids, Ids]:
    """Up to sequence + 1 tokens as one row: (ids, labels)."""
    row, labels = np.zeros(sequence, np.int32), np.full(sequence, NO_LABEL, np.int32)
    row[: ids.size - 1] = ids[:-1]
    labels[: ids.size - 1] = np.where(learnt, ids, np.int32(NO_LABEL))[1:]
    return row, labels


def _rows(rows: Sequence[tuple[Ids, Ids]]) -> Rows:
    return Rows(np.stack([ids for ids, _ in rows]), np.stack([labels for _, labels in rows]))
