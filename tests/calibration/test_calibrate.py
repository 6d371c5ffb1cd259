"""`daypack calibrate` writes a profile whose new figures say what they are; everything else stays."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from daypack.calibration import Sizes, session
from daypack.cli.app import main
from daypack.devices import FigureKind, figures_of, load_profile
from daypack.errors import SpecError

SMALL = Sizes(
    sequences=1, tokens=32, width=64, heads=2, long_elements=1 << 19, tiny_arrays=2, pages=12, page_rows=512
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrations of this test use programs that take no time."""
    monkeypatch.setattr(session, "Sizes", lambda: SMALL)


def calibrated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["calibrate", *words, "--steps", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("small")
def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "host.toml"
    record = calibrated(capsys, "host", "--out", str(out))
    assert [path.name for path in tmp_path.iterdir()] == ["host.toml"]
    before, after = load_profile("host"), load_profile(str(out))
    assert record["source"] == "measured" and not after.is_emulated and after.prediction == "modelled"
    new = [figure for figure in figures_of(after) if "daypack calibrate" in figure.source]
    assert {figure.kind for figure in new} == {FigureKind.MEASURED}
    assert all(figure.source.startswith("daypack calibrate 2") for figure in new)
    threads = [reached.threads for reached in after.clusters[0].products if reached.clamp == 1024]
    assert threads == list(range(1, before.cores + 1))
    assert after.memory.bytes_per_s in new
    assert after.page_cache.read_bytes_per_s in new and after.page_cache.write_bytes_per_s in new
    assert after.kernels.call_s in new and after.kernels.products_flops_per_s in new
    assert (after.power, after.thermal, after.battery) == (before.power, before.thermal, before.battery)
    reason = "the device does not compute in float16"
    assert record["kept"].get("kernels.half_products_flops_per_s") == (
        None if after.half_arithmetic else reason
    )
    assert record["products"] and all(rate > 0 for rate in record["products"].values())
    header = [line for line in out.read_text().splitlines() if line.startswith("#")]
    assert header[1:] == [f"# not measured: {key}: {why}" for key, why in record["kept"].items()]
    for key in ("read_bytes_per_s", "write_bytes_per_s"):  # past the cache, or why not
        assert (getattr(after.flash, key) in new) is not (f"flash.{key}" in record["kept"])


@pytest.mark.usefixtures("small")
def test_a_phone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in for adb, a phone of this machine's kind behind it."""
    phone = tmp_path / "phone"
    for folder in ("disk", "bin"):
        (phone / folder).mkdir(parents=True)
    stand_in = repository / "tests" / "runtime" / "native" / "stand_in_adb.py"
    (phone / "bin" / "adb").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    (phone / "bin" / "adb").chmod(0o755)
    settings: dict[str, Any] = {"state": "device", "machine": load_profile("host").arch, "emulator": []}
    (phone / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setenv("PATH", f"{phone / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_PHONE", str(phone))
    record = calibrated(capsys, "host", "--out", str(tmp_path / "phone.toml"), "--via", "adb")
    assert record["source"] == "measured"
    assert load_profile(str(tmp_path / "phone.toml")).kernels.products_flops_per_s is not None
    assert "exec ./bundle/engine" in (phone / "calls.json").read_text()


@pytest.mark.usefixtures("small")
def test_under_the_emulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "board.toml"
    record = calibrated(capsys, "cortex-a76", "--out", str(out), "--via", "emulated")
    profile = load_profile(str(out))
    assert record["source"] == "emulated" and profile.is_emulated
    assert profile.title.endswith("(calibrated under an emulator, so its times say nothing of a device)")
    assert profile.prediction == "modelled of emulated figures"
    assert len([r for r in profile.clusters[0].products if r.clamp == 1024]) == 4
    assert profile.kernels.half_products_flops_per_s is not None  # the board computes in float16
    new = [figure for figure in figures_of(profile) if "daypack calibrate" in figure.source]
    assert {figure.kind for figure in new} == {FigureKind.EMULATED}
    assert main(["doctor", "--target", str(out), "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["profile"]["found"] is None and " emulated" in checks["profile"]["needed_for"]
    assert checks["profile"]["remedy"] == "run daypack calibrate board on the device, not under an emulator"


def test_the_doctor_counts_the_figures_of_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--target", "pixel8", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["profile"]["found"].startswith("pixel8: ") and " assumed" in checks["profile"]["found"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pixle8", "--out", "a.toml"], 2, "unknown device 'pixle8', did you mean 'pixel8'"),
        (["host", "--out", "a.json"], 2, "--out: expected a path that ends in .toml, found 'a.json'"),
        (
            ["host", "--out", "no/a.toml"],
            2,
            "--out: expected a path in a folder that exists",
        ),
    ],
)
def test_what_cannot_be_calibrated(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *words, "--json"]) == code
    assert message in json.loads(capsys.readouterr().out)["message"]


@pytest.mark.usefixtures("small")
def test_a_device_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(session, "write_block", nothing)
    monkeypatch.setattr(session, "write_pages", nothing)
    monkeypatch.setattr(session, "read", refuse)
    assert main(["calibrate", "cortex-a76", "--out", str(tmp_path / "a.toml"), "--via", "adb"]) == 2
    assert "error: no such place" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def nothing(*_: object) -> None:
    """No bundle is made."""


def refuse(*_: object, **__: object) -> None:
    raise SpecError("no such place")
