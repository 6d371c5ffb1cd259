"""Fields of exchanged files: read one and check it, or say where it is wrong, what was expected and found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from daypack.planners.problem import MAX_BYTES, ProblemError

FileId = int | str


def read_text(path: Path) -> str:
    """A file's text; `ProblemError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProblemError(f"{path}: expected UTF-8 text, found other bytes") from None


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ProblemError(f"{path}: cannot be written: {error.strerror}; choose another path") from None


def parse_json(text: str, where: str) -> object:
    """The value of a JSON text; not-a-number, repeated keys and everything that is not JSON are refused."""

    def constant(name: str) -> NoReturn:
        raise ProblemError(f"{where}: {name} is not a JSON number")

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=_without_repeats)
    except _RepeatedKey as error:
        raise ProblemError(f"{where}: the key {error.args[0]!r} is given twice in one object") from None
    except json.JSONDecodeError as error:
        raise ProblemError(f"{where}: line {error.lineno}: not JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise ProblemError(f"{where}: not usable JSON: {error}") from None


class _RepeatedKey(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKey(key)
            seen.add(key)
    return row


def as_object(where: str, value: object, known: set[str], required: set[str]) -> dict[str, Any]:
    """An object with no unknown key and every required one."""
    if not isinstance(value, dict):
        raise ProblemError(f"{where}: expected an object, found {_kind(value)}")
    row = cast(dict[str, Any], value)
    for key in row:
        if key not in known:
            raise ProblemError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for key in sorted(required):
        if key not in row:
            raise ProblemError(f"{where}: {key!r} is missing")
    return row


def check_format(where: str, root: Mapping[str, Any], expected: str) -> None:
    """The ``format`` key says what the reader expects."""
    if root["format"] != expected:
        raise ProblemError(f"{where}: format must be {expected!r}, found {root['format']!r}")


def as_list(where: str, value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ProblemError(f"{where}: expected a list, found {_kind(value)}")
    return cast(list[Any], value)


def as_id(where: str, value: object) -> FileId:
    """An id: an integer or a string."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ProblemError(f"{where}: an id must be an integer or a string, found {_kind(value)}")
    return value


def as_integer(where: str, value: object) -> int:
    """An integer of at least 0 below 2^62."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProblemError(f"{where}: expected an integer, found {_kind(value)}")
    if value < 0:
        raise ProblemError(f"{where}: must be at least 0, found {value}")
    if value >= MAX_BYTES:
        raise ProblemError(f"{where}: overflows: must be below 2^62, found {value}")
    return value


def as_number(where: str, value: object) -> float:
    """A number of at least 0, at most 1e300."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProblemError(f"{where}: expected a number, found {_kind(value)}")
    if value < 0:
        raise ProblemError(f"{where}: must be at least 0, found {value}")
    if value > 1e300:
        raise ProblemError(f"{where}: overflows: must be at most 1e300, found a larger number")
    return value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else repr(value)
