"""`daypack report`: a picture of a bundle's plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daypack.cli import printing


def report(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="HTML", help="The page to write: one file, no network.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="JSON", help="A trace to write, for Perfetto.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="NDJSON", help="What `run --json` printed, to stand beside the model."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Draw a bundle's plan: memory over the step, paging, what was recomputed and why."""
    from daypack.report.write import write_report

    made = write_report(bundle, out=out, trace=trace, run=run)
    if as_json:
        printing.print_json(printing.report_record(made))
    else:
        printing.print_report(made)
