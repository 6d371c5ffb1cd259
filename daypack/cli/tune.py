"""`daypack tune`: the tilings of a step's matrix products, measured on the device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from daypack.cli import printing, progress


def tune(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a TOML file.")],
    out: Annotated[Path, typer.Option("--out", metavar="TABLE", help="The table to write.")],
    target: Annotated[
        str | None, typer.Option("--target", metavar="DEVICE", help="Instead of the spec's device.")
    ] = None,
    via: Annotated[str, typer.Option("--via", help="local or adb: where the steps are run.")] = "local",
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, max=64, help="Tilings that are tried of each product.")
    ] = 4,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Measured steps of each.")] = 5,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Else one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Measure how matrix products are best cut on a device; `compile --tuning TABLE` then cuts them so."""
    from daypack.spec import load_spec
    from daypack.tuner import tune_spec

    with progress.Stages("tune", plain=not as_json) as stages:
        result = tune_spec(
            load_spec(spec),
            out=out,
            target=target,
            via=via,
            candidates=candidates,
            steps=steps,
            threads=threads,
            on_candidate=lambda rank: stages.update(
                f"candidate {rank + 1} of {candidates}", rank / candidates
            ),
        )
        stages.update("done", 1.0)
    record = {**asdict(result), "table": str(result.table)}
    printing.print_json(record) if as_json else printing.print_tree(record)
