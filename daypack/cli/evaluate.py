"""`daypack eval`: what a bundle's model makes of a file, before and after training."""

from __future__ import annotations

import dataclasses
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daypack.cli import printing
from daypack.cli.via import Via

if TYPE_CHECKING:
    from daypack.api import Evaluated


OF_QUESTIONS = ("options", "questions", "accuracy", "accuracy_by_length")


class Kind(StrEnum):
    """How a file is read; as `data.kind` of a spec."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    IDS = "ids"


class Options(StrEnum):
    """What of an option is asked for."""

    LETTERS = "letters"
    TEXTS = "texts"


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="Text, JSONL, CSV of questions, or ids.")
    ],
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where the run saved; else BUNDLE.state.")
    ] = None,
    before: Annotated[bool, typer.Option("--before", help="The model before training.")] = False,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Else by the file's suffix, else as the spec says.")
    ] = None,
    options: Annotated[
        Options | None,
        typer.Option("--options", help="Of questions: else letters where CSV was learnt, texts elsewhere."),
    ] = None,
    via: Annotated[Via, typer.Option("--via", help="Where the engine runs.")] = Via.LOCAL,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Else one a core.")] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Evaluate only what this key signed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Evaluate a bundle on a file: perplexity, and of questions the share answered rightly."""
    from daypack import api

    found = api.evaluate_bundle(
        bundle,
        data=data,
        kind=None if kind is None else kind.value,
        options=None if options is None else options.value,
        state=state,
        before=before,
        via=via.value,
        threads=threads,
        public_key=public_key,
    )
    record = evaluation_record(found)
    if as_json:
        printing.print_json(record)
    else:  # of a text nothing is said of questions
        printing.print_tree(
            {key: value for key, value in record.items() if value is not None or key not in OF_QUESTIONS}
        )


def evaluation_record(found: Evaluated) -> dict[str, Any]:
    """Every figure; JSON has no infinity, so a perplexity beyond numbers is null."""
    record = {**dataclasses.asdict(found), "data": str(found.data)}
    return record if math.isfinite(found.perplexity) else {**record, "perplexity": None}
