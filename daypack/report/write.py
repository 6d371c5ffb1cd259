"""`daypack report`: a bundle in, a page and perhaps a trace out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from daypack.errors import SpecError
from daypack.planners.fields import write_text
from daypack.report.page import page
from daypack.report.record import read_record
from daypack.report.run_file import read_run
from daypack.report.trace import trace_text


@dataclass(frozen=True, slots=True)
class Written:
    """One file that was written."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a report was made of and where it is; figures are modelled."""

    bundle: Path
    page: Written | None
    trace: Written | None
    instructions: int
    peak_bytes: int
    step_seconds: float


def write_report(
    bundle: Path, *, out: Path | None = None, trace: Path | None = None, run: Path | None = None
) -> Report:
    """Draw a bundle's plan. Each file is written whole or not at all, and none before both are made.

    Raises:
        BundleError: `bundle` is none, is damaged, or has no record of its plan.
        SpecError: neither `out` nor `trace` is given, one cannot be written, or `run` is no run.
    """
    if out is None and trace is None:
        raise SpecError("nothing to write: give --out FILE.html, --trace FILE.json, or both")
    if out is not None and trace is not None and out.absolute() == trace.absolute():
        raise SpecError(f"--out and --trace both name {out}; give two files")
    for option, path in (("--out", out), ("--trace", trace)):
        if path is not None:
            _check_place(option, path, bundle)
    record = read_record(bundle)
    measured = None if run is None else read_run(run)
    made = [
        None if out is None else (out, page(record, measured)),
        None if trace is None else (trace, trace_text(record, measured)),
    ]
    written = [None if entry is None else _written(*entry) for entry in made]
    return Report(
        bundle,
        written[0],
        written[1],
        len(record.time.moments),
        record.time.peak_bytes,
        record.time.seconds,
    )


def _check_place(option: str, path: Path, bundle: Path) -> None:
    """Say what is wrong with a path before a bundle is read for it."""
    if bundle.resolve() in path.resolve().parents:
        raise SpecError(
            f"{option}: {path} lies in the bundle, which no file may be added to; give another place"
        )
    if path.is_dir():
        raise SpecError(f"{option}: {path} is a folder; give a file name in it")
    if not path.parent.is_dir():
        raise SpecError(f"{option}: {path}: there is no folder {path.parent}; make it first")


def _written(path: Path, text: str) -> Written:
    write_text(path, text)
    return Written(path, path.stat().st_size)
