"""`daypack simulate` and `daypack study`: policies on recorded days, without a phone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daypack.cli import printing, progress
from daypack.errors import SpecError

if TYPE_CHECKING:
    from daypack.runtime.simulator import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
HOUR_S = 3600.0


def simulate(
    device: Annotated[str, typer.Option("--device", metavar="D", help="A device, or a profile.toml.")],
    recording: Annotated[
        str, typer.Option("--recording", metavar="R", help="A CSV file, or OWNER:SEED for made-up days.")
    ],
    policy: Annotated[str, typer.Option("--policy", metavar="P", help="A policy, or FILE.py:NAME.")],
    bundle: Annotated[Path | None, typer.Option("--bundle", metavar="B", help="Whose steps are run.")] = None,
    workload: Annotated[
        str,
        typer.Option("--workload", metavar="NAME", help="Without a bundle: a step that is known by name."),
    ] = "gpt2-lora",
    chosen: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the policy; may be repeated."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the job.")] = 1000,
    start: Annotated[float, typer.Option("--start", metavar="H", help="Hour at which it begins.")] = 18.0,
    deadline: Annotated[float, typer.Option("--deadline", metavar="H", help="Hours it may take.")] = 12.0,
    battery: Annotated[float, typer.Option("--battery", help="Charge at the beginning of the day.")] = 0.9,
    reserve: Annotated[float, typer.Option("--reserve", help="Share of the battery left alone.")] = 0.2,
    skin: Annotated[float, typer.Option("--skin", metavar="C", help="Highest skin temperature.")] = 42.0,
    only_charging: Annotated[bool, typer.Option("--only-charging", help="Run on the charger only.")] = False,
    only_screen_off: Annotated[
        bool, typer.Option("--only-screen-off", help="Run while the screen is off only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate a job on a device through a recorded day; every figure is modelled."""
    from daypack.runtime.limits import Limits
    from daypack.runtime.simulator import Job
    from daypack.runtime.study import Case, load_workload, run_case

    limits = Limits(
        reserve=reserve, skin_celsius=skin, only_charging=only_charging, only_screen_off=only_screen_off
    )
    job = Job(steps, start * HOUR_S, (start + deadline) * HOUR_S, battery)
    work = load_workload(str(bundle) if bundle else workload)
    parameters = _parameters(chosen or [])
    case = Case(device, recording, policy, work, job, limits, parameters=parameters)
    outcome = run_case(case, traced=False)
    record = outcome_record(outcome)
    printing.print_json(record) if as_json else printing.print_tree(record)


def _parameters(chosen: list[str]) -> dict[str, float]:
    """`NAME=VALUE` each; the policy says whether it has them."""
    found: dict[str, float] = {}
    for text in chosen:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise SpecError(f"--set: found {text!r}, takes NAME=VALUE with a number") from None
    return found


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Every figure of an outcome."""
    fields = (field.name for field in dataclasses.fields(outcome) if field.name != "trace")
    return {name: getattr(outcome, name) for name in fields}


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="What is crossed with what.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="For the table and the page.")],
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Else one a core.")] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler's, instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Cross policies, devices, recordings and workloads; write a table and a page."""
    from daypack.report.study_page import write_study_page
    from daypack.runtime.study import read_study, write_table
    from daypack.runtime.study_workers import run_study

    plan = read_study(file)
    if out.exists() and not out.is_dir():
        raise SpecError(f"--out {out}: there is a file of that name, takes a folder")
    with progress.Stages("study", plain=not as_json) as stages:
        rows = run_study(
            plan,
            workers=workers,
            cluster=cluster,
            on_done=lambda done: stages.update("simulate", done / len(plan)),
        )
    out.mkdir(parents=True, exist_ok=True)
    table, page = out / "study.csv", out / "study.html"
    write_table(rows, table)
    write_study_page(rows, page)
    record = {"cases": len(rows), "table": str(table), "page": str(page), "source": "modelled"}
    printing.print_json(record) if as_json else printing.print_tree(record)
