"""`daypack devices` and `daypack doctor`."""

from __future__ import annotations

import pytest

from daypack.cli import doctor
from daypack.devices import load_profile, profile_names
from daypack.errors import MissingTool


def test_every_device_is_listed(command) -> None:
    outcome = command("devices")
    assert outcome.code == 0
    lines = outcome.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(profile_names())


def test_the_list_as_json(command) -> None:
    records = command("devices", "--json").json
    assert [record["name"] for record in records] == list(profile_names())
    board = next(record for record in records if record["name"] == "cortex-a76")
    assert board["total_flops_per_s"] == pytest.approx(153.6e9)


def test_one_device_with_its_sources(command) -> None:
    out = command("devices", "cortex-a76").out
    assert "  clock_hz = 2.4e+09 (stated: Raspberry Pi 5 product brief)\n" in out
    assert "  uncore_w = 1 (assumed, 0.5 to 2: no published figure" in out
    assert "battery" not in out.split("thermal_network")[1]
    assert "write_energy_j_per_byte" not in command("devices", "host").out


def test_one_device_as_json(command) -> None:
    record = command("devices", "cortex-a76", "--json").json
    assert record["clusters"][0]["l2_bytes"] == {
        "value": 524288,
        "source": "Raspberry Pi 5 product brief: 512 KB a core",
        "kind": "stated",
    }
    assert list(record["flash"])[0] == "read_bytes_per_s"
    assert set(record["power"]["uncore_w"]) == {"value", "source", "kind", "low", "high"}
    assert record["battery"] == {}


def test_an_unknown_device(command) -> None:
    outcome = command("devices", "pixle8")
    assert outcome.code == 2
    assert outcome.err.startswith("error: unknown device 'pixle8', did you mean 'pixel8'?")


def test_the_doctor_finds_what_the_tests_run_with(command) -> None:
    outcome = command("doctor", "--json")
    assert outcome.code == 0
    checks = {check["name"]: check for check in outcome.json["checks"]}
    assert all(check["found"] for check in checks.values() if check["required"])
    assert list(checks["jax"]) == ["name", "found", "needed_for", "remedy", "required"]
    assert {"qemu-aarch64", "adb", "torch", "transformers", "peft", "chromium"} <= set(checks)


def test_a_missing_tool_says_what_it_lacks_for(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    outcome = command("doctor")
    assert outcome.code == 0
    row = next(line.rstrip() for line in outcome.out.splitlines() if line.startswith("adb"))
    assert row.split(maxsplit=2)[1:] == [
        "missing",
        "run --via adb                    install Android's platform-tools",
    ]


def test_a_missing_package_is_exit_code_5(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "apache-tvm":
            raise doctor.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    outcome = command("doctor", "--json")
    assert outcome.code == 5
    checks = {check["name"]: check for check in outcome.json["checks"]}
    assert (checks["apache-tvm"]["found"], checks["apache-tvm"]["remedy"]) == (None, "pip install apache-tvm")


def test_an_unknown_processor_is_reported_as_missing(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise MissingTool("this machine is riscv64")

    monkeypatch.setattr(doctor, "load_profile", load)
    checks = {check["name"]: check for check in command("doctor", "--json").json["checks"]}
    assert checks["processor"]["found"] is None


def test_a_tool_under_its_other_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"qemu-aarch64": "/usr/bin/qemu-aarch64"}
    monkeypatch.setattr(doctor.shutil, "which", found.get)
    checks = {check.name: check for check in doctor.examine()}
    assert checks["qemu-aarch64"].found == "/usr/bin/qemu-aarch64"


def test_the_profile_that_is_shown_is_the_one_that_is_used(command) -> None:
    assert command("devices", "pixel8", "--json").json["llvm_cpu"] == load_profile("pixel8").llvm_cpu
