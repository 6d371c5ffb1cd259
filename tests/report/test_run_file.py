"""The measured run that stands beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daypack.errors import SpecError
from daypack.report.run_file import read_run


def row(**changes: Any) -> dict[str, Any]:
    step = {"step": 1, "loss": 2.5, "seconds": 0.5, "tokens": 8, "peak_rss_bytes": 100, "source": "measured"}
    return {**step, **changes}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_the_peak_and_the_median(tmp_path: Path) -> None:
    steps = [row(seconds=s, peak_rss_bytes=p) for s, p in ((9.0, 100), (1.0, 120), (2.0, 110))]
    run = read_run(write(tmp_path / "r", *steps))
    assert (run.peak_rss_bytes, run.median_seconds, run.source) == (120, 2.0, "measured")
    assert (run.read_bytes, run.written_bytes) == (None, None)


def test_bytes_moved_where_every_line_has_them(tmp_path: Path) -> None:
    both = [row(read_bytes=10, written_bytes=4), row(read_bytes=30, written_bytes=6)]
    run = read_run(write(tmp_path / "r", *both))
    assert (run.read_bytes, run.written_bytes) == (20, 5)
    assert read_run(write(tmp_path / "r", *both, row())).read_bytes is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected the lines of `daypack run --json`, found none"),
        (["x"], "line 1: expected a JSON object as `daypack run --json` prints, found '\"x\"'"),
        ([row(), row(seconds=None)], "line 2: expected a number of at least 0 as 'seconds', found None"),
        ([row(peak_rss_bytes=-1)], "line 1: expected a number of at least 0 as 'peak_rss_bytes', found -1"),
        ([row(source="guessed")], "expected the source 'measured' or 'emulated', found 'guessed'"),
        ([row(), row(source="emulated")], "expected the steps of one run, found sources"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        read_run(write(tmp_path / "r.ndjson", *rows))
    assert error.value.message.startswith(f"--run: {tmp_path / 'r.ndjson'}: ")
    assert message in error.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_run(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="expected UTF-8 text"):
        read_run(tmp_path / "bytes")
