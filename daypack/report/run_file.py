"""The lines that `daypack run --json` printed → what was measured, to stand beside what was modelled."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from daypack.errors import SpecError

_NUMBERS = ("step", "seconds", "peak_rss_bytes")


@dataclass(frozen=True, slots=True)
class Step:
    """One step as its line says; the byte counts are None where the line lacks them."""

    step: int
    seconds: float
    peak_rss_bytes: int
    read_bytes: int | None
    written_bytes: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run's steps; `source` is `measured` or `emulated`."""

    steps: tuple[Step, ...]
    source: str

    @property
    def peak_rss_bytes(self) -> int:
        return max(step.peak_rss_bytes for step in self.steps)

    @property
    def median_seconds(self) -> float:
        return statistics.median(step.seconds for step in self.steps)

    @property
    def read_bytes(self) -> int | None:
        """The median of a step, where every line has it."""
        return _median([step.read_bytes for step in self.steps])

    @property
    def written_bytes(self) -> int | None:
        return _median([step.written_bytes for step in self.steps])


def read_run(path: Path) -> Run:
    """Read a run's NDJSON.

    Raises:
        SpecError: it cannot be read, or a line is not a step; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SpecError(f"--run: {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"--run: {path}: expected UTF-8 text, found other bytes") from None
    rows = [_row(f"--run: {path}: line {n}", text) for n, text in enumerate(lines, start=1) if text.strip()]
    sources = {str(row["source"]) for row in rows}
    if not rows:
        raise SpecError(f"--run: {path}: expected the lines of `daypack run --json`, found none")
    if len(sources) > 1:
        raise SpecError(f"--run: {path}: expected the steps of one run, found sources {sorted(sources)}")
    return Run(tuple(_step(row) for row in rows), sources.pop())


def _row(where: str, text: str) -> dict[str, Any]:
    try:
        row: Any = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise SpecError(
            f"{where}: expected a JSON object as `daypack run --json` prints, found {text[:60]!r}"
        )
    found = cast("dict[str, Any]", row)
    for key in _NUMBERS:
        value = found.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise SpecError(f"{where}: expected a number of at least 0 as {key!r}, found {value!r}")
    if found.get("source") not in ("measured", "emulated"):
        raise SpecError(
            f"{where}: expected the source 'measured' or 'emulated', found {found.get('source')!r}"
        )
    return found


def _step(row: dict[str, Any]) -> Step:
    return Step(
        int(row["step"]),
        float(row["seconds"]),
        int(row["peak_rss_bytes"]),
        _count(row.get("read_bytes")),
        _count(row.get("written_bytes")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _median(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known and len(known) == len(values) else None
