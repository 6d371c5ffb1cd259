"""The page in a real browser: what it draws is the plan, and its controls do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daypack.report import words
from daypack.report.layers import Layer
from daypack.report.page import page
from daypack.report.record import Record, read_record
from daypack.report.timeline import Action

PROBE = """
const all = (selector) => [...document.querySelectorAll(selector)];
const layers = () => all("#memory .layer").map((path) => path.dataset.layer);
const found = { layers: layers(), legend: all("#legend button").map((b) => b.dataset.layer) };
const svg = document.getElementById("memory");
const box = svg.getBoundingClientRect();
found.peak = Number(svg.dataset.peak);
found.written = Number(document.getElementById("peak").dataset.bytes);
const drawn = all("#memory path, #lanes path, #lanes rect");
found.broken = drawn.filter((e) => /NaN|undefined|Infinity/.test(e.outerHTML)).length;
found.wide = document.documentElement.scrollWidth > window.innerWidth;
found.lanes = all("#lanes .action").map((path) => [path.dataset.action, path.getAttribute("d").length > 5]);
found.bands = all("#lanes .band").map((band) => band.dataset.band);
found.largest = all("#largest tbody tr").length;
found.absences = all("#absences tbody tr").length;
found.why = all("#absences .why").map((cell) => cell.textContent);
found.paper = getComputedStyle(document.body).backgroundColor;
found.budget = all("#memory .budget").length;
const tip = document.getElementById("tip");
const mouse = { bubbles: true, pointerType: "mouse", pointerId: 1 };
const at = (x) => ({ clientX: box.left + x, clientY: box.top + 60, ...mouse });
svg.dispatchEvent(new PointerEvent("pointermove", at(box.width / 2)));
found.tip = tip.hidden ? "" : tip.textContent;
const shown = tip.getBoundingClientRect();
found.tipInside = shown.left >= 0 && shown.right <= innerWidth && shown.bottom <= innerHeight;
svg.dispatchEvent(new PointerEvent("pointerleave", at(0)));
found.tipGone = tip.hidden;
const button = document.querySelector("#legend button[data-layer=activations]");
button.click();
found.without = layers();
button.click();
found.again = layers();
document.querySelector("input[value=time]").click();
found.axis = [svg.dataset.axis, Number(svg.dataset.peak), layers().length];
const ticks = () => all("#memory text").map((t) => t.textContent).join();
const wide = ticks();
document.getElementById("zoom-peak").click();
found.zoomed = ticks() !== wide;
document.getElementById("zoom-all").click();
found.back = ticks() === wide;
svg.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
found.key = tip.hidden ? "" : tip.textContent;
document.getElementById("theme").click();
found.switched = getComputedStyle(document.body).backgroundColor;
const more = document.getElementById("more");
found.more = more.hidden ? 0 : parseInt(more.textContent);
if (found.more) more.click();
found.listed = all("#absences tbody tr").length;
return found;
"""
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 28)"


@pytest.fixture(scope="session")
def real(bundle: Path) -> Record:
    return read_record(bundle)


def check(found: dict[str, Any], record: Record) -> None:
    """What holds for every record, on every screen."""
    assert found["problems"] == []
    assert found["peak"] == found["written"] == record.schedule.plan.peak_bytes
    assert found["layers"] == found["legend"] == found["again"]
    assert found["without"] == [name for name in found["layers"] if name != Layer.ACTIVATIONS]
    assert found["axis"] == ["time", record.schedule.plan.peak_bytes, len(found["layers"])]
    assert (found["broken"], found["wide"], found["tipInside"], found["tipGone"]) == (0, False, True, True)
    assert (found["zoomed"], found["back"]) == (True, True)
    assert "in memory" in found["tip"] and "largest: " in found["tip"] and "activations" in found["key"]
    assert found["bands"].count("shard") == len(record.schedule.shard_ends)


def runs(record: Record, action: Action) -> bool:
    """Whether a lane shows this action; moving what flash already holds takes no time and is not drawn."""
    computes = action in (Action.COMPUTE, Action.RECOMPUTE)
    return any(m.action is action and (computes or m.seconds > 0) for m in record.time.moments)


def test_a_real_plan_on_a_wide_screen(real: Record, browse: Any) -> None:
    found = browse(page(real), PROBE)
    check(found, real)
    wanted = [layer for layer in Layer if layer not in (Layer.PARAMETERS,)]
    assert [name for name in wanted if name in found["layers"]] == found["layers"]
    assert {Layer.ADAPTERS, Layer.MOMENTS, Layer.GRADIENTS, Layer.FROZEN, Layer.ENGINE} <= set(
        found["layers"]
    )
    assert dict(found["lanes"]) == {words.VERBS[a]: runs(real, a) for a in Action if a is not Action.DROP}
    assert found["bands"].count("step") >= 3
    assert (found["largest"], found["budget"]) == (20, 1)
    assert found["absences"] == min(20, found["absences"] + found["more"])
    assert found["listed"] == min(found["absences"] + found["more"], 220)
    assert (found["paper"], found["switched"]) == (LIGHT, DARK)


def test_on_a_phone_in_the_dark(real: Record, browse: Any) -> None:
    found = browse(page(real), PROBE, width=500, dark=True)
    check(found, real)
    assert (found["paper"], found["switched"]) == (DARK, LIGHT)


def test_the_plan_by_hand(record: Record, browse: Any) -> None:
    found = browse(page(record), PROBE)
    check(found, record)
    assert found["layers"] == [
        "engine",
        "small results",
        "frozen weights",
        "gradients",
        "batch",
        "activations",
        "workspaces",
    ]
    assert found["lanes"] == [["compute", True], ["compute again", True], ["read", True], ["write", False]]
    assert (found["absences"], found["more"], found["largest"]) == (3, 0, 4)
    assert found["why"][0].endswith("35 B over the budget.")
