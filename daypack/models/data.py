"""Documents as examples of `sequence` tokens with labels: windows of one stream, or packed rows.

Windows: documents are laid end to end and cut; the label of a position is the token after it where that is
learnt, and the last position of a document has none. Tokens after the last whole window are left out, and so
are windows without a label: no batch is without one. Rows: see `packing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.document import NO_LABEL, Document, Ids
from daypack.models.documents import Kind, builtin_documents, read_documents
from daypack.models.packing import pack
from daypack.models.tokenizer import load_tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Batch inputs by name, int32 (examples, sequence): `ids`, `labels`, and of packed rows `segments`, the
    place in the row where the token's document begins.
    """

    arrays: Mapping[str, Ids]

    @property
    def count(self) -> int:
        return self.arrays["ids"].shape[0]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Ids]:
        """The batch (len(rows), sequence) of these examples."""
        return {name: array[rows] for name, array in self.arrays.items()}

    def __iter__(self) -> Iterator[dict[str, Ids]]:
        """Each example, (sequence,) arrays by name."""
        return ({name: array[number] for name, array in self.arrays.items()} for number in range(self.count))


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where tokens come from: a file and its kind, or (`path` None) a built-in text; and how they are laid.

    `tokenizer` is "bytes", the path of a tokenizer.json, or None for data of ids.
    """

    path: Path | None
    kind: Kind
    builtin: str
    tokenizer: Path | str | None
    packing: bool = False


def load_examples(corpus: Corpus, vocabulary: int, sequence: int) -> Examples:
    """The examples of a corpus, every id in [0, vocabulary); errors as of reading and of `cut_windows`."""
    tokenizer = None if corpus.tokenizer is None else load_tokenizer(corpus.tokenizer)
    if corpus.path is None:
        where = f"built-in text {corpus.builtin}"
        documents = builtin_documents(corpus.builtin, tokenizer, vocabulary)
    else:
        where = str(corpus.path)
        documents = read_documents(corpus.path, corpus.kind, tokenizer, vocabulary)
    return (pack_rows if corpus.packing else cut_windows)(documents, sequence, where)


def cut_windows(documents: Sequence[Document], sequence: int, where: str) -> Examples:
    """Windows of `sequence` tokens; `where` names the data in messages.

    Raises:
        SpecError: fewer than `sequence` + 1 tokens (a window and the label of its last token), or no label.
    """
    tokens, labels = _labelled([document for document in documents if document.ids.size])
    count = (tokens.size - 1) // sequence
    if count < 1:
        raise SpecError(
            f"{where}: {tokens.size} tokens; one window needs {sequence + 1} (train.sequence is {sequence}, "
            "and the last token needs its successor): give more text or a shorter sequence"
        )
    used = count * sequence
    tokens, labels = (found[:used].reshape(count, sequence) for found in (tokens, labels))
    labelled = (labels != NO_LABEL).any(axis=1)
    if not labelled.any():
        raise SpecError(
            f"{where}: no label in {count} windows of {sequence} tokens: no token that is learnt follows "
            "another of its document"
        )
    return Examples({"ids": tokens[labelled], "labels": labels[labelled]})


def pack_rows(documents: Sequence[Document], sequence: int, where: str) -> Examples:
    """Documents in rows of `sequence` tokens, none seen from another.

    Raises:
        SpecError: no label.
    """
    arrays = pack(documents, sequence)
    if arrays["ids"].shape[0] == 0:
        tokens = sum(document.ids.size for document in documents)
        raise SpecError(
            f"{where}: no label in {tokens} tokens: no token that is learnt follows another of its document"
        )
    return Examples(arrays)


def _labelled(documents: Sequence[Document]) -> tuple[Ids, Ids]:
    """All tokens end to end, and for each the next token of its document if that is learnt, or NO_LABEL."""
    empty = np.zeros(0, np.int32)
    return (
        np.concatenate([empty, *(document.ids for document in documents)]),
        np.concatenate([empty, *(document.labels for document in documents)]),
    )
