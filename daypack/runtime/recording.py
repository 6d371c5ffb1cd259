"""Recordings: a device's day as data, read from a CSV file of documented columns.

A row holds until the next one, the last until the end of its day. The file is UTF-8 with this header:

    t_s,charging,charge_w,screen,foreground_w,ambient_c,mem_available_mb

`t_s`: seconds since a midnight, ascending, the first 0. `charging`, `screen`: 0 or 1. `charge_w`: what the
charger gives. `foreground_w`: what the owner's own use draws, display included. `ambient_c`: the air.
`mem_available_mb`: MB of 10⁶ bytes that the system could give.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path

from daypack.errors import SpecError

DAY_S = 86400.0


class RecordingError(SpecError):
    """A recording is not what it should be; the message names file, line and column."""


@dataclass(frozen=True, slots=True)
class Row:
    """The state of the device from `t_s` on."""

    t_s: float
    charging: bool
    charge_w: float
    screen: bool
    foreground_w: float
    ambient_c: float
    mem_available_mb: float


COLUMNS = tuple(field.name for field in fields(Row))
_BOUNDS = {
    "t_s": (0.0, 400 * DAY_S),
    "charge_w": (0.0, 500.0),
    "foreground_w": (0.0, 500.0),
    "ambient_c": (-60.0, 70.0),
    "mem_available_mb": (0.0, 1e7),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows in ascending time and the end, which is at least a second after the last row."""

    name: str
    rows: tuple[Row, ...]
    end_s: float


def read_recording(path: Path) -> Recording:
    """Read and check a CSV file. Raises `RecordingError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"cannot read the recording {path}: {error}") from error
    return parse_recording(text, name=path.stem, where=str(path))


def parse_recording(text: str, *, name: str, where: str) -> Recording:
    """A recording from CSV text; `where` names it in errors."""
    lines = list(csv.reader(StringIO(text)))
    if not lines or tuple(lines[0]) != COLUMNS:
        found = ",".join(lines[0]) if lines else "nothing"
        raise RecordingError(f"{where}: line 1: found {found!r}, takes the header {','.join(COLUMNS)}")
    rows = tuple(_row(cells, f"{where}: line {line}") for line, cells in enumerate(lines[1:], start=2))
    return recording(name, rows, where=where)


def recording(name: str, rows: Iterable[Row], *, where: str) -> Recording:
    """Rows as a recording that ends with the last row's day; checks their times."""
    kept = tuple(rows)
    if not kept:
        raise RecordingError(f"{where}: found no rows, takes at least one")
    if kept[0].t_s != 0:
        raise RecordingError(
            f"{where}: line 2: t_s: found {kept[0].t_s:g}, takes 0, a midnight, in the first row"
        )
    for line, (before, after) in enumerate(zip(kept, kept[1:], strict=False), start=3):
        if after.t_s - before.t_s < 1:
            raise RecordingError(
                f"{where}: line {line}: t_s: found {after.t_s:g} after {before.t_s:g}, takes a time "
                "at least a second later"
            )
    return Recording(name, kept, DAY_S * (math.floor(kept[-1].t_s / DAY_S) + 1))


def write_recording(made: Recording, path: Path) -> None:
    """Write the CSV file that `read_recording` reads."""
    lines = [",".join(COLUMNS)]
    for row in made.rows:
        cells = (getattr(row, column) for column in COLUMNS)
        lines.append(",".join(str(int(c)) if isinstance(c, bool) else f"{c:g}" for c in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(cells: list[str], where: str) -> Row:
    if len(cells) != len(COLUMNS):
        raise RecordingError(f"{where}: found {len(cells)} columns, takes {len(COLUMNS)}")
    named = dict(zip(COLUMNS, cells, strict=True))
    numbers = {
        column: _number(named[column], bounds, f"{where}: {column}") for column, bounds in _BOUNDS.items()
    }
    return Row(
        charging=_flag(named["charging"], f"{where}: charging"),
        screen=_flag(named["screen"], f"{where}: screen"),
        **numbers,
    )


def _number(text: str, bounds: tuple[float, float], where: str) -> float:
    low, high = bounds
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise RecordingError(f"{where}: found {text!r}, takes a number from {low:g} to {high:g}")
    return value


def _flag(text: str, where: str) -> bool:
    if text not in ("0", "1"):
        raise RecordingError(f"{where}: found {text!r}, takes 0 or 1")
    return text == "1"
