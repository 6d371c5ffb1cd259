"""How results look: JSON records for programs, tables and plain lines for people."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from daypack.api import CompileResult, StepEvent
    from daypack.cli.doctor import Check
    from daypack.devices import Profile
    from daypack.errors import DaypackError
    from daypack.report.write import Report

PREDICTED = (
    "peak_bytes",
    "step_seconds",
    "step_joules",
    "flash_read_bytes",
    "flash_written_bytes",
    "source",
)
PIPE_COLUMNS = 240
LOST = {
    "engine_tokenizer": "the engine cannot tokenize by itself",
    "chat_template": "the bundle takes no `messages`",
}
PLAN_COLUMNS = ("plan", "order", "budget", "peak", "time", "energy", "power by shard", "read", "written")
STEP = ("step", "loss", "seconds", "tokens", "peak_rss_bytes", "read_bytes", "written_bytes", "source")


def print_json(record: object) -> None:
    """One object on one line, at once, so that a reader of the pipe sees each step as it ends."""
    print(json.dumps(record), flush=True)


def print_error(error: DaypackError, *, as_json: bool) -> None:
    """`error: ...` on stderr, or one JSON object on stdout."""
    if as_json:
        print_json({**error.details(), "message": error.message})
    else:
        print(f"error: {error.message}", file=sys.stderr)


def compile_record(result: CompileResult) -> dict[str, Any]:
    """The documented keys, and no others."""
    return {
        "bundle": str(result.bundle),
        "predicted": {key: getattr(result.predicted, key) for key in PREDICTED},
        "kernels": result.kernels,
        "shards": result.shards,
        "compile_seconds": result.compile_seconds,
        "plans": [dict(plan) for plan in result.plans],
        "refused": dict(result.refused),
    }


def print_compiled(result: CompileResult) -> None:
    """The bundle, and what the plan promises; the promises say that they are modelled."""
    from daypack.spec import format_size

    predicted = result.predicted
    joules = "unknown" if predicted.step_joules is None else f"{predicted.step_joules:.3g} J"
    print(f"bundle         {result.bundle}")
    print(f"kernels        {result.kernels}")
    print(f"shards         {result.shards}")
    print(f"compiled in    {result.compile_seconds:.1f} s")
    print(f"{predicted.source}, one step:")
    print(f"  peak memory  {format_size(predicted.peak_bytes)}")
    print(f"  time         {predicted.step_seconds:.3g} s")
    print(f"  energy       {joules}")
    print(f"  flash read   {format_size(predicted.flash_read_bytes)}")
    print(f"  flash write  {format_size(predicted.flash_written_bytes)}")
    if len(result.plans) > 1:
        _print_table(PLAN_COLUMNS, [_plan_row(plan) for plan in result.plans])
    for name, reason in result.refused.items():
        print(f"warning: {LOST[name]}: {reason}", file=sys.stderr)


def _plan_row(plan: Mapping[str, Any]) -> tuple[str, ...]:
    from daypack.spec import format_size

    joules, watts = plan["step_joules"], (plan["mean_watts"], plan["peak_watts"])
    return (
        plan["file"],
        plan["order"],
        "none" if plan["budget_bytes"] is None else format_size(plan["budget_bytes"]),
        format_size(plan["peak_bytes"]),
        f"{plan['step_seconds']:.3g} s",
        "unknown" if joules is None else f"{joules:.3g} J",
        "unknown" if None in watts else f"{watts[0]:.3g}, at most {watts[1]:.3g} W",
        format_size(plan["flash_read_bytes"]),
        format_size(plan["flash_written_bytes"]),
    )


def report_record(made: Report) -> dict[str, Any]:
    """What was written where, and the plan's figures."""
    files = {"page": made.page, "trace": made.trace}
    return {
        "bundle": str(made.bundle),
        **{
            key: file and {"path": str(file.path), "size_bytes": file.size_bytes}
            for key, file in files.items()
        },
        "instructions": made.instructions,
        "planned": {"peak_bytes": made.peak_bytes, "step_seconds": made.step_seconds, "source": "modelled"},
    }


