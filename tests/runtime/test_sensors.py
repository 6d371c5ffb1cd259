"""Sensors and their lies, from a fake tree: what is believed, where it comes from, and what limits do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.test_commands import talking
from tests.runtime.test_governor import always_in, make_setting, policy_bytes, shipped_policy

SUPPLY = "sys/class/power_supply"
BATTERY = f"{SUPPLY}/battery"
SKIN7 = "sys/class/thermal/thermal_zone7"
CHARGE = {"capacity": None, "charge_now": "1100000", "charge_full": "4400000"}
ZONE = "sys/class/thermal/thermal_zone0"
GOOD = {
    f"{BATTERY}/type": "Battery",
    f"{BATTERY}/capacity": "80",
    f"{BATTERY}/status": "Discharging",
    f"{BATTERY}/temp": "312",
    f"{BATTERY}/current_now": "-450000",
    f"{BATTERY}/voltage_now": "3850000",
    f"{ZONE}/type": "skin-therm",
    f"{ZONE}/temp": "33500",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 3000000 kB",
    "proc/self/status": "VmRSS: 1000 kB",
    "proc/pressure/memory": "some avg10=0.50 avg60=0 avg300=0 total=1",
    "sys/class/backlight/panel0/brightness": "0",
}


def write_tree(root: Path, files: Mapping[str, str | None]) -> None:
    """None removes a file of the tree."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text + "\n", encoding="latin-1")


def governed(make_case: Callable[..., Any], name: str = "example", **limits: Any) -> Any:
    setting = make_setting("pixel8", **limits)
    case = make_case(name=name)
    case.set_policy(policy_bytes(shipped_policy(always_in(setting, 0), setting, 1000)))
    return case


def first_decision(make_case: Callable[..., Any], root: Path, **limits: Any) -> dict[str, Any]:
    with talking(governed(make_case, **limits), "--steps", "1000000", "--sensors", str(root)) as talk:
        return talk.hear("decision")


Seen = tuple[str, float, str]


