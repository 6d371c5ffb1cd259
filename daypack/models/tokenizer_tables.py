# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A tokenizer.json as the tables that the engine tokenizes by, or a refusal by name.

Three kinds: byte-level BPE over the pieces of GPT-2, the same over those of Qwen 2 (also with up to three
digits a piece, as Llama 3 has them, and with its `ignore_merges`), and BPE of characters with byte fallback
as Gemma has it. Ids are those of the `tokenizers` library with `add_special_tokens=False`, so post-processor
and decoder play no part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.tokenizer import TOKENIZER_FILE, FileTokenizer
from daypack.models.unicode_tables import (
    character_classes,
    combining_classes,
    compositions,
    decompositions,
)

Table = NDArray[np.uint32]

GPT2, QWEN, SPACES = 1, 2, 3
EMPTY = 0xFFFFFFFF
ADDED_POINTS = 256
"""Characters of the longest added token that the engine looks ahead for."""
WHOLE_PARTS = 256
"""Tokens that merges make, at most, of a piece which is a token of its own."""
_BYTES = 256
_SPACE = "\u2581"
_QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NUMBER_RUN_OF_PATTERN = {_QWEN_PATTERN % "": 1, _QWEN_PATTERN % "{1,3}": 3}
_REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_SPLIT_SPACE = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}


@dataclass(frozen=True)
class TokenizerTables:
    """`scalars` and `tables` by the names that FORMAT.md gives them; what is missing is 0 or empty."""

    scalars: Mapping[str, int]
    tables: Mapping[str, Table] = field(default_factory=dict[str, Table])


def tokenizer_tables(tokenizer: FileTokenizer) -> TokenizerTables:
    """The tables of a tokenizer.json.

    Raises:
        SpecError: the file has something that the engine cannot do; the message names it.
    """
    return _Compiler(tokenizer.path).tables(tokenizer.vocabulary)


class _Compiler:
    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Library

        self.path = path
        # The library's own writing of the file: one form, whatever the version of the file.
        self.json: dict[str, Any] = json.loads(Library.from_file(str(path)).to_str())
        self.model: dict[str, Any] = self.json["model"]

    def tables(self, vocabulary: int) -> TokenizerTables:
        self._check_model()
        kind, number_run = self._kind()
        ids: dict[str, int] = self.model["vocab"]
        merges = self._merges(ids)
        slots = {(ids[left], ids[right]): rank for rank, (left, right) in enumerate(merges)}
        normalize = int(self.json["normalizer"] == {"type": "NFC"})
        decomposed, decomposed_starts, decomposed_points = decompositions()
        tables: dict[str, Table] = {
            "byte_ids": self._byte_ids(kind, ids),
            "results": np.array([ids[left + right] for left, right in merges], np.uint32),
            "slots": _slots(slots),
            "classes": np.zeros((1, 2), np.uint32) if kind == SPACES else character_classes(),
            "orders": np.zeros((1, 2), np.uint32),
            "decomposed_starts": np.zeros(1, np.uint32),
            "whole_starts": np.zeros(1, np.uint32),
            **self._added(),
        }
        if self.model.get("ignore_merges"):
            tables |= self._whole(ids)
        if normalize:
            tables |= {
                "orders": combining_classes(),
                "decomposed": decomposed,
                "decomposed_starts": decomposed_starts,
                "decomposed_points": decomposed_points,
                "compositions": compositions(),
            }
        if kind == SPACES:
            characters = sorted((ord(token), number) for token, number in ids.items() if len(token) == 1)
            tables["characters"] = np.array(characters, np.uint32)
            tables["pairs"] = _pairs([left + right for left, right in merges])
        scalars = {
            "kind": kind,
            "normalize": normalize,
            "number_run": number_run,
            "vocabulary": max(vocabulary, 1 + max(ids.values())),
        }
        return TokenizerTables(scalars, tables)

    def _check_model(self) -> None:
        if self.model["type"] != "BPE":
            raise self._refusal(f"a model of type {self.model['type']}")
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if self.model.get(name):
                raise self._refusal(f"model.{name} = {self.model[name]!r}")
        if self.model.get("ignore_merges") and self.model["byte_fallback"]:
            raise self._refusal("byte fallback with model.ignore_merges = True")
        for name in ("truncation", "padding"):
            if self.json[name] is not None:
                raise self._refusal(name)

    def _kind(self) -> tuple[int, int]:
        """The kind, and the most numbers in a piece (0: any)."""
        normalizer, pieces = self.json["normalizer"], self.json["pre_tokenizer"]
        if self.model["byte_fallback"]:
            if normalizer != _REPLACE_SPACE:
                raise self._refusal(f"byte fallback with the normalizer {_short(normalizer)}")
            if pieces is not None and pieces != _SPLIT_SPACE:
                raise self._refusal(f"byte fallback with the pre-tokenizer {_short(pieces)}")
            return SPACES, 0
        if normalizer is not None and normalizer != {"type": "NFC"}:
            raise self._refusal(f"the normalizer {_short(normalizer)}")
        if _is_byte_level(pieces, use_regex=True):
            return GPT2, 0
        parts = pieces["pretokenizers"] if pieces is not None and pieces["type"] == "Sequence" else []
        if len(parts) == 2 and parts[0]["type"] == "Split" and _is_byte_level(parts[1], use_regex=False):
            number_run = _NUMBER_RUN_OF_PATTERN.get(parts[0]["pattern"].get("Regex"))
            if number_run and parts[0]["behavior"] == "Isolated" and not parts[0]["invert"]:
                return QWEN, number_run
        raise self._refusal(f"the pre-tokenizer {_short(pieces)}")

    def _merges(self, ids: Mapping[str, int]) -> list[tuple[str, str]]:
        merges = [(left, right) for left, right in self.model["merges"]]
        for left, right in merges:
            if self.model["byte_fallback"] and (_is_byte(left) or _is_byte(right)):
                raise self._refusal(f"a merge of byte tokens, {left} {right}")
            if not (left in ids and right in ids and left + right in ids):
                raise self._refusal(f"a merge of tokens outside the vocabulary, {left} {right}")
        return merges

    def _byte_ids(self, kind: int, ids: Mapping[str, int]) -> Table:
        names = [f"<0x{byte:02X}>" for byte in range(_BYTES)] if kind == SPACES else _byte_characters()
        missing = [byte for byte, name in enumerate(names) if name not in ids]
        if missing:
            raise self._refusal(f"a vocabulary without a token for byte 0x{missing[0]:02x}")
        return np.array([ids[name] for name in names], np.uint32)

    def _whole(self, ids: Mapping[str, int]) -> dict[str, Table]:
        """`ignore_merges`: a piece that is a token is that token, whatever merges make of it. Here those for
        which the two differ, by what merges make: two pieces of other bytes are other ids.
        """
        from tokenizers import Tokenizer as Library

        merging = json.dumps({**self.json, "model": {**self.model, "ignore_merges": False}})
        model: Any = Library.from_str(merging).model
        characters = set(_byte_characters())
        rows: list[tuple[list[int], int]] = []
        for token, number in ids.items():
            parts = [part.id for part in model.tokenize(token)] if characters.issuperset(token) else []
            if len(parts) > WHOLE_PARTS:
                raise self._refusal(f"the token {token[:80]!r} of {len(parts)} parts")
            if parts and parts != [number]:
                rows.append((parts, number))
        rows.sort()
        return {
            "whole_starts": np.cumsum([0, *(len(parts) for parts, _ in rows)]).astype(np.uint32),
            "whole_ids": np.array([number for _, number in rows], np.uint32),
            "whole_parts": np.array([part for parts, _ in rows for part in parts], np.uint32),
        }

    def _added(self) -> dict[str, Table]:
        added: list[dict[str, Any]] = self.json["added_tokens"]
        normalizer = self.json["normalizer"]
        for token in added:
            for name in ("single_word", "lstrip", "rstrip"):
                if token[name]:
                    raise self._refusal(f"{name} of the added token {token['content']!r}")
            if token["normalized"] and normalizer is not None:
                raise self._refusal(
                    f"the added token {token['content']!r} being looked for after the normalizer"
                )
            if len(token["content"]) > ADDED_POINTS:
                raise self._refusal(f"an added token of {len(token['content'])} characters")
        if len({token["normalized"] for token in added}) > 1:
            raise self._refusal("added tokens of which some are normalized")
        rows = sorted((list(map(ord, token["content"])), token["id"]) for token in added if token["content"])
        return {
            "added_starts": np.cumsum([0, *(len(points) for points, _ in rows)]).astype(np.uint32),
            "added_ids": np.array([number for _, number in rows], np.uint32),
            "added_points": np.array([point for points, _ in rows for point in points], np.uint32),
        }

    def _refusal(self, what: str) -> SpecError:
        return SpecError(
            f"{self.path}: the engine's tokenizer cannot do this: {what}; tokenize on the host "
            f"and give ids, or use a {TOKENIZER_FILE} of the GPT-2, Qwen 2 or Gemma kind"
        )


