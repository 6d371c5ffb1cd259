"""The plans of a bundle side by side, where it has several: what a step costs in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from daypack.report import words
from daypack.spec.size import format_size

COLUMNS = ("plan", "order", "budget", "peak", "time", "energy", "mean power", "of a shard", "read", "written")


def plans_section(plans: Sequence[Mapping[str, Any]]) -> str:
    """A table of modelled figures; nothing for one plan, whose figures are the totals."""
    if len(plans) < 2:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in COLUMNS)
    return (
        '<section aria-labelledby="plans-title">\n<h2 id="plans-title">Plans of this bundle</h2>\n'
        "<p>All compute the same bits; the engine may change between them. This page draws the first. "
        "All figures are of one step and modelled.</p>\n"
        f'<div class="scroll"><table id="plans"><tr>{head}</tr>{"".join(map(_row, plans))}</table></div>\n'
        "</section>\n"
    )


def _row(plan: Mapping[str, Any]) -> str:
    budget = plan["budget_bytes"]
    figures = (
        "none" if budget is None else format_size(budget),
        format_size(plan["peak_bytes"]),
        words.duration(plan["step_seconds"]),
        _unit(plan["step_joules"], "J"),
        _unit(plan["mean_watts"], "W"),
        _unit(plan["peak_watts"], "W"),
        format_size(plan["flash_read_bytes"]),
        format_size(plan["flash_written_bytes"]),
    )
    cells = "".join(f'<td class="figure">{escape(figure)}</td>' for figure in figures)
    return f'<tr><th scope="row">{escape(plan["file"])}</th><td>{escape(plan["order"])}</td>{cells}</tr>'


def _unit(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3g} {unit}"
