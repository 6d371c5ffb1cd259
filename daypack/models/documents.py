"""A file of the user's, or a built-in text, as a list of token sequences: one a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.tokenizer import Tokenizer

Ids = NDArray[np.int32]


class Kind(Enum):
    """How a data file is read."""

    TEXT = "text"
    """UTF-8 text: one document."""
    JSONL = "jsonl"
    """One JSON object a line, each a document: {"text": string} or {"ids": [whole numbers]}."""
    IDS = "ids"
    """A one-dimensional .npy array of token ids (one document), or JSONL with "ids"."""


_KIND_OF_SUFFIX = {".jsonl": Kind.JSONL, ".npy": Kind.IDS}
PYDOC = "pydoc"


def kind_of(path: Path) -> Kind:
    """The kind that a file's suffix tells, for a file named without one: text unless .jsonl or .npy."""
    return _KIND_OF_SUFFIX.get(path.suffix, Kind.TEXT)


def read_documents(path: Path, kind: Kind, tokenizer: Tokenizer | None, vocabulary: int) -> list[Ids]:
    """The documents of a file as ids, every id in [0, vocabulary).

    Raises:
        SpecError: no such file, empty, not UTF-8, a bad line (with its number), an id outside the vocabulary.
    """
    if not path.is_file():
        raise SpecError(f"{path}: no such file; data.path takes a text, JSONL or .npy file")
    if path.stat().st_size == 0:
        raise SpecError(f"{path}: the file is empty")
    if kind is Kind.TEXT:
        documents = [_checked(_encoded(tokenizer, _read_text(path), str(path)), vocabulary, str(path))]
    elif kind is Kind.IDS and path.suffix == ".npy":
        documents = [_checked(_read_npy(path), vocabulary, str(path))]
    else:
        documents = list(_read_jsonl(path, kind, tokenizer, vocabulary))
    if not any(document.size for document in documents):
        raise SpecError(f"{path}: no tokens in it")
    return documents


def builtin_documents(name: str, tokenizer: Tokenizer | None, vocabulary: int) -> list[Ids]:
    """A text without a file. `pydoc`: the English help topics every CPython carries, in key order."""
    if name != PYDOC:
        raise SpecError(f"data.builtin is {name!r}; the built-in texts are: {PYDOC}")
    from pydoc_data import topics

    text = "\n".join(topics.topics[key] for key in sorted(topics.topics))
    return [_checked(_encoded(tokenizer, text, "data.builtin"), vocabulary, f"built-in text {name}")]


def _read_text(path: Path) -> str:
    return _decoded(path.read_bytes(), str(path))


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{where}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; save the file as UTF-8"
        ) from error


def _read_jsonl(path: Path, kind: Kind, tokenizer: Tokenizer | None, vocabulary: int) -> Iterator[Ids]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}: line {number}"
            if line.strip():
                yield _checked(_document(_json(line, where), kind, tokenizer, where), vocabulary, where)


def _json(line: bytes, where: str) -> object:
    try:
        return cast("object", json.loads(_decoded(line, where)))
    except json.JSONDecodeError as error:
        raise SpecError(f"{where}: not JSON ({error})") from error


def _document(value: object, kind: Kind, tokenizer: Tokenizer | None, where: str) -> NDArray[Any]:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text, ids = fields.get("text"), fields.get("ids")
    if kind is Kind.JSONL and isinstance(text, str):
        return _encoded(tokenizer, text, where)
    if isinstance(ids, list):
        return _as_ids(cast("list[Any]", ids), where)
    expected = (
        '{"ids": [whole numbers]}' if kind is Kind.IDS else '{"text": string} or {"ids": [whole numbers]}'
    )
    raise SpecError(f"{where}: expected {expected}, found {json.dumps(value)[:80]}")


def _as_ids(values: list[Any], where: str) -> NDArray[Any]:
    for position, found in enumerate(values):
        if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= 2**63:
            raise SpecError(f"{where}: position {position} of `ids` is {found!r}; expected a whole number")
    return np.asarray(values, np.int64)


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


def _encoded(tokenizer: Tokenizer | None, text: str, where: str) -> Ids:
    if tokenizer is None:
        raise SpecError(f"{where}: text needs a tokenizer; set data.tokenizer")
    return tokenizer.encode(text)


def _checked(ids: NDArray[Any], vocabulary: int, where: str) -> Ids:
    outside = np.flatnonzero((ids < 0) | (ids >= vocabulary))
    if outside.size:
        position = int(outside[0])
        raise SpecError(
            f"{where}: token id {int(ids[position])} at position {position} is outside the model's "
            f"vocabulary [0, {vocabulary}); use the model's own tokenizer"
        )
    return ids.astype(np.int32)
