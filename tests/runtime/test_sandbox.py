"""The engine's sandbox: what is inside cannot get out, and a whole training needs nothing that is outside."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ziglang

from daypack.runtime.policies import POLICIES, tabulate
from daypack.runtime.policy_file import policy_bytes, shipped_policy
from daypack.runtime.signature import make_key, sign
from tests.runtime import test_engine_plans
from tests.runtime.test_commands import talking
from tests.runtime.test_governor import always_in, make_setting

several = test_engine_plans.several
READINGS = (
    '{"command": "readings", "battery": 0.9, "skin_celsius": 30, "charging": true, "screen": false, '
    '"memory_mb": 4000}'
)
ALL = ["no_new_privileges", "landlock", "seccomp"]
KILL, REFUSE, ALLOW = 0x80000000, 0x00050001, 0x7FFF0000
X86_64, AARCH64 = 0xC000003E, 0xC00000B7


@pytest.fixture
def sandboxed(make_case: Callable[..., Any]) -> Any:
    """A case whose engine intrudes; skipped where the kernel cannot confine it."""
    case = make_case(variant="intruder")
    run = case.run("--steps", "1", "--fresh")
    assert run.status == 0, run
    if run.events[0]["sandbox"] != ALL:
        pytest.skip(f"this kernel confines with {run.events[0]['sandbox']} only")
    return case


def intrude(case: Any, what: str, where: str, target: Path | str = "") -> Any:
    return case.run(
        "--steps", "2", "--threads", "2", env={"INTRUDE": f"{what}@{where}", "TARGET": str(target)}
    )


@pytest.mark.parametrize("where", ["load", "run", "thread"])
def test_no_file_outside_is_opened(sandboxed: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / "private.txt").write_text("mine")
    denied = [
        ("read", "/etc/passwd"),
        ("read", tmp_path / "private.txt"),
        ("write", sandboxed.bundle / "weights.bin"),
        ("create", sandboxed.bundle / "new"),
        ("unlink", sandboxed.bundle / "weights.bin"),
        ("create", tmp_path / "new"),
        ("mkdir", tmp_path / "new"),
        ("write", "/proc/self/comm"),
    ]
    for what, target in denied:
        run = intrude(sandboxed, what, where, target)
        assert run.status == 0 and run.stderr == "intrusion: Permission denied\n", (what, target, run)
    for what in ("chmod", "symlink"):
        run = intrude(sandboxed, what, where, sandboxed.state)
        assert run.status == 0 and run.stderr == "intrusion: Operation not permitted\n", (what, run)
    run = intrude(sandboxed, "read", where, tmp_path.parent)
    assert run.stderr == "intrusion: Permission denied\n", run
    assert (sandboxed.bundle / "weights.bin").stat().st_size == 16448 and not (tmp_path / "new").exists()


def test_what_is_open_before_there_is_a_state_directory(sandboxed: Any, tmp_path: Path) -> None:
    first = sandboxed.state.parent
    for where, status, said in (("load", 0, "succeeded"), ("run", 0, "Permission denied")):
        for path in sorted(first.glob("*")):
            path.unlink()
        first.rmdir()
        run = intrude(sandboxed, "create", where, tmp_path / where)
        assert run.status == status and run.stderr == f"intrusion: {said}\n"
        assert run.events[0]["sandbox"] == ALL
        for path in sorted(first.glob("*")):
            path.unlink()
        first.rmdir()
        run = intrude(sandboxed, "read", where, "/etc/passwd")
        assert run.stderr == "intrusion: Permission denied\n"


@pytest.mark.parametrize("where", ["load", "run", "thread"])
@pytest.mark.parametrize("what", ["socket", "execve", "fork", "ptrace"])
def test_what_only_an_intruder_calls_ends_the_process(sandboxed: Any, what: str, where: str) -> None:
    run = intrude(sandboxed, what, where)
    assert run.status == -signal.SIGSYS and "intrusion" not in run.stderr, run
    again = sandboxed.run("--steps", "1")
    assert again.status == 0


@pytest.mark.parametrize("what", ["code", "kill"])
def test_other_calls_are_refused(sandboxed: Any, what: str) -> None:
    run = intrude(sandboxed, what, "thread")
    assert run.status == 0 and run.stderr == "intrusion: Operation not permitted\n"


def test_the_intruder_would_get_out_without_a_sandbox(sandboxed: Any) -> None:
    """So the tests above do test the sandbox."""
    run = sandboxed.run("--steps", "1", env={"INTRUDE": "off"})
    assert run.status == 0 and run.events[0]["sandbox"] == []


def test_a_whole_training_makes_no_call_outside_the_list(
    make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    """Paged and not, stopped and resumed, with every option; a call that is not listed ends this build."""
    for name, changes in (("resident", {}), ("paged", example.paged_plan())):
        case = make_case(variant="strict", name=name, **changes)
        free = make_case(variant="intruder", name=f"{name}-free", **changes)
        assert free.run("--steps", "6", env={"INTRUDE": "off"}).status == 0
        assert case.run("--verify-only").status == 0
        for options in (
            ["--threads", "3"],
            ["--profile", "--audit-arena"],
            ["--data", case.bundle / "data.bin"],
        ):
            run = case.run("--steps", "1", *map(str, options))
            assert run.status == 0 and "seccomp" in run.events[0]["sandbox"], run
        assert case.run("--steps", "1", "--direct").status in (
            0,
            2,
        )  # not every file system reads past its cache
        command = case.command("--steps", "100000", "--threads", "2")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        while b'"step"' not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 6
        fresh = case.run("--steps", "6", "--fresh")
        assert fresh.status == 0 and case.state.read_bytes() == free.state.read_bytes()


def test_a_governed_training_makes_no_call_outside_the_list(
    make_case: Callable[..., Any], tmp_path: Path
) -> None:
    """Real sensors and none, policies whose gears change cores and clocks, commands of each kind."""
    setting = make_setting("pixel8")
    policies = {"one": always_in(setting, 0), "rests": tabulate(POLICIES["mobilefinetuner"], setting)}
    for name, table in policies.items():
        case = make_case(variant="strict", name=name)
        case.set_policy(policy_bytes(shipped_policy(table, setting, 10**6)))
        for sensors in ([], ["--sensors", str(tmp_path)]):
            with talking(case, "--steps", "1000000", "--decisions", *sensors) as talk:
                assert "seccomp" in talk.hear("start")["sandbox"]
                talk.say(READINGS)
                talk.hear("command")
                talk.hear("step")
                for command in ("pause", "status", "resume", "dance"):
                    talk.say(f'{{"command": "{command}"}}')
                    talk.hear({"status": "status", "dance": "refused"}.get(command, "command"))
                talk.say('{"command": "budget", "memory_bytes": 7000000, "joules_per_day": 1e9}')
                talk.hear("command")
                talk.hear("step")
                talk.say('{"command": "stop"}')
                assert talk.process.wait(timeout=60) == 6


def test_every_other_feature_makes_no_call_outside_the_list(
    make_case: Callable[..., Any], several: Callable[..., Any], tmp_path: Path
) -> None:
    """Orders, less memory and more again, evaluation, a hash tree, a signature, another's state."""
    free = several(name="free").run("--steps", "6")
    case = several(variant="strict")
    for arguments in (["--rotate", "--squeeze", "2", "--relax", "1"], ["--order", "deferred"]):
        run = case.run("--steps", "6", "--fresh", *arguments)
        assert run.status == 0 and [event["loss"] for event in run.steps][-1] == free.steps[-1]["loss"]
    with talking(case, "--steps", "1000000", "--fresh") as talk:
        talk.hear("step")
        talk.say(f'{{"command": "budget", "memory_bytes": {test_engine_plans.SMALL}}}')
        assert talk.hear("plan")["discarded"] in (True, False)
        talk.process.terminate()
        assert talk.process.wait(timeout=60) == 6
    other = make_case(variant="strict", name="other")
    weights = (other.bundle / "weights.bin").read_bytes()
    other.set_file("weights.bin", weights + bytes(2_000_000))
    make_key(tmp_path / "key")
    key = sign(other.bundle, tmp_path / "key")
    run = other.run("--steps", "2", "--require-signature", key.hex, "--state", str(tmp_path / "elsewhere"))
    assert run.status == 0, run
    other.set_evaluation()
    assert other.run("--steps", "1").status == 0
    assert other.run("--evaluate").status == 0


