"""Text to token ids: one byte a token, or a `tokenizer.json` through the `tokenizers` library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError

TOKENIZER_FILE = "tokenizer.json"
BYTES = "bytes"


class Tokenizer(Protocol):
    """`vocabulary` is one more than the highest id; `path` is the tokenizer.json, or None for bytes."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def path(self) -> Path | None: ...

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids (n,) of `text`, with no special tokens added."""
        ...


class ByteTokenizer:
    """The UTF-8 bytes of the text: a vocabulary of 256."""

    vocabulary = 256
    path = None

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


class FileTokenizer:
    """A Hugging Face `tokenizer.json`."""

    def __init__(self, path: Path) -> None:
        # Imported here: byte-level runs need neither the library nor its start-up time.
        from tokenizers import Tokenizer as Library

        self.path = path
        try:
            self._library: Any = Library.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every kind of bad file
            raise SpecError(f"{path}: not readable as a {TOKENIZER_FILE} ({error})") from error

    @property
    def vocabulary(self) -> int:
        ids: dict[str, int] = self._library.get_vocab(with_added_tokens=True)
        return max(ids.values(), default=-1) + 1

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.asarray(self._library.encode(text, add_special_tokens=False).ids, np.int32)


def load_tokenizer(setting: Path | str) -> Tokenizer:
    """The tokenizer that `"bytes"` or the path of a tokenizer.json names.

    Raises:
        SpecError: the file does not exist or is not a tokenizer.
    """
    if setting == BYTES:
        return ByteTokenizer()
    path = Path(setting)
    if not path.is_file():
        raise SpecError(
            f'{path}: no such tokenizer; data.tokenizer takes "{BYTES}" or the path of a {TOKENIZER_FILE}'
        )
    return FileTokenizer(path)
