"""A file of the user's, or a built-in text, as a list of documents."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.document import Document, Encoder
from daypack.models.json_lines import read_json_lines
from daypack.models.lines import decoded
from daypack.models.multiple_choice import read_multiple_choice
from daypack.models.tokenizer import Tokenizer


class Kind(Enum):
    """How a data file is read."""

    TEXT = "text"
    """UTF-8 text: one document."""
    JSONL = "jsonl"
    """One JSON object a line, each a document: `text`, `prompt` and `completion`, `messages`, `ids`, or `ids`
    and `mask`."""
    CSV = "csv"
    """Multiple choice: question, A, B, C, D, answer."""
    IDS = "ids"
    """A one-dimensional .npy array of token ids (one document), or JSONL with `ids`, or `ids` and `mask`."""


_KIND_OF_SUFFIX = {".jsonl": Kind.JSONL, ".ndjson": Kind.JSONL, ".csv": Kind.CSV, ".npy": Kind.IDS}
PYDOC = "pydoc"


def kind_of(path: Path) -> Kind:
    """The kind that a file's suffix tells in any case, for a file named without one: text for any other."""
    return _KIND_OF_SUFFIX.get(path.suffix.lower(), Kind.TEXT)


def read_documents(path: Path, kind: Kind, tokenizer: Tokenizer | None, vocabulary: int) -> list[Document]:
    """The documents of a file as ids, every id in [0, vocabulary).

    Raises:
        SpecError: no such file, empty, a bad line (with its number), an id outside the vocabulary.
    """
    if not path.is_file():
        raise SpecError(f"{path}: no such file; data.path takes a text, JSONL, CSV or .npy file")
    if path.stat().st_size == 0:
        raise SpecError(f"{path}: the file is empty")
    encoder = Encoder(tokenizer, vocabulary)
    if kind is Kind.TEXT:
        documents = [encoder.of_text(decoded(path.read_bytes()), str(path))]
    elif kind is Kind.CSV:
        documents = list(read_multiple_choice(path, encoder))
    elif kind is Kind.IDS and path.suffix.lower() == ".npy":
        documents = [encoder.of_ids(_read_npy(path), str(path))]
    else:
        documents = list(read_json_lines(path, encoder, only_ids=kind is Kind.IDS))
    if not any(document.ids.size for document in documents):
        raise SpecError(f"{path}: no tokens in it")
    return documents


def builtin_documents(name: str, tokenizer: Tokenizer | None, vocabulary: int) -> list[Document]:
    """A text without a file. `pydoc`: the English help topics every CPython carries, in key order."""
    if name != PYDOC:
        raise SpecError(f"data.builtin is {name!r}; the built-in texts are: {PYDOC}")
    from pydoc_data import topics

    text = "\n".join(topics.topics[key] for key in sorted(topics.topics))
    return [Encoder(tokenizer, vocabulary).of_text(text, f"built-in text {name}")]


def _read_npy(path: Path) -> NDArray[Any]:
    load: Callable[..., Any] = np.load
    try:
        array: Any = np.asarray(load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise SpecError(f"{path}: not a .npy array ({error})") from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SpecError(
            f"{path}: expected a one-dimensional array of whole numbers, found "
            f"{array.dtype} {list(array.shape)}"
        )
    return array
