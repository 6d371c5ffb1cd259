"""Typed access to one TOML table: every refusal names the file, the key, what was found and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from math import inf, isfinite
from typing import Any, TypeVar, cast

from daypack.devices.profile import Figure, FigureKind
from daypack.errors import SpecError

T = TypeVar("T")


class TomlTable:
    """Typed access to one TOML table that remembers which keys were read."""

    def __init__(self, data: Mapping[str, Any], where: str, path: str) -> None:
        self._data = data
        self._where = where
        self._path = path
        self._read: set[str] = set()

    def error(self, key: str, takes: str) -> SpecError:
        """The error for a key that holds something else, or nothing."""
        found = repr(self._data[key]) if key in self._data else "nothing"
        return SpecError(f"{self._where}: {self._path}{key}: found {found}, takes {takes}")

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "a text")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        if self._take(key) not in allowed:
            raise self.error(key, " or ".join(repr(value) for value in allowed))
        return str(self._data[key])

    def whole(self, key: str) -> int:
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(key, "a whole number of at least 1")
        return value

    def number(self, key: str) -> float:
        value = self._take(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value <= 0:
            raise self.error(key, "a finite number above 0")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in cast(list[Any], value)):
            raise self.error(key, "a list of texts")
        return tuple(cast(list[str], value))

    def table(self, key: str) -> TomlTable:
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.error(key, "a table")
        return TomlTable(cast(dict[str, Any], value), self._where, f"{self._path}{key}.")

    def tables(self, key: str) -> tuple[TomlTable, ...]:
        value: Any = self._take(key) if key in self._data else []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast(list[Any], value)):
            raise self.error(key, "an array of tables")
        items = cast(list[dict[str, Any]], value)
        return tuple(TomlTable(item, self._where, f"{self._path}{key}[{i}].") for i, item in enumerate(items))

    def figure(self, key: str) -> Figure:
        """`{ value = 2.4e9, source = "...", kind = "stated" }`, and perhaps `range = [low, high]`."""
        table = self.table(key)
        kinds = tuple(kind.value for kind in FigureKind)
        value, source = table.number("value"), table.text("source")
        kind = FigureKind(table.one_of("kind", kinds))
        low, high = table.optional("range", lambda name: table.range_around(name, value)) or (None, None)
        table.close()
        return Figure(value, source, kind, low, high)

    def ranged_figure(self, key: str) -> Figure:
        """A figure that has a range if it is assumed."""
        figure = self.figure(key)
        if figure.kind is FigureKind.ASSUMED and figure.low is None:
            raise self.error(key, "a range = [low, high] beside a value that is assumed")
        return figure

    def range_around(self, key: str, value: float) -> tuple[float, float]:
        """Two numbers with `value` between them."""
        found = self._take(key)
        items: list[Any] = cast(list[Any], found) if isinstance(found, list) else []
        numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
        if len(items) != 2 or len(numbers) != 2 or not 0 < numbers[0] <= value <= numbers[1] < inf:
            raise self.error(key, f"a list of two numbers above 0 with the value {value:g} between them")
        return float(numbers[0]), float(numbers[1])

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """What `read` makes of the key, or None where it is absent."""
        self._read.add(key)
        return read(key) if key in self._data else None

    def close(self) -> None:
        """Refuse the keys that nobody read."""
        for key in self._data:
            if key not in self._read:
                near = get_close_matches(key, self._read, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise SpecError(f"{self._where}: {self._path}{key}: unknown key{hint}")

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._data.get(key)
