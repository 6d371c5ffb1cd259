"""Three ways to start one engine: the same events, the engine's errors as ours, and nothing started in
vain.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from daypack.errors import BundleError, DaypackError, ExitCode, MissingTool, SpecError, Stopped
from daypack.runtime.bundle import MANIFEST, sha256_of
from daypack.runtime.engine_process import run_process
from daypack.runtime.launch import Adb, Emulated, EngineArguments, Local, launcher
from tests.runtime.test_governor import always_in, make_setting, policy_bytes, shipped_policy


def losses(events: list[dict[str, Any]]) -> list[float]:
    return [event["loss"] for event in events if event["event"] == "step"]


def step_of(path: Path) -> int:
    return int(load_file(path)["clock/step"])


def test_local(case: Any) -> None:
    events = list(Local().run(case.bundle, EngineArguments(steps=2, threads=1, profile=True)))
    names = [event["event"] for event in events]
    assert names == ["start", "step", "profile", "step", "profile", "end"]
    assert {event["source"] for event in events if event["event"] == "step"} == {"measured"}
    assert step_of(case.state) == 2


def test_every_argument_reaches_the_engine(case: Any, tmp_path: Path) -> None:
    shutil.copy(case.bundle / "data.bin", tmp_path / "data")
    arguments = EngineArguments(
        state=tmp_path / "s",
        data=tmp_path / "data",
        steps=3,
        threads=2,
        fresh=True,
        verify_only=True,
        profile=True,
        cpus=3,
        clamp=512,
    )
    assert arguments.command_line("b", "s", "d") == [
        *("--bundle", "b", "--state", "s", "--data", "d", "--steps", "3", "--threads", "2"),
        *("--cpus", "3", "--clamp", "512", "--fresh", "--verify-only", "--profile"),
    ]
    assert [event["event"] for event in Local().run(case.bundle, arguments)] == ["verified"]
    list(Local().run(case.bundle, EngineArguments(state=tmp_path / "s", data=tmp_path / "data", steps=3)))
    assert step_of(tmp_path / "s" / "state.safetensors") == 3 and not case.state.exists()


def test_a_relative_bundle(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case.bundle.parent)
    assert len(losses(list(Local().run(Path("example"), EngineArguments(steps=1))))) == 1


def test_launchers_by_name() -> None:
    assert (launcher("local"), launcher("emulated"), launcher("adb")) == (Local(), Emulated(), Adb())
    with pytest.raises(SpecError, match="--via: expected one of local, emulated, adb, found 'ssh'"):
        launcher("ssh")


def test_emulated_equals_local(make_case: Callable[..., Any]) -> None:
    emulated, local = make_case("aarch64", name="arm"), make_case(name="host")
    arguments = EngineArguments(steps=3)
    events = list(Emulated().run(emulated.bundle, arguments))
    assert {event["source"] for event in events if event["event"] == "step"} == {"emulated"}
    assert losses(events) == losses(list(Local().run(local.bundle, arguments)))
    assert emulated.state.read_bytes() == local.state.read_bytes()


def test_a_processor_without_a_feature(make_case: Callable[..., Any]) -> None:
    case = make_case("aarch64", cpu_features=("neon", "sve2"))
    with pytest.raises(MissingTool, match="need the feature sve2, which this processor"):
        list(Emulated(cpu="cortex-a53").run(case.bundle, EngineArguments(steps=1)))
    assert losses(list(Emulated().run(case.bundle, EngineArguments(steps=1))))


def test_bundles_for_another_machine(make_case: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(name="here")
    here, other = case.plan.target_arch, {"x86_64": "aarch64", "aarch64": "x86_64"}[case.plan.target_arch]
    monkeypatch.setattr("platform.machine", lambda: {"x86_64": "AMD64", "aarch64": "arm64"}[other])
    for_here = "--via emulated or --via adb" if here == "aarch64" else "--via local on such a machine"
    message = (
        f"expected a bundle for this machine ({other} linux), found one for {here} linux; use {for_here}"
    )
    with pytest.raises(MissingTool, match=re.escape(message)):
        list(Local().run(case.bundle, EngineArguments()))


def test_arm_on_this_machine_names_the_ways(
    make_case: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case("aarch64")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(
        MissingTool, match="found one for aarch64 linux; use --via emulated or --via adb"
    ) as caught:
        list(Local().run(case.bundle, EngineArguments()))
    assert caught.value.code == ExitCode.MISSING_TOOL


def test_no_emulator(make_case: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("aarch64")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingTool, match="install Debian's package qemu-user-static"):
        list(Emulated().run(case.bundle, EngineArguments()))


def test_nothing_but_arm_is_emulated(case: Any) -> None:
    if case.plan.target_arch == "aarch64":
        pytest.skip("this machine's bundles are for aarch64")
    with pytest.raises(MissingTool, match="expected a bundle for aarch64 to emulate, found one for x86_64"):
        list(Emulated().run(case.bundle, EngineArguments()))


def test_errors_of_the_engine_become_ours(case: Any) -> None:
    with pytest.raises(SpecError, match="--steps: expected a number from 1"):
        list(Local().run(case.bundle, EngineArguments(steps=0)))
    case.set_plan(steps=case.plan.steps[:-1])
    with pytest.raises(BundleError, match="expected a step to advance the clock"):
        list(Local().run(case.bundle, EngineArguments(steps=1)))


def shell_engine(script: str) -> list[dict[str, Any]]:
    return list(run_process(["sh", "-c", script]))


ENDS: dict[str, tuple[str, type[DaypackError], str]] = {
    "killed": (
        "kill -KILL $$",
        Stopped,
        "engine: killed by SIGKILL; the state on disk is the last one saved",
    ),
    "illegal": ("kill -ILL $$", MissingTool, "engine: SIGILL: the processor lacks an instruction"),
    "crash": ("echo oh >&2; kill -SEGV $$", BundleError, "engine: died by SIGSEGV; .*; it said: oh"),
    "crash over adb": ("exit 139", BundleError, "engine: died by SIGSEGV"),
    "killed over adb": ("exit 137", Stopped, "engine: killed by SIGKILL"),
    "status": ("exit 3", DaypackError, "expected an end or an error event, found exit status 3"),
    "no end": (
        'echo \'{"event":"start"}\'',
        DaypackError,
        "expected an end or an error event, found exit status 0",
    ),
    "noise": ("echo hello", DaypackError, r"expected a line of JSON with an event, found b'hello\\n'"),
    "not an event": ("echo '[]'", DaypackError, r"expected a line of JSON with an event, found b'\[\]\\n'"),
    "error": (
        'echo \'{"event":"error","code":6,"message":"why"}\'; exit 6',
        Stopped,
        "^why$",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends_of_an_engine(name: str) -> None:
    script, kind, message = ENDS[name]
    with pytest.raises(kind, match=message):
        shell_engine(script)


def test_an_engine_that_cannot_start() -> None:
    with pytest.raises(MissingTool, match="/nowhere/engine: cannot start it: No such file or directory"):
        list(run_process(["/nowhere/engine"]))


def test_closing_the_events_stops_the_engine(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **named: started.append(popen(*args, **named)) or started[0]
    )
    events = Local().run(case.bundle, EngineArguments(steps=100000))
    assert next(events)["event"] == "start" and started[0].poll() is None
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert started[0].returncode == ExitCode.STOPPED


# ---- adb


class Phone:
    """A stand-in phone: its settings, what adb was asked, and its disk."""

    def __init__(self, home: Path, bundle: Path) -> None:
        self.home, self.root = home, "/data/local/tmp/daypack/"
        self.root += sha256_of(bundle / MANIFEST)[:16]

    def set(self, **settings: Any) -> None:
        (self.home / "settings.json").write_text(json.dumps(settings))
        (self.home / "calls.json").write_text("")

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.home / "calls.json").read_text().splitlines()]

    def state(self) -> Path:
        return self.home / "disk" / self.root.rsplit("/", 1)[1] / "state" / "state.safetensors"


@pytest.fixture
def phone(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """`adb` on PATH, a phone of this machine's architecture behind it."""
    home = tmp_path / "phone"
    (home / "disk").mkdir(parents=True)
    (home / "bin").mkdir()
    script = home / "bin" / "adb"
    stand_in = Path(__file__).parent / "native" / "stand_in_adb.py"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_PHONE", str(home))
    made = Phone(home, case.bundle)
    made.set(**settings(case))
    return made


