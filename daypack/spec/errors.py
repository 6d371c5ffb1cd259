"""Pydantic's complaints about a spec, said in the spec's own words: one line a mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_KIND: dict[object, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


def keys_of(schema: type[BaseModel]) -> dict[str, FieldInfo]:
    """Every key a spec may have, `section.key` -> its field, and every section by its name."""
    keys: dict[str, FieldInfo] = {}
    for section, field in schema.model_fields.items():
        keys[section] = field
        for name, inner in section_of(field).model_fields.items():
            keys[f"{section}.{inner.alias or name}"] = inner
    return keys


def section_of(field: FieldInfo) -> type[BaseModel]:
    """The section class of a top-level field, which may be optional."""
    candidates = get_args(field.annotation) or (field.annotation,)
    return next(entry for entry in candidates if isinstance(entry, type) and issubclass(entry, BaseModel))


def describe(error: ValidationError, schema: type[BaseModel], document: Mapping[str, Any]) -> list[str]:
    """One line a mistake: the full key, what it got, what it takes."""
    return list(dict.fromkeys(_lines(error, keys_of(schema), document)))


def _lines(error: ValidationError, keys: dict[str, FieldInfo], document: Mapping[str, Any]) -> Iterator[str]:
    for detail in error.errors():
        if detail["type"] != "default_factory_not_called":
            yield _line(detail, keys, document)


def _line(detail: ErrorDetails, keys: dict[str, FieldInfo], document: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail["loc"]]
    context = detail.get("ctx", {})
    if detail["type"] == "conflict":
        return f"{'.'.join([*path, context['key']])}: {context['text']}"
    if detail["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: unknown key; {_hint(path, keys)}"
    key = ".".join(path[:2])
    takes = _takes(key, keys)
    if detail["type"] == "missing" and len(path) <= 2:
        return f"{key}: missing; takes {takes}"
    if detail["type"] == "device":
        return f"{key}: {context['text']}"
    if key == "model.config" and len(path) > 2:
        key, takes = f"{key}.{path[2]}", "a text, number, boolean, or a list or table of these"
        return f"{key}: got {_show(_at(document, path[:3]))}, takes {takes}"
    return f"{key}: got {_show(_at(document, path[:2]))}, takes {takes}"


def _takes(key: str, keys: dict[str, FieldInfo]) -> str:
    if "." not in key:
        return f"a section [{key}]"
    return keys[key].description or ""


def _hint(path: list[str], keys: dict[str, FieldInfo]) -> str:
    """The nearest known key: in the same section, then the same name elsewhere, then anything alike."""
    section, leaf = path[0], path[-1]
    here = (
        {key.rpartition(".")[2]: key for key in keys if key.startswith(f"{section}.")}
        if len(path) > 1
        else {}
    )
    everywhere = {key.rpartition(".")[2]: key for key in keys}
    for table in (here, everywhere):
        near = get_close_matches(leaf, table, n=1)
        if near:
            return f"did you mean {table[near[0]]}?"
    known = sorted(here) or sorted(key for key in keys if "." not in key)
    return f"known here: {', '.join(known)}"


def _at(document: Mapping[str, Any], path: list[str]) -> object:
    value: Any = document
    for part in path:
        value = cast(Mapping[str, Any], value)[part]
    return value


def _show(value: object) -> str:
    """The value as TOML writes it, with its kind: `"fast" (a text)`."""
    kind = _KIND.get(type(value), f"a {type(value).__name__}")
    text = (
        str(value)
        if kind.startswith("a date") or kind.startswith("a time")
        else json.dumps(value, default=str)
    )
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kind})"