def _short(value: object) -> str:
    return json.dumps(value)[:160]


def _is_byte_level(value: Any, *, use_regex: bool) -> bool:
    return (
        value is not None
        and value["type"] == "ByteLevel"
        and not value["add_prefix_space"]
        and value["use_regex"] is use_regex
    )


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _byte_characters() -> list[str]:
    """The character of each byte in a byte-level vocabulary: printable ones stand for themselves, the others
    follow from U+0100 on (Radford et al. 2019, `bytes_to_unicode`).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(_BYTES) if byte not in printable]
    return [chr(byte if byte in printable else 0x100 + others.index(byte)) for byte in range(_BYTES)]


def _hash(left: Table, right: Table) -> Table:
    """The engine's hash of pairs; uint32, wrapping."""
    mixed = (left * np.uint32(0x9E3779B1)) ^ (right * np.uint32(0x85EBCA77))
    return mixed ^ (mixed >> np.uint32(15))


def _slots(merges: Mapping[tuple[int, int], int]) -> Table:
    """Open addressing (n, 3) of (left, right, merge) with linear probing, at most two thirds full."""
    count = len(merges) * 3 // 2 + 1
    slots = np.full((count, 3), EMPTY, np.uint32)
    pairs = np.array(list(merges), np.uint32).reshape(-1, 2)
    places = _hash(pairs[:, 0], pairs[:, 1]).astype(np.uint64) * np.uint64(count) >> np.uint64(32)
    taken = bytearray(count)
    for (left, right), merge, place in zip(pairs.tolist(), merges.values(), places.tolist(), strict=True):
        while taken[place]:
            place = (place + 1) % count
        taken[place] = 1
        slots[place] = (left, right, merge)
    return slots


def _pairs(results: list[str]) -> Table:
    """Bits by the hash of two neighbouring characters: set for those of any merge's result."""
    words = 1 << 15
    bits = np.zeros(32 * words, np.uint8)
    neighbours = np.array(
        sorted({pair for text in results for pair in zip(text, text[1:], strict=False)})
    ).reshape(-1, 2)
    if neighbours.size:
        points = np.array([[ord(left), ord(right)] for left, right in neighbours], np.uint32)
        bits[_hash(points[:, 0], points[:, 1]) & np.uint32(32 * words - 1)] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)
