"""The page of a study: a table, energy against finish time, and temperature and battery over the day. One
HTML file without scripts; charts are SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from daypack.runtime.study import Result

WIDTH, HEIGHT, MARGIN = 720, 260, 48
COLOURS = ("#1b6ca8", "#c8553d", "#3d8361", "#8e5ea2", "#b8860b", "#50514f", "#d1495b", "#00798c")
Points = Sequence[tuple[float, float]]


def write_study_page(rows: Sequence[Result], path: Path) -> None:
    """Write the page; every figure in it is modelled and says so."""
    policies = list(dict.fromkeys(row.policy for row in rows))
    colour = {policy: COLOURS[n % len(COLOURS)] for n, policy in enumerate(policies)}
    done = [row for row in rows if row.finish_s is not None]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Study</title>",
        "<style>body{font:14px sans-serif;margin:2em;max-width:60em}td,th{padding:2px 8px;text-align:right}"
        "td:nth-child(-n+4),th:nth-child(-n+4){text-align:left}</style>",
        f"<h1>Study of {len(rows)} cases</h1><p>All figures are modelled.</p>",
        "<h2>Energy against finish time</h2>",
        _chart(
            [
                (p, colour[p], [((r.finish_s or 0) / 3600, r.joules / 1000) for r in done if r.policy == p])
                for p in policies
            ],
            "hours to the finish",
            "kJ",
            lines=False,
        ),
    ]
    regrets = [
        (
            p,
            colour[p],
            [
                (float(n), 100 * v)
                for n, v in enumerate(
                    sorted(r.regret for r in rows if r.policy == p and r.regret is not None)
                )
            ],
        )
        for p in policies
    ]
    if any(points for _, _, points in regrets):
        parts += ["<h2>Regret against the oracle</h2>", _chart(regrets, "case, by regret", "%", lines=True)]
    first = (rows[0].device, rows[0].recording, rows[0].workload)
    same = [row for row in rows if (row.device, row.recording, row.workload) == first]
    for title, unit, values in (
        ("Skin temperature", "°C", [(r, r.skin) for r in same]),
        ("Battery", "%", [(r, tuple(100 * v for v in r.battery)) for r in same]),
    ):
        series = [(r.policy, colour[r.policy], list(zip(r.hours, ys, strict=True))) for r, ys in values]
        parts += [f"<h2>{title}: {escape(', '.join(first))}</h2>", _chart(series, "hour", unit, lines=True)]
    path.write_text("\n".join([*parts, _table(rows), "</html>"]) + "\n", encoding="utf-8")


def _table(rows: Sequence[Result]) -> str:
    head = (
        "policy",
        "device",
        "recording",
        "workload",
        "kJ",
        "hours",
        "met",
        "peak °C",
        "lowest %",
        "regret %",
    )
    lines = ["<h2>Cases</h2><table><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"]
    for row in rows:
        cells = (
            row.policy,
            row.device,
            row.recording,
            row.workload,
            f"{row.joules / 1000:.2f}",
            "–" if row.finish_s is None else f"{row.finish_s / 3600:.2f}",
            "yes" if row.met_deadline else "no",
            f"{row.peak_skin_celsius:.1f}",
            f"{100 * row.lowest_battery:.0f}",
            "–" if row.regret is None else f"{100 * row.regret:.2f}",
        )
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _chart(series: Sequence[tuple[str, str, Points]], x_name: str, y_name: str, *, lines: bool) -> str:
    points = [point for _, _, line in series for point in line]
    if not points:
        return "<p>Nothing finished.</p>"
    (left, right), (low, high) = _range([x for x, _ in points]), _range([y for _, y in points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = MARGIN + (point[0] - left) / (right - left) * (WIDTH - 2 * MARGIN)
        return x, HEIGHT - MARGIN - (point[1] - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' role='img'>"]
    base, edge = HEIGHT - MARGIN, WIDTH - MARGIN
    parts.append(f"<path d='M{MARGIN} {MARGIN}V{base}H{edge}' fill='none' stroke='#888'/>")
    parts += [
        f"<text x='{MARGIN}' y='{base + 16}'>{left:.3g}</text>",
        f"<text x='{edge}' y='{base + 16}' text-anchor='end'>{right:.3g} {escape(x_name)}</text>",
        f"<text x='{MARGIN - 6}' y='{base}' text-anchor='end'>{low:.3g}</text>",
        f"<text x='{MARGIN - 6}' y='{MARGIN + 4}' text-anchor='end'>{high:.3g} {escape(y_name)}</text>",
    ]
    for number, (name, colour, line) in enumerate(series):
        spots = [place(point) for point in line]
        if lines and spots:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
            parts.append(
                f"<path d='M{path}' fill='none' stroke='{colour}'><title>{escape(name)}</title></path>"
            )
        elif not lines:
            parts += [
                f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colour}'><title>{escape(name)}</title>"
                "</circle>"
                for x, y in spots
            ]
        parts.append(f"<text x='{MARGIN + 100 * number}' y='16' fill='{colour}'>{escape(name)}</text>")
    return "\n".join([*parts, "</svg>"])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
