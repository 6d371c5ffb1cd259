"""The page's text: figures, names, and that it needs nothing from outside."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from daypack.report.drawing import drawing
from daypack.report.largest import largest_at_peak
from daypack.report.layers import Layer, fixed_shares, shares
from daypack.report.page import page
from daypack.report.record import Record
from daypack.report.run_file import Run, Step


def test_the_largest_at_the_peak(record: Record) -> None:
    """At instruction 6 `c` is computed from `b` and `w`; `a` is away."""
    rows = largest_at_peak(record)
    assert [(r.name, r.layer, r.source, r.size_bytes, r.start, r.end, r.waits_for) for r in rows] == [
        ("h.0.weight uint8[100]", Layer.FROZEN, "", 100, 5, 10, "read now, by layer · h.0"),
        ("layer uint8[60]", Layer.ACTIVATIONS, "model.py:7 (layer)", 60, 3, 7, "read now, by layer · h.0"),
        (
            "layer · h.0 uint8[30]",
            Layer.ACTIVATIONS,
            "model.py:7 (layer)",
            30,
            6,
            13,
            "instruction 11: layer",
        ),
        ("ids/0 uint8[10]", Layer.BATCH, "", 10, 0, 10, "instruction 8: layer · h.0"),
    ]
    assert [r.size_bytes for r in largest_at_peak(record, 2)] == [100, 60]


def test_a_workspace_is_one_of_the_largest(record: Record) -> None:
    schedule = record.schedule
    nodes = tuple(replace(n, workspace_bytes=70) if n.id == 4 else n for n in schedule.problem.nodes)
    wide = replace(schedule, problem=replace(schedule.problem, nodes=nodes))
    names = [r.name for r in largest_at_peak(replace(record, schedule=wide))]
    assert names[1] == "workspace of layer · h.0"


def test_layers_account_for_every_byte(record: Record) -> None:
    for node in record.schedule.problem.nodes:
        assert sum(shares(record.schedule, node.id, adapters=False).values()) == node.size_bytes
    assert fixed_shares(record.schedule) == {Layer.ENGINE: 3, Layer.SMALL_RESULTS: 2}


def test_what_is_trained_is_adapters_where_the_spec_says_so(record: Record) -> None:
    parts = ((replace(record.schedule.parts[0][0], role="trainable"),), *record.schedule.parts[1:])
    schedule = replace(record.schedule, parts=parts)
    assert shares(schedule, 0, adapters=True) == {Layer.ADAPTERS: 100}
    assert shares(schedule, 0, adapters=False) == {Layer.PARAMETERS: 100}


def test_several_plans_stand_side_by_side(record: Record) -> None:
    plan = {
        "file": "plan.bin",
        "order": "layer-major",
        "budget_bytes": 400_000_000,
        "peak_bytes": 398_000_000,
        "step_seconds": 2.5,
        "step_joules": 7.5,
        "mean_watts": 3.0,
        "peak_watts": 4.25,
        "flash_read_bytes": 5_000_000,
        "flash_written_bytes": 4096,
    }
    unknown = {"budget_bytes": None, "step_joules": None, "mean_watts": None, "peak_watts": None}
    assert "Plans of this bundle" not in page(replace(record, plans=(plan,)))
    html = page(replace(record, plans=(plan, {**plan, **unknown, "file": "plan-1.bin"})))
    first, second = re.findall(r'<tr><th scope="row">(plan[^<]*)</th>(.*?)</tr>', html)
    assert re.findall(r"<td[^>]*>(.*?)</td>", first[1]) == [
        *("layer-major", "400 MB", "398 MB", "2.5 s", "7.5 J", "3 W", "4.25 W", "5 MB", "4.096 KB"),
    ]
    assert second[0] == "plan-1.bin" and second[1].count("unknown") == 3 and "none" in second[1]


def cells(html: str, key: str) -> list[str]:
    found = re.search(rf'<tr id="total-{key}">(.*?)</tr>', html)
    assert found is not None
    return re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found[1])


def test_totals_say_what_is_modelled(record: Record) -> None:
    html = page(record)
    assert '<th scope="col">modelled</th><th></th>' in html
    assert "measured" not in html.split("<main>")[1].split("</section>")[0]
    assert cells(html, "peak")[:2] == ["peak memory of the process", "208 B"]
    assert cells(html, "live")[1:] == [
        "205 B",
        "at instruction 6, with the engine as it was estimated",
    ]
    assert cells(html, "seconds")[1] == "8 s"
    assert cells(html, "joules")[1] == "unknown"
    assert cells(html, "recomputed")[1] == "1 s"
    assert cells(html, "paging")[1] == "2 s"


def test_a_run_stands_beside(record: Record) -> None:
    html = page(record, Run((Step(1, 7.0, 190, 200, None), Step(2, 9.0, 199, 200, None)), "emulated"))
    assert '<th scope="col">modelled</th><th scope="col">emulated</th>' in html
    assert cells(html, "peak")[1:3] == ["208 B", "199 B"]
    assert cells(html, "seconds")[1:3] == ["8 s", "8 s"]
    assert cells(html, "read")[1:3] == ["200 B", "200 B"]
    assert cells(html, "written")[1:3] == ["0 B", "unknown"]
    assert cells(html, "joules")[2] == "–"


def test_nothing_comes_from_outside(record: Record) -> None:
    html = page(record)
    assert "default-src 'none'" in html
    assert set(re.findall(r"https?://[^\"\s]+", html)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?!data:)", html) == []


def test_names_cannot_break_out(record: Record) -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u2028'
    parts = ((replace(record.schedule.parts[0][0], name=evil),), *record.schedule.parts[1:])
    html = page(replace(record, name=evil, schedule=replace(record.schedule, parts=parts)))
    assert "alert(1)</script>" not in html
    assert "<img" not in html
    inside = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert evil in json.loads(inside)["texts"][0]


def test_the_data_is_the_record(record: Record) -> None:
    data: dict[str, Any] = drawing(record)
    assert (data["peak"], data["peakAt"], data["budget"], data["promised"]) == (205, 6, 210, 208)
    assert data["moments"][0] == [2, 0, 0, 0, 10**9]
    assert data["nodes"][3][2:] == [20, 0, 9, 60]
    assert [row[1] for row in data["absences"]].count("paged") == 2
