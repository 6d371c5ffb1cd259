"""A document: token ids, and which of them are learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.tokenizer import Tokenizer

Ids = NDArray[np.int32]
NO_LABEL = -100
"""The label of a position that has none, as in PyTorch and `transformers`."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")  #: which JSON can write and UTF-8 cannot
Piece = tuple[str, bool]
"""A text, and whether its tokens are learnt."""


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """`ids` int32 (n,); `learnt` bool (n,): where the token is a label of the position before it."""

    ids: Ids
    learnt: NDArray[np.bool_]

    @property
    def labels(self) -> Ids:
        """Of each position the next token if that is learnt, or NO_LABEL; int32 (n,)."""
        labels = np.full(self.ids.size, NO_LABEL, np.int32)
        labels[:-1] = np.where(self.learnt, self.ids, np.int32(NO_LABEL))[1:]
        return labels


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes documents of a vocabulary: every id in [0, `vocabulary`), or SpecError."""

    tokenizer: Tokenizer | None
    vocabulary: int

    def of_text(self, text: str, where: str) -> Document:
        """A text whose every token is learnt."""
        return self.of_pieces([(text, True)], where)

    def of_pieces(self, pieces: Sequence[Piece], where: str) -> Document:
        """Pieces end to end. Each is tokenized by itself, so that no token is half learnt. Half a surrogate
        pair counts as U+FFFD.
        """
        if self.tokenizer is None:
            raise SpecError(f"{where}: text needs a tokenizer; set data.tokenizer")
        parts = [self.tokenizer.encode(_HALF_PAIR.sub("\ufffd", text)) for text, _ in pieces]
        learnt = [np.full(part.size, flag) for part, (_, flag) in zip(parts, pieces, strict=True)]
        return self.of_ids(np.concatenate(parts), where, np.concatenate(learnt))

    def of_ids(self, ids: NDArray[Any], where: str, learnt: NDArray[np.bool_] | None = None) -> Document:
        """Ids as they are, all learnt or those that `learnt` says."""
        outside = np.flatnonzero((ids < 0) | (ids >= self.vocabulary))
        if outside.size:
            position = int(outside[0])
            raise SpecError(
                f"{where}: token id {int(ids[position])} at position {position} is outside the model's "
                f"vocabulary [0, {self.vocabulary}); use the model's own tokenizer"
            )
        return Document(ids.astype(np.int32), np.ones(ids.size, np.bool_) if learnt is None else learnt)