def judge(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter answers to a system call: the classic BPF that seccomp runs."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *(0 for _ in range(6 - len(arguments))))
    instructions = list(struct.iter_unpack("<HBBI", program))
    position, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            position += if_true if accumulator == value else if_false
        elif code == 0x45:
            position += if_true if accumulator & value else if_false
        elif code == 0x06:
            return value
        else:
            raise AssertionError(f"no instruction {code:#x} in this filter")


def filter_of(case: Any) -> bytes:
    done = subprocess.run(
        [*case.emulator, str(case.bundle / "engine")],
        env={"INTRUDE": "filter"},
        capture_output=True,
        check=True,
    )
    return bytes.fromhex(done.stdout.decode())


def test_another_architecture_s_numbers_are_not_taken_for_ours(make_case: Callable[..., Any]) -> None:
    program = filter_of(make_case(variant="intruder"))
    own = {"x86_64": (X86_64, AARCH64), "aarch64": (AARCH64, X86_64)}
    import platform

    here, other = own[platform.machine()]
    futex = {X86_64: 202, AARCH64: 98}
    assert judge(program, here, futex[here]) == ALLOW
    assert judge(program, other, futex[here]) == judge(program, 0x40000003, futex[here]) == KILL
    assert judge(program, here, 0x40000000 + futex[here]) == REFUSE  # x32


def test_the_filter_for_arm_allows_all_that_an_emulated_training_calls(
    make_case: Callable[..., Any], example: Any, tmp_path: Path
) -> None:
    """An emulator has no seccomp, so the filter is judged here on what the emulator says was called."""
    case = make_case(arch="aarch64", variant="intruder", name="arm", **example.paged_plan())
    program = filter_of(case)
    header = Path(ziglang.__file__).parent / "lib/libc/include/any-linux-any/asm-generic/unistd.h"
    text = header.read_text()
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    numbers["newfstatat"] = numbers["fstatat"]
    trace = tmp_path / "trace"
    run = subprocess.run(
        [case.emulator[0], "-strace", "-D", str(trace), *case.command("--steps", "2", "--threads", "2")[1:]],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b'"event":"end"' in run.stdout
    assert b'"sandbox":["no_new_privileges"]' in run.stdout
    called = set(re.findall(r"^\d+ (\w+)\(", trace.read_text() + run.stderr.decode(), re.MULTILINE))
    called -= {"prctl", "seccomp"} | {name for name in called if name.startswith("landlock")}
    assert {"futex", "pread64", "openat", "fsync", "renameat2", "clone"} <= called, called
    flags = {"clone": (0x7D0F00,), "mmap": (0, 0, 3), "mprotect": (0, 0, 3)}
    for name in sorted(called):
        assert judge(program, AARCH64, numbers[name], flags.get(name, ())) == ALLOW, name
    assert judge(program, AARCH64, numbers["clone"], (17,)) == KILL
    assert judge(program, AARCH64, numbers["mmap"], (0, 0, 5)) == REFUSE
    assert {judge(program, AARCH64, numbers[name]) for name in ("execve", "socket", "ptrace")} == {KILL}
    assert judge(program, AARCH64, numbers["chroot"]) == REFUSE
