"""A spec from TOML, and back to it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from daypack.errors import SpecError
from daypack.spec.errors import describe
from daypack.spec.schema import BASE, TrainSpec

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load_spec(path: Path) -> TrainSpec:
    """Read and check a spec file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read the spec {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"cannot read the spec {path}: not UTF-8 at byte {error.start}") from error
    return parse_spec(text, base=path.parent.resolve(), where=str(path))


def parse_spec(text: str, *, base: Path | None = None, where: str = "spec") -> TrainSpec:
    """Check a spec given as TOML text; `where` names it in errors, relative paths start from `base`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not TOML: {error}") from error
    return check_spec(document, base=base, where=where)


def check_spec(document: Mapping[str, Any], *, base: Path | None = None, where: str = "spec") -> TrainSpec:
    """Check a spec given as nested tables."""
    try:
        return TrainSpec.model_validate(dict(document), context={BASE: base or Path()})
    except ValidationError as error:
        lines = describe(error, TrainSpec, document)
        raise SpecError("\n".join(f"{where}: {line}" for line in lines)) from error


def to_toml(spec: TrainSpec) -> str:
    """The TOML of what the spec declares, defaults left out; `parse_spec(to_toml(spec)) == spec`.

    Paths come out as they were resolved.
    """
    declared = spec.model_dump(by_alias=True, exclude_unset=True)
    return "\n".join(_tables("", declared)).lstrip("\n") + "\n"


def _tables(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table: its own values first, then the tables in it."""
    if path:
        yield f"\n[{path}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _tables(f"{path}.{_key(key)}" if path else _key(key), cast(dict[str, Any], value))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in cast(list[object], value))}]"
    if isinstance(value, str | Path):
        return _text(str(value))
    return repr(value).lower()


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for the DEL character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