def settings(case: Any, **more: Any) -> dict[str, Any]:
    return {"state": "device", "machine": case.plan.target_arch, "emulator": [], **more}


def test_adb_runs_the_engine_and_brings_the_state_home(case: Any, phone: Phone) -> None:
    events = list(Adb().run(case.bundle, EngineArguments(steps=2, threads=2)))
    root = phone.root
    assert phone.calls == [
        ["get-state"],
        ["shell", "uname -m"],
        ["shell", f"mkdir -p {root}/bundle"],
        ["push", f"{case.bundle}/.", f"{root}/bundle/"],
        ["shell", f"chmod 755 {root}/bundle/engine"],
        ["shell", f"test -f {root}/state/state.safetensors"],
        ["shell", "date +%z"],
        [
            "shell",
            f"cd {root} && exec ./bundle/engine --bundle bundle --state state --steps 2 --threads 2 "
            "--commands --utc-offset 20700",
        ],
        ["shell", f"test -f {root}/state/state.safetensors"],
        ["pull", f"{root}/state/state.safetensors", f"{case.state}.tmp"],
        ["shell", f"rm -rf {root}/state"],
    ]
    assert [event["event"] for event in events] == ["start", "step", "step", "end"]
    assert events[-1]["state"] == str(case.state) and events[1]["source"] == "measured"
    assert step_of(case.state) == 2 and not phone.state().exists()
    assert [path.name for path in case.state.parent.iterdir()] == ["state.safetensors"]