@pytest.mark.parametrize(
    ("lie", "reading", "reason"),
    [
        ({}, ("battery", 0.8, "measured"), "policy"),
        ({f"{BATTERY}/capacity": "150"}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": "-1"}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": "\xff\xfe"}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": "nan"}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": ""}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": "9" * 300}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/capacity": None}, ("battery", 0.0, "assumed"), "battery"),
        (
            {f"{BATTERY}/{name}": text for name, text in CHARGE.items()},
            ("battery", 0.25, "measured"),
            "policy",
        ),
        ({f"{BATTERY}/capacity": "19"}, ("battery", 0.19, "measured"), "battery"),
        ({f"{BATTERY}/type": "Unknown"}, ("battery", 0.0, "assumed"), "battery"),
        ({f"{BATTERY}/type": None}, ("battery", 0.8, "measured"), "policy"),
        ({f"{BATTERY}/scope": "Device"}, ("battery", 0.0, "assumed"), "battery"),
        (
            {f"{BATTERY}/type": "Unknown", f"{SUPPLY}/bms/type": "BMS", f"{SUPPLY}/bms/capacity": "60"},
            ("battery", 0.6, "measured"),
            "policy",
        ),
        ({f"{BATTERY}/status": "Charging"}, ("charging", 1.0, "measured"), "policy"),
        ({f"{BATTERY}/status": "Not charging"}, ("charging", 0.0, "assumed"), "policy"),
        (
            {f"{BATTERY}/status": "?", f"{SUPPLY}/usb/type": "USB", f"{SUPPLY}/usb/online": "1"},
            ("charging", 1.0, "measured"),
            "policy",
        ),
        ({}, ("battery_w", 0.45 * 3.85, "measured"), "policy"),
        ({f"{BATTERY}/current_now": "450000"}, ("battery_w", 0.45 * 3.85, "measured"), "policy"),
        ({f"{BATTERY}/current_now": "450"}, ("battery_w", 0.45 * 3.85, "measured"), "policy"),
        ({f"{BATTERY}/voltage_now": "3850"}, ("battery_w", 0.45 * 3.85, "measured"), "policy"),
        ({f"{BATTERY}/status": "Charging"}, ("battery_w", -0.45 * 3.85, "measured"), "policy"),
        ({f"{ZONE}/temp": "33500"}, ("skin_celsius", 33.5, "measured"), "policy"),
        ({f"{ZONE}/temp": "33"}, ("skin_celsius", 33.0, "measured"), "policy"),
        ({f"{ZONE}/temp": "335"}, ("skin_celsius", 33.5, "measured"), "policy"),
        ({f"{ZONE}/temp": "41600"}, ("skin_celsius", 41.6, "measured"), "skin"),
        ({f"{ZONE}/temp": "0"}, ("skin_celsius", 31.2, "modelled"), "policy"),
        ({f"{ZONE}/temp": "-273000"}, ("skin_celsius", 31.2, "modelled"), "policy"),
        ({f"{ZONE}/type": "cpu-0-0"}, ("skin_celsius", 31.2, "modelled"), "policy"),
        ({f"{ZONE}/temp": None, f"{BATTERY}/temp": "460"}, ("skin_celsius", 46.0, "modelled"), "skin"),
        ({f"{ZONE}/temp": None, f"{BATTERY}/temp": "46"}, ("skin_celsius", 46.0, "modelled"), "skin"),
        ({f"{ZONE}/temp": None, f"{BATTERY}/temp": "46000"}, ("skin_celsius", 46.0, "modelled"), "skin"),
        (
            {f"{SKIN7}/type": "VIRTUAL-SKIN", f"{SKIN7}/temp": "42"},
            ("skin_celsius", 42.0, "measured"),
            "skin",
        ),
        ({"sys/class/backlight/panel0/brightness": "90"}, ("screen", 1.0, "measured"), "policy"),
        ({"sys/class/backlight/panel0/brightness": None}, ("screen", 1.0, "assumed"), "policy"),
        ({"proc/meminfo": "MemAvailable: 2000 kB"}, ("memory_mb", 3.072, "measured"), "memory"),
        ({"proc/meminfo": None}, ("memory_mb", 0.0, "assumed"), "memory"),
        ({"proc/pressure/memory": "some avg10=55.00 avg60=0"}, ("memory_mb", 0.0, "measured"), "memory"),
    ],
)  # fmt: skip
def test_a_lie_is_seen_through_or_taken_as_what_forbids_most(
    lie: dict[str, str | None], reading: Seen, reason: str, make_case: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "tree"
    write_tree(root, {**GOOD, **lie})
    decision = first_decision(make_case, root)
    name, value, source = reading
    assert decision["readings"][name] == {"value": pytest.approx(value, abs=1e-6), "source": source}
    assert decision["reason"] == reason and (decision["gear"] == -1) == (reason != "policy")


@pytest.mark.parametrize("kind", ["nothing", "folders", "a loop", "unreadable"])
def test_a_tree_without_sense_pauses_the_run(
    kind: str, make_case: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "tree"
    if kind == "folders":  # where files are expected
        for name in GOOD:
            (root / name).mkdir(parents=True)
    if kind == "a loop":
        (root / "sys/class").mkdir(parents=True)
        (root / "sys/class/power_supply").symlink_to("power_supply")
    if kind == "unreadable":
        write_tree(root, GOOD)
        for name in GOOD:
            (root / name).write_bytes(b"")
    decision = first_decision(make_case, root)
    assert decision["gear"] == -1 and decision["reason"] == "memory"
    assert {r["source"] for r in decision["readings"].values()} <= {"assumed", "modelled"}


def test_what_is_denied_has_limits_that_say_so(make_case: Callable[..., Any], tmp_path: Path) -> None:
    """Only when the charger is in, and only while the screen is off: neither can be read."""
    files = {name: text for name, text in GOOD.items() if "backlight" not in name and "status" not in name}
    write_tree(tmp_path, {**files, "proc/self/status": "VmRSS: 1 kB"})
    assert first_decision(make_case, tmp_path, only_charging=True)["reason"] == "charger"
    write_tree(tmp_path, {f"{BATTERY}/status": "Charging"})
    assert first_decision(make_case, tmp_path, only_charging=True, only_screen_off=True)["reason"] == "screen"
