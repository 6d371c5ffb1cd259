"""Reading a model's config: every refusal names the field, what it got and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from daypack.errors import SpecError


class ConfigReader:
    """Typed access to one config mapping, remembering which fields were asked for.

    `where` names the config in messages (a path, or `model.config` of the spec). Absent and null fields take
    the default; a default of None means that the field has to be there.
    """

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._config = config
        self._where = where
        self._known: set[str] = set()

    def __contains__(self, field: str) -> bool:
        return self._config.get(field) is not None

    def __bool__(self) -> bool:
        return bool(self._config)

    def error(self, field: str, found: object, expected: str) -> SpecError:
        return SpecError(f"{self._where}: `{field}` is {found!r}; expected {expected}")

    def _get(self, field: str, default: object) -> object:
        self._known.add(field)
        found = self._config.get(field)
        return default if found is None else found

    def positive(self, field: str, default: int | None) -> int:
        """A whole number of at least 1."""
        found = self._get(field, default)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise self.error(field, found, "a whole number of at least 1")
        return found

    def positive_number(self, field: str, default: float | None) -> float:
        """A number above 0."""
        found = self._get(field, default)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found < float("inf"):
            raise self.error(field, found, "a number above 0")
        return float(found)

    def fraction(self, field: str, default: float) -> float:
        """A number in [0, 1)."""
        found = self._get(field, default)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < 1:
            raise self.error(field, found, "a number from 0 up to, but not including, 1")
        return float(found)

    def boolean(self, field: str, default: bool) -> bool:
        found = self._get(field, default)
        if not isinstance(found, bool):
            raise self.error(field, found, "true or false")
        return found

    def words(self, field: str, takes: tuple[str, ...], count: int) -> tuple[str, ...] | None:
        """A list of `count` words out of `takes`; None where there is none."""
        found = self._get(field, None)
        if found is None:
            return None
        entries = cast("list[object]", found) if isinstance(found, list) else [found]
        if len(entries) != count or any(entry not in takes for entry in entries):
            raise self.error(field, entries, f"a list of {count} out of {', '.join(map(repr, takes))}")
        return tuple(str(entry) for entry in entries)

    def table(self, field: str) -> ConfigReader:
        """The fields of a table inside this one; empty where there is none."""
        found = self._get(field, {})
        if not isinstance(found, dict):
            raise self.error(field, found, "a table of fields")
        return ConfigReader(cast("dict[str, Any]", found), f"{self._where}: {field}")

    def only(self, field: str, supported: tuple[object, ...]) -> object:
        """The field's value, one of `supported`; the first of them is what absence means."""
        found = self._get(field, supported[0])
        if found not in supported:
            names = " or ".join(repr(value) for value in supported)
            raise self.error(field, found, f"{names}: Daypack does not compute any other setting")
        return found

    def refuse_unknown(self, besides: tuple[str, ...] = ()) -> None:
        """A config written by hand must hold only fields that were read; a published one may hold more."""
        known = self._known | set(besides)
        for field in self._config:
            if field not in known:
                near = get_close_matches(field, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"
                raise SpecError(f"{self._where}: unknown field `{field}`; {hint}")


def as_config(value: object, where: str) -> Mapping[str, Any]:
    """The JSON object a config must be."""
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return cast("dict[str, Any]", value)
