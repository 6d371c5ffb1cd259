"""A record → one HTML file that needs nothing else: style, script and data stand in it."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template

from daypack import __version__
from daypack.report.bundle_plans import plans_section
from daypack.report.drawing import drawing
from daypack.report.figures import Total, totals
from daypack.report.largest import Large, largest_at_peak
from daypack.report.layers import Layer
from daypack.report.record import Record
from daypack.report.run_file import Run
from daypack.spec.size import format_size

SCRIPTS = ("data.js", "charts.js", "reading.js", "controls.js", "absences.js", "start.js")
"""One script, in this order: each file uses what stands before it, and `start.js` draws."""


def page(record: Record, run: Run | None = None) -> str:
    """The report of a bundle, with a run's measured figures beside the modelled where one is given."""
    template = Template(_web("page.html"))
    return template.substitute(
        title=escape(record.name),
        summary=_summary(record),
        totals=_totals(totals(record, run), run),
        plans=plans_section(record.plans),
        peak_bytes=str(record.time.peak_bytes),
        peak_at=str(record.time.peak_at),
        peak_size=escape(format_size(record.time.peak_bytes)),
        largest="\n".join(map(_large, largest_at_peak(record))),
        style=_web("style.css"),
        script="\n".join(map(_web, SCRIPTS)),
        data=_inline_json(drawing(record)),
        version=escape(__version__),
    )


def _web(name: str) -> str:
    return (files("daypack.report") / "web" / name).read_text(encoding="utf-8")


def _summary(record: Record) -> str:
    plan = record.schedule.plan
    budget = "no budget" if record.budget_bytes is None else f"a budget of {format_size(record.budget_bytes)}"
    steps = record.schedule.window
    micro = "1 micro-step" if steps == 1 else f"{steps} micro-steps"
    device = f" for {record.device}" if record.device else ""
    planner = f", planned by {plan.planner}" if plan.planner else ""
    text = f"One step of {micro}{device}, within {budget}{planner}: {len(plan.sequence):,} instructions."
    return escape(text)


def _totals(rows: tuple[Total, ...], run: Run | None) -> str:
    measured = "" if run is None else f'<th scope="col">{escape(run.source)}</th>'
    head = f'<tr><th scope="col">one step</th><th scope="col">modelled</th>{measured}<th></th></tr>'
    return head + "".join(_total(row, run is not None) for row in rows)


def _total(row: Total, beside: bool) -> str:
    measured = f'<td class="figure">{escape(row.measured or "–")}</td>' if beside else ""
    return (
        f'<tr id="total-{row.key}"><th scope="row">{escape(row.name)}</th>'
        f'<td class="figure">{escape(row.modelled)}</td>{measured}'
        f'<td class="note">{escape(row.note)}</td></tr>'
    )


def _large(row: Large) -> str:
    number = list(Layer).index(row.layer)
    return (
        f'<tr><td class="name">{escape(row.name)}</td>'
        f'<td class="role"><span class="swatch layer-{number}"></span>{escape(row.layer.value)}</td>'
        f'<td class="line">{escape(row.source or "–")}</td>'
        f'<td class="figure">{escape(format_size(row.size_bytes))}</td>'
        f'<td class="figure">{row.start}–{row.end}</td>'
        f'<td class="waits">{escape(row.waits_for)}</td></tr>'
    )


def _inline_json(data: object) -> str:
    """JSON that no HTML parser can take for the end of its script."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(character, code)
    return text
