"""Building the engine: small, static, cached, reproducible, and clear when something is wrong."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daypack.errors import DaypackError, ExitCode, MissingTool
from daypack.runtime import build
from daypack.runtime.budget import BASE_BYTES, THREAD_BYTES
from daypack.runtime.commands import Commands
from daypack.runtime.plan_file import Kernel, Phase


def build_example(object_bytes: bytes, out: Path, example: Any, **changes: Any) -> build.BuiltEngine:
    arguments: dict[str, Any] = {
        "triple": example.TRIPLES[example.HOST],
        "kernel_object": object_bytes,
        "kernels": example.KERNELS,
        "scratch_bytes": example.SCRATCH_BYTES,
        "out": out,
    }
    return build.build_engine(**{**arguments, **changes})


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_the_engine_is_small_and_static(
    engines: Callable[..., build.BuiltEngine], kernel_objects: Callable[[str], bytes], arch: str
) -> None:
    built = engines(arch)
    assert built.size_bytes == built.path.stat().st_size <= 300_000
    assert built.kernel_id == hashlib.sha256(kernel_objects(arch)).digest()
    elf = built.path.read_bytes()
    assert (
        elf[:4] == b"\x7fELF" and struct.unpack_from("<H", elf, 18)[0] == {"x86_64": 62, "aarch64": 183}[arch]
    )
    (offset,), (size, count) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", elf, offset + index * size) for index in range(count)]
    assert not {2, 3} & {kind for kind, *_ in segments}, "no interpreter, nothing dynamic"
    if arch == "aarch64":
        alignments = {alignment for kind, *_, alignment in segments if kind == 1}
        assert min(alignments) >= 16384, "new phones have pages of 16 KB"


def test_a_second_build_only_links_and_is_the_same(
    engines: Callable[..., build.BuiltEngine],
    kernel_objects: Callable[[str], bytes],
    tmp_path: Path,
    example: Any,
) -> None:
    first = engines()
    begin = time.monotonic()
    second = build_example(kernel_objects(example.HOST), tmp_path / "engine", example)
    assert second.path.read_bytes() == first.path.read_bytes()
    assert time.monotonic() - begin < 10
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_the_cache_is_keyed_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = build._cache_key("x86_64-linux-musl", [build.MAIN], ())
    assert key == build._cache_key("x86_64-linux-musl", [build.MAIN], ())
    other = tmp_path / "main.c"
    other.write_text(build.MAIN.read_text() + "\n")
    different = {
        key,
        build._cache_key("aarch64-linux-musl", [build.MAIN], ()),
        build._cache_key("x86_64-linux-musl", [other], ()),
        build._cache_key("x86_64-linux-musl", [build.MAIN], ("-O0",)),
    }
    assert len(different) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert build._cache_root() == Path("/some/where/daypack/engine")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert build._cache_root() == Path("/home/someone/.cache/daypack/engine")


def test_phases_may_share_a_symbol_and_kernels_may_have_no_arguments(tmp_path: Path, example: Any) -> None:
    source = "void f(void *s, int a, int b, int c) {(void)s; (void)a; (void)b; (void)c;}\n"
    (tmp_path / "f.c").write_text(source)
    triple = example.TRIPLES[example.HOST]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-c", "f.c", "-o", "f.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    kernels = (Kernel("k", 0, (Phase("f", 0, 1), Phase("f", 1, 2))), Kernel("again", 0, (Phase("f", 2, 3),)))
    built = build_example((tmp_path / "f.o").read_bytes(), tmp_path / "e", example, kernels=kernels)
    assert subprocess.run([built.path], capture_output=True, check=False).returncode == 2
    built = build_example((tmp_path / "f.o").read_bytes(), tmp_path / "e", example, kernels=())
    assert subprocess.run([built.path], capture_output=True, check=False).returncode == 2


WRONG: dict[str, tuple[dict[str, Any], type[DaypackError], str]] = {
    "target": (
        {"triple": "riscv64-linux-musl"},
        DaypackError,
        "engine: expected a target of x86_64-linux-musl, ",
    ),
    "symbol": (
        {"kernels": (Kernel("k", 0, (Phase("f; int x", 0, 1),)),)},
        DaypackError,
        "kernel 'k': expected a C name for a symbol, found 'f; int x'",
    ),
    "arity": (
        {"kernels": (Kernel("k", 1, (Phase("f", 0, 1),)), Kernel("l", 2, (Phase("f", 0, 1),)))},
        DaypackError,
        "kernel 'l': symbol f takes 1 arguments in another kernel, 2 here",
    ),
    "missing symbol": (
        {"kernels": (Kernel("k", 1, (Phase("not_there", 0, 1),)),)},
        MissingTool,
        "(?s)engine: `zig cc -target .*not_there",
    ),
    "not an object": ({"kernel_object": b"hello"}, MissingTool, "(?s)engine: `zig cc -target .*kernels.o"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_built(
    kernel_objects: Callable[[str], bytes], tmp_path: Path, example: Any, name: str
) -> None:
    changes, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        build_example(kernel_objects(example.HOST), tmp_path / "engine", example, **changes)
    assert list(tmp_path.iterdir()) == []


def test_without_the_compiler(tmp_path: Path, example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "ziglang" else find_spec(name)
    )
    message = "ziglang: expected the Python package that compiles the engine, found none; install it with `"
    with pytest.raises(MissingTool, match=message) as caught:
        build_example(b"", tmp_path / "engine", example)
    assert caught.value.code == ExitCode.MISSING_TOOL


def test_the_engine_and_the_planner_count_the_same_overhead() -> None:
    text = (build.NATIVE / "src" / "arena.c").read_text()
    assert f"BASE_BYTES = {BASE_BYTES}, THREAD_BYTES = {THREAD_BYTES // 1024} * 1024" in text


def test_what_is_built_ahead_is_waited_for_or_stopped(
    tmp_path: Path, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    triple = example.TRIPLES[example.HOST]
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zig"
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(usual)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(KeyError), build.engine_ahead(triple):
        raise KeyError
    assert not list(tmp_path.rglob("*.o")), "what a failed body began is gone"
    with build.engine_ahead("no-such-target") as ready:
        ready()
    monkeypatch.setattr("daypack.runtime.build.NATIVE", tmp_path)
    (tmp_path / "src").mkdir()
    with pytest.raises(MissingTool, match=r"zig .* failed"), build.engine_ahead(triple) as ready:
        ready()


def test_commands_are_stopped_with_what_they_started(tmp_path: Path) -> None:
    commands = Commands()
    found: list[tuple[int, str]] = []
    script = "sleep 60 & echo $! > child; wait"
    thread = threading.Thread(target=lambda: found.append(commands.run(["sh", "-c", script], tmp_path)))
    thread.start()
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().endswith("\n"):
        time.sleep(0.01)
    commands.stop()
    thread.join(30)
    assert found[0][0] < 0
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(int((tmp_path / "child").read_text()), 0)
            time.sleep(0.01)
    assert commands.run(["true"], tmp_path)[0] < 0