def print_report(made: Report) -> None:
    """One line a file."""
    from daypack.spec import format_size

    for file in (made.page, made.trace):
        if file is not None:
            print(f"{file.path}  {format_size(file.size_bytes)}")


def step_record(event: StepEvent) -> dict[str, Any]:
    """JSON has no NaN: a loss that is not a number is null."""
    record = {key: getattr(event, key) for key in STEP}
    return record if math.isfinite(event.loss) else {**record, "loss": None}


def step_line(event: StepEvent) -> str:
    """One step for people."""
    from daypack.spec import format_size

    peak = format_size(event.peak_rss_bytes)
    return (
        f"step {event.step:>5}  loss {event.loss:.5f}  {event.seconds:.3f} s  {event.tokens} tokens"
        f"  peak {peak}  {event.source}"
    )


def device_summary(profile: Profile) -> dict[str, Any]:
    """What the list of devices shows."""
    return {
        "name": profile.name,
        "title": profile.title,
        "arch": profile.arch,
        "llvm_cpu": profile.llvm_cpu,
        "cores": profile.cores,
        "total_flops_per_s": profile.total_flops_per_s,
    }


def device_record(profile: Profile) -> dict[str, Any]:
    """The whole profile, figures with their sources; what is unknown is left out."""
    return cast(dict[str, Any], _known(dataclasses.asdict(profile)))


def known(part: object) -> object:
    """A part of a profile as `device_record` has it."""
    if isinstance(part, tuple):
        return [known(item) for item in cast("tuple[object, ...]", part)]
    return _known(dataclasses.asdict(cast(Any, part)))


def _known(value: object) -> object:
    if isinstance(value, Mapping):
        items = cast(Mapping[str, object], value).items()
        return {key: _known(item) for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [_known(item) for item in cast(Sequence[object], value)]
    return value


def print_devices(records: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            record["name"],
            record["title"],
            record["arch"],
            str(record["cores"]),
            f"{record['total_flops_per_s'] / 1e9:.0f}",
        )
        for record in records
    ]
    _print_table(("name", "device", "arch", "cores", "GFLOP/s, all cores, peak"), rows)


def check_record(check: Check) -> dict[str, Any]:
    """As it is; `found` is null for what is missing."""
    return dataclasses.asdict(check)


def print_checks(checks: Sequence[Check]) -> None:
    """One row a check; a missing one says what it lacks for and how to get it."""
    rows = [
        (check.name, check.found or "missing", check.needed_for, "" if check.found else check.remedy)
        for check in checks
    ]
    _print_table(("name", "found", "needed for", "to get it"), rows)


def print_tree(record: Mapping[str, Any], depth: int = 0) -> None:
    """Nested tables as indented lines; a figure is one line with its kind and source."""
    for key, value in record.items():
        _print_entry(key, value, "  " * depth, depth)


def _print_entry(key: str, value: object, indent: str, depth: int) -> None:
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, Any], value)
        if {"value", "source", "kind"} <= set(inner):
            about = f", {_plain(inner['low'])} to {_plain(inner['high'])}" if "low" in inner else ""
            print(f"{indent}{key} = {_plain(inner['value'])} ({inner['kind']}{about}: {inner['source']})")
        elif inner:
            print(f"{indent}{key}")
            print_tree(inner, depth + 1)
    elif isinstance(value, list | tuple):
        _print_list(key, cast(Sequence[object], value), indent, depth)
    else:
        print(f"{indent}{key} = {_plain(value)}")


def _print_list(key: str, items: Sequence[object], indent: str, depth: int) -> None:
    if any(isinstance(item, Mapping) for item in items):
        for position, item in enumerate(items):
            _print_entry(f"{key}[{position}]", item, indent, depth)
    else:
        print(f"{indent}{key} = {', '.join(_plain(item) for item in items) or 'none'}")


def _plain(value: object) -> str:
    """A number without noise, `none` for what is not there."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal; in a pipe, every row is one line."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