def test_files_of_the_machine_that_runs_the_engine(case: Any, phone: Phone, tmp_path: Path) -> None:
    phone.set(**settings(case, system={"/sys/devices/system/cpu/cpu7/cpu_capacity": "1024"}))
    assert Adb().system_file("/sys/devices/system/cpu/cpu7/cpu_capacity") == "1024\n"
    assert Adb().system_file("/sys/devices/system/cpu/cpu8/cpu_capacity") is None
    (tmp_path / "file").write_text("250\n")
    assert Local().system_file(str(tmp_path / "file")) == "250\n"
    assert Local().system_file(str(tmp_path / "none")) is None
    assert Emulated().system_file(str(tmp_path / "file")) is None


def test_where_threads_run_changes_no_result(case: Any) -> None:
    plain = losses(list(Local().run(case.bundle, EngineArguments(steps=2, threads=2))))
    arguments = EngineArguments(steps=2, threads=2, fresh=True, cpus=1, clamp=512)
    placed = list(Local().run(case.bundle, arguments))
    assert losses(placed) == plain
    notes = [event["message"] for event in placed if event["event"] == "note"]
    assert notes in ([], ["clocks cannot be capped here: --clamp has no effect"])


def test_adb_continues_from_the_host_s_state(case: Any, phone: Phone, tmp_path: Path) -> None:
    assert case.run("--steps", "1").status == 0
    shutil.copy(case.bundle / "data.bin", tmp_path / "my data")
    arguments = EngineArguments(steps=1, data=tmp_path / "my data")
    events = list(Adb(serial="PHONE1").run(case.bundle, arguments))
    assert [event["step"] for event in events[:2]] == [1, 2]
    assert step_of(case.state) == 2
    assert all(call[:2] == ["-s", "PHONE1"] for call in phone.calls)
    calls = [call[2:] for call in phone.calls]
    assert ["push", str(tmp_path / "my data"), f"{phone.root}/data.bin"] in calls
    assert ["push", str(case.state), f"{phone.root}/state/state.safetensors"] in calls
    assert calls[10][1].endswith(
        "exec ./bundle/engine --bundle bundle --state state --data data.bin --steps 1 --commands "
        "--utc-offset 20700"
    )


def test_adb_hands_raw_data_to_the_engine_and_removes_them(
    make_case: Callable[..., Any], example: Any, phone: Phone, tmp_path: Path
) -> None:
    case = make_case(name="reader", **example.language_plan())
    case.set_corpus()
    notes = tmp_path / "notes of a day.jsonl"
    notes.write_text('{"text": "Notes of a day."}\n' * 40)
    arguments = EngineArguments(steps=1, data=notes)
    assert list(Adb().run(case.bundle, arguments))[0]["event"] == "prepared"
    (pushed,) = [call for call in phone.calls if str(notes) in call]
    assert pushed[2].endswith("/data.jsonl") and phone.calls[-1] == ["shell", f"rm -f {pushed[2]}"]
    assert not list((phone.home / "disk").rglob("data.jsonl"))
    there = EngineArguments(steps=1, data=notes, data_on_device=True)
    events = list(Adb().run(case.bundle, there))
    assert [event["event"] for event in events] == ["prepared", "start", "step", "end"]
    assert notes.exists()
    assert len([call for call in phone.calls if str(notes) in call]) == 1
    assert not list((phone.home / "disk").rglob("tokens.bin"))


