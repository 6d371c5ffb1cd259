"""CSV of multiple choice in the layout of MMLU: question, A, B, C, D, answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Question:
    """A row: four options, of which `options[answer]` is right; `where` is its file and line."""

    text: str
    options: tuple[str, ...]
    answer: int
    where: str


def read_multiple_choice(path: Path, encoder: Encoder) -> Iterator[Document]:
    """A document a row, of which the answer is learnt. Errors as of `read_questions`, and of the encoder."""
    for question in read_questions(path):
        prompt = prompt_of(question.text, list(question.options))
        pieces = [(prompt, False), (f" {LETTERS[question.answer]}", True)]
        yield encoder.of_pieces(pieces, question.where)


def read_questions(path: Path) -> Iterator[Question]:
    """The rows in order. A first row with the columns' names is left out.

    Raises:
        SpecError: with the number of the line: other than six columns, an answer that is no letter of the
        four, quotes that do not close.
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
                yield _question(row, where)
    except csv.Error as error:
        raise SpecError(f"{where}: not CSV ({error})") from error


def _question(row: list[str], where: str) -> Question:
    if len(row) != len(_HEADER):
        raise SpecError(f"{where}: {len(row)} columns; expected 6: question, A, B, C, D, answer")
    answer = row[5].strip()
    if answer not in LETTERS:
        raise SpecError(f"{where}: the answer is {answer[:80]!r}; expected A, B, C or D")
    return Question(row[0], tuple(row[1:5]), LETTERS.index(answer), where)
