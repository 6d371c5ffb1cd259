"""Token windows with labels, in a fixed seeded order.

Documents are laid end to end and cut into windows of `sequence` tokens; the label of a position is the token
after it where that is learnt, and the last position of a document has none. Tokens after the last whole
window are left out, and so are windows without a label: no batch is without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.document import Document, Ids
from daypack.models.documents import Kind, builtin_documents, read_documents
from daypack.models.loss import NO_LABEL
from daypack.models.tokenizer import load_tokenizer

Batch = dict[str, NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Windows:
    """`ids` and `labels`, int32 (windows, sequence); `order` is the seeded order in which they are used."""

    ids: Ids
    labels: Ids
    order: NDArray[np.int64]

    @property
    def count(self) -> int:
        return self.ids.shape[0]

    def batches(self, micro_batch: int, batch: int) -> Iterator[Batch]:
        """Micro-batches (micro_batch, sequence) that together use every window at least once.

        Their number is a multiple of batch / micro_batch, so that every update sees whole batches; the last
        batch is filled up from the start of the order. `batch` must be a multiple of `micro_batch`.
        """
        whole = -(-self.count // batch) * batch
        order = np.resize(self.order, whole)
        for start in range(0, whole, micro_batch):
            rows = order[start : start + micro_batch]
            yield {"ids": self.ids[rows], "labels": self.labels[rows]}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where tokens come from: a file and its kind, or (`path` None) a built-in text.

    `tokenizer` is "bytes", the path of a tokenizer.json, or None for data of ids.
    """

    path: Path | None
    kind: Kind
    builtin: str
    tokenizer: Path | str | None


def load_windows(corpus: Corpus, vocabulary: int, sequence: int, seed: int) -> Windows:
    """The windows of a corpus, every id in [0, vocabulary); errors as of reading and of `cut_windows`."""
    tokenizer = None if corpus.tokenizer is None else load_tokenizer(corpus.tokenizer)
    if corpus.path is None:
        documents = builtin_documents(corpus.builtin, tokenizer, vocabulary)
        return cut_windows(documents, sequence, seed, f"built-in text {corpus.builtin}")
    documents = read_documents(corpus.path, corpus.kind, tokenizer, vocabulary)
    return cut_windows(documents, sequence, seed, str(corpus.path))


def cut_windows(documents: Sequence[Document], sequence: int, seed: int, where: str) -> Windows:
    """Windows of `sequence` tokens, shuffled by `seed`; `where` names the data in messages.

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
    order = np.random.Generator(np.random.PCG64(seed)).permutation(int(labelled.sum()))
    return Windows(tokens[labelled], labels[labelled], order)


def _labelled(documents: Sequence[Document]) -> tuple[Ids, Ids]:
    """All tokens end to end, and for each the next token of its document if that is learnt, or NO_LABEL."""
    empty = np.zeros(0, np.int32)
    last = np.full(1, NO_LABEL, np.int32)
    labels = [empty]
    for document in documents:
        labels += [np.where(document.learnt, document.ids, np.int32(NO_LABEL))[1:], last]
    return np.concatenate([empty, *(document.ids for document in documents)]), np.concatenate(labels)
