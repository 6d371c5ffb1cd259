"""CSV of multiple choice in the layout of MMLU: question, A, B, C, D, answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from daypack.errors import SpecError
from daypack.models.document import Document, Encoder
from daypack.models.lines import read_lines

LETTERS = ("A", "B", "C", "D")
_HEADER = ["question", "a", "b", "c", "d", "answer"]


def prompt_of(question: str, options: list[str]) -> str:
    """The question as MMLU's own evaluation asks it; " A", " B", " C" or " D" follows."""
    lines = [question, *(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))]
    return "\n".join([*lines, "Answer:"])


def read_multiple_choice(path: Path, encoder: Encoder) -> Iterator[Document]:
    """A document a row, of which the answer is learnt. A first row with the columns' names is left out.

    Raises:
        SpecError: with the number of the line: other than six columns, an answer that is no letter of the
        four, quotes that do not close, and what the encoder refuses.
    """
    where = f"{path}: line 1"

    def lines() -> Iterator[str]:
        nonlocal where
        for place, line in read_lines(path):
            where = place
            yield line

    try:
        for number, row in enumerate(csv.reader(lines(), strict=True)):
            if row and not (number == 0 and [name.strip().lower() for name in row] == _HEADER):
                yield _document(row, encoder, where)
    except csv.Error as error:
        raise SpecError(f"{where}: not CSV ({error})") from error


def _document(row: list[str], encoder: Encoder, where: str) -> Document:
    if len(row) != len(_HEADER):
        raise SpecError(f"{where}: {len(row)} columns; expected 6: question, A, B, C, D, answer")
    answer = row[5].strip()
    if answer not in LETTERS:
        raise SpecError(f"{where}: the answer is {answer[:80]!r}; expected A, B, C or D")
    return encoder.of_pieces([(prompt_of(row[0], row[1:5]), False), (f" {answer}", True)], where)
