"""`daypack plan` and `daypack layout`: planners and layouts on files, without JAX or TVM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daypack.cli import printing

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
TimeLimit = Annotated[float, typer.Option("--time-limit", metavar="S", help="Seconds the search may take.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same answer.")]


def plan(
    problem: Annotated[Path, typer.Argument(metavar="PROBLEM", help="A daypack-problem/1 JSON file.")],
    memory: Annotated[int, typer.Option("--memory", metavar="BYTES", help="The budget, in bytes.")],
    out: Annotated[Path, typer.Option("--out", metavar="PLAN", help="The daypack-plan/1 file to write.")],
    planner: Annotated[
        str, typer.Option("--planner", metavar="NAME", help="Which planner; auto by itself.")
    ] = ("auto"),
    time_limit: TimeLimit = 10.0,
    threads: Annotated[int, typer.Option("--threads", help="Threads the search may use.")] = 1,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Plan a problem file under a memory budget and write the judged plan."""
    from daypack.planners.doors import plan_file

    row = plan_file(
        problem,
        out,
        memory_bytes=memory,
        planner=planner,
        time_limit_s=time_limit,
        threads=threads,
        seed=seed,
    )
    printing.print_json(row) if as_json else printing.print_tree(row)


def layout(
    buffers: Annotated[Path, typer.Argument(metavar="BUFFERS", help="CSV: id,lower,upper,size.")],
    out: Annotated[Path, typer.Option("--out", metavar="CSV", help="The same with offsets.")],
    capacity: Annotated[
        int | None, typer.Option("--capacity", metavar="N", help="Stop at a layout that fits in N bytes.")
    ] = None,
    time_limit: TimeLimit = 10.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Give buffers with lifetimes their places in one arena."""
    from daypack.planners.doors import layout_file

    row = layout_file(buffers, out, capacity_bytes=capacity, time_limit_s=time_limit, seed=seed)
    printing.print_json(row) if as_json else printing.print_tree(row)
