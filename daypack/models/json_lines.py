"""JSONL: one object a line, each a document, all of one form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.models.chat import ChatFormat, load_chat, pieces_of_chat
from daypack.models.document import Document, Encoder
from daypack.models.json_objects import once
from daypack.models.lines import read_lines

#: The keys of a line, all of them, and what they take.
_IDS_FORMS = {
    ("ids",): '{"ids": [whole numbers]}',
    ("ids", "mask"): '{"ids": [whole numbers], "mask": [0 or 1]}',
}
_FORMS = {
    ("text",): '{"text": string}',
    ("prompt", "completion"): '{"prompt": string, "completion": string}',
    ("messages",): '{"messages": [{"role": string, "content": string}]}',
    **_IDS_FORMS,
}


def read_json_lines(path: Path, encoder: Encoder, *, only_ids: bool) -> Iterator[Document]:
    """The documents of a file, empty lines left out. Learnt are all tokens of `text` and `ids`, those of
    `completion`, those of the assistant's turns, those whose `mask` is 1.

    Raises:
        SpecError: with the number of the line: no JSON object, a key unknown, missing or twice, a value of
        another type, a line of another form than those before, and what the encoder refuses.
    """
    forms = _IDS_FORMS if only_ids else _FORMS
    first: tuple[tuple[str, ...], str] | None = None
    chat: ChatFormat | None = None
    for where, line in read_lines(path):
        if not line.strip():
            continue
        fields = _object(line, where, " or ".join(forms.values()))
        form = _form(fields, forms, where)
        first = first or (form, where.rpartition(": ")[2])
        if form != first[0]:
            raise SpecError(
                f"{where}: its keys are {_listed(form)}, and those of {first[1]} are {_listed(first[0])}; "
                "put lines of each form into a file of their own"
            )
        if form[0] == "ids":
            yield _document_of_ids(fields, encoder, where)
        elif form == ("messages",):
            chat = chat or load_chat(encoder.tokenizer, where)
            yield encoder.of_pieces(pieces_of_chat(fields["messages"], chat, where), where)
        else:
            texts = [_string(fields, key, where) for key in form]
            flags = [key != "prompt" for key in form]
            yield encoder.of_pieces(list(zip(texts, flags, strict=True)), where)


def _object(line: str, where: str, expected: str) -> dict[str, Any]:
    try:
        value: object = json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected {expected}, found {json.dumps(value)[:80]}")
    return cast("dict[str, Any]", value)


def _form(fields: dict[str, Any], forms: dict[tuple[str, ...], str], where: str) -> tuple[str, ...]:
    for form in forms:
        if set(form) == set(fields):
            return form
    known = {key for form in forms for key in form}
    unknown = [key for key in fields if key not in known]
    found = f"unknown key {unknown[0]!r}" if unknown else f"the keys {_listed(tuple(fields)) or 'none'}"
    raise SpecError(f"{where}: {found}; expected {' or '.join(forms.values())}")


def _listed(form: tuple[str, ...]) -> str:
    return " and ".join(f"`{key}`" for key in form)


def _string(fields: dict[str, Any], key: str, where: str) -> str:
    value: object = fields[key]
    if not isinstance(value, str):
        raise SpecError(f"{where}: `{key}` is {json.dumps(value)[:80]}; expected a string")
    return value


def _document_of_ids(fields: dict[str, Any], encoder: Encoder, where: str) -> Document:
    ids = _numbers(fields, "ids", where)
    if "mask" not in fields:
        return encoder.of_ids(ids, where)
    mask = _numbers(fields, "mask", where)
    if mask.size != ids.size:
        raise SpecError(f"{where}: `mask` has {mask.size} values and `ids` {ids.size}; give one for each id")
    wrong = np.flatnonzero((mask != 0) & (mask != 1))
    if wrong.size:
        raise SpecError(f"{where}: position {wrong[0]} of `mask` is {mask[wrong[0]]}; expected 0 or 1")
    return encoder.of_ids(ids, where, mask == 1)


def _numbers(fields: dict[str, Any], key: str, where: str) -> NDArray[Any]:
    values: object = fields[key]
    if not isinstance(values, list):
        raise SpecError(f"{where}: `{key}` is {json.dumps(values)[:80]}; expected a list of whole numbers")
    for position, found in enumerate(cast("list[object]", values)):
        if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= 2**63:
            raise SpecError(f"{where}: position {position} of `{key}` is {found!r}; expected a whole number")
    return np.asarray(values, np.int64)