def test_adb_continues_what_a_pulled_cable_left(case: Any, phone: Phone) -> None:
    phone.set(**settings(case, cut=4))
    with pytest.raises(Stopped, match="killed by SIGKILL"):
        list(Adb().run(case.bundle, EngineArguments(steps=100000)))
    first = step_of(case.state)
    assert first >= 1
    phone.set(**settings(case, cut=4, fail="pull"))
    with pytest.raises(
        Stopped, match="adb pull: expected it to succeed, found status 1: adb: error: device offline"
    ):
        list(Adb().run(case.bundle, EngineArguments(steps=100000)))
    assert step_of(case.state) == first
    left = step_of(phone.state())
    assert left > first
    phone.set(**settings(case))
    events = list(Adb().run(case.bundle, EngineArguments(steps=1)))
    assert events[0]["step"] == left and step_of(case.state) == left + 1


def test_adb_fresh_forgets_both_states(case: Any, phone: Phone) -> None:
    list(Adb().run(case.bundle, EngineArguments(steps=2)))
    phone.state().parent.mkdir()
    shutil.copy(case.state, phone.state())
    events = list(Adb().run(case.bundle, EngineArguments(steps=1, fresh=True)))
    assert events[0]["step"] == 0 and step_of(case.state) == 1


def test_adb_evaluates_and_leaves_both_states_as_they_are(case: Any, phone: Phone) -> None:
    case.set_evaluation()
    list(Local().run(case.bundle, EngineArguments(steps=2)))
    before = case.state.read_bytes()
    for fresh, step in ((False, 2), (True, 0)):
        events = list(Adb().run(case.bundle, EngineArguments(evaluate=True, fresh=fresh)))
        assert (events[-1]["event"], events[-1]["step"]) == ("evaluated", step)
        assert not list((phone.home / "disk").rglob("state/state.safetensors"))
    assert case.state.read_bytes() == before


def test_adb_verifies_without_touching_states(case: Any, phone: Phone) -> None:
    events = list(Adb().run(case.bundle, EngineArguments(verify_only=True)))
    assert [event["event"] for event in events] == ["verified"]
    assert not case.state.parent.exists() and not phone.state().parent.exists()


def test_adb_passes_errors_on_and_still_pulls(case: Any, phone: Phone) -> None:
    with pytest.raises(SpecError, match="--threads: expected a number"):
        list(Adb().run(case.bundle, EngineArguments(threads=0)))
    phone.set(**settings(case, fail="push"))
    with pytest.raises(Stopped, match="adb push: expected it to succeed, found status 1"):
        list(Adb().run(case.bundle, EngineArguments()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "unauthorized"}, "adb: expected one device, found: unauthorized; connect one and allow"),
        ({"fail": "get-state"}, "adb: expected one device, found: adb: error: device offline; connect one"),
        ({"machine": "armv8l"}, r"example: expected a bundle for the device \(armv8l\), found one for "),
    ],
)
def test_phones_that_will_not_do(case: Any, phone: Phone, changes: dict[str, Any], message: str) -> None:
    phone.set(**{**settings(case), **changes})
    with pytest.raises(MissingTool, match=message):
        list(Adb().run(case.bundle, EngineArguments()))


def test_no_adb(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingTool, match="install Debian's package adb or Android's platform-tools"):
        list(Adb().run(case.bundle, EngineArguments()))


def test_adb_with_an_arm_phone(make_case: Callable[..., Any], phone: Phone) -> None:
    case = make_case("aarch64", name="arm")
    phone.set(state="device", machine="aarch64", emulator=list(case.emulator))
    assert losses(list(Adb().run(case.bundle, EngineArguments(steps=1))))
    assert step_of(case.state) == 1


def test_adb_when_the_state_has_no_place(case: Any, phone: Phone) -> None:
    case.state.parent.write_text("a file")
    with pytest.raises(SpecError, match=r"example\.state: cannot create the state directory: File exists"):
        list(Adb().run(case.bundle, EngineArguments()))


def test_adb_brings_the_account_of_a_policy_home(case: Any, phone: Phone) -> None:
    """What the job has spent and written: else a limit by the day would begin anew at every run."""
    setting = make_setting("cortex-a76", skin_celsius=90.0)
    case.set_policy(policy_bytes(shipped_policy(always_in(setting, 0), setting, 100)))
    account = case.state.with_name("account")
    for _ in range(2):
        list(Adb().run(case.bundle, EngineArguments(steps=2)))
        assert account.stat().st_size == 48
    first = next(event for event in Adb().run(case.bundle, EngineArguments(steps=1)) if "spent_j" in event)
    assert first["spent_j"] > 0
    assert {path.name for path in case.state.parent.iterdir()} == {"state.safetensors", "account"}
