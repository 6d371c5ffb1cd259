"""A damaged bundle is refused with exit code 4, by the engine and by the host, whatever is damaged."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daypack.errors import BundleError, ExitCode
from daypack.runtime.bundle import read_bundle, read_manifest, verify_manifest
from daypack.runtime.launch import EngineArguments, Local

FILES = ("MANIFEST", "bundle.json", "data.bin", "engine", "plan.bin", "state.safetensors", "weights.bin")


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file(case: Any, name: str, tmp_path: Path) -> None:
    path = case.bundle / name
    original = path.read_bytes()
    trusted = tmp_path / "trusted-engine"  # so that the damaged executable need not run to judge itself
    trusted.write_bytes((case.bundle / "engine").read_bytes())
    trusted.chmod(0o755)
    case.command = lambda *arguments: [str(trusted), "--bundle", str(case.bundle), *arguments]
    rng = random.Random(name)
    positions = {0, len(original) - 1, len(original) // 2, *(rng.randrange(len(original)) for _ in range(5))}
    for position in sorted(positions):
        damaged = bytearray(original)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        run = case.run("--steps", "1")
        assert run.status == 4, (position, run)
        with pytest.raises(BundleError) as caught:
            verify_manifest(case.bundle)
        assert caught.value.code == ExitCode.BAD_BUNDLE
    path.write_bytes(original)
    assert case.run("--steps", "1").status == 0


def test_flips_of_weights_are_found(case: Any) -> None:
    """FLIPS=10000 for the full number."""
    path = case.bundle / "weights.bin"
    data = bytearray(path.read_bytes())
    rng = random.Random(0)
    for _ in range(int(os.environ.get("FLIPS", "200"))):
        position, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        with path.open("r+b") as file:
            for change in (bit, 0):
                file.seek(position)
                file.write(bytes([data[position] ^ change]))
                file.flush()
                run = case.run("--verify-only") if change else None
                assert run is None or (
                    run.status == 4 and run.message.startswith("weights.bin: expected SHA-256")
                )
    assert case.run("--verify-only").status == 0


def test_a_launcher_never_starts_a_damaged_engine(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = case.bundle / "engine"
    damaged = bytearray(engine.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    engine.write_bytes(damaged)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("the engine was started"))
    with pytest.raises(BundleError, match=r"engine: expected SHA-256 \w+ as MANIFEST says, found"):
        list(Local().run(case.bundle, EngineArguments(steps=1)))


def line(lines: list[str], index: int, change: Callable[[str], str]) -> str:
    return "".join([*lines[:index], change(lines[index]), *lines[index + 1 :]])


# name -> what becomes of the manifest's lines (index 0 is the version; then bundle.json, data.bin, engine,
# ...)
MANIFESTS: dict[str, Callable[[list[str]], str]] = {
    "empty": lambda lines: "",
    "only a version": lambda lines: lines[0],
    "another version": lambda lines: line(lines, 0, lambda text: "daypack-bundle 11\n"),
    "no last newline": lambda lines: "".join(lines)[:-1],
    "a blank line": lambda lines: "".join([*lines, "\n"]),
    "carriage returns": lambda lines: "".join(lines).replace("\n", "\r\n"),
    "upper-case hash": lambda lines: line(lines, 1, lambda text: text[:64].upper() + text[64:]),
    "short hash": lambda lines: line(lines, 1, lambda text: text[1:]),
    "two spaces": lambda lines: line(lines, 1, lambda text: text.replace(" ", "  ", 1)),
    "tab": lambda lines: line(lines, 1, lambda text: text.replace(" ", "\t", 1)),
    "leading zero": lambda lines: line(lines, 1, lambda text: text.replace(" ", " 0", 1)),
    "negative size": lambda lines: line(lines, 1, lambda text: text.replace(" ", " -", 1)),
    "no size": lambda lines: line(lines, 1, lambda text: f"{text[:64]}  {text.split()[2]}\n"),
    "huge size": lambda lines: line(lines, 1, lambda text: f"{text[:64]} {2**64} {text.split()[2]}\n"),
    "no name": lambda lines: line(lines, 1, lambda text: text[: text.rindex(" ") + 1] + "\n"),
    "absolute": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "/etc/passwd")),
    "parent": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "..")),
    "inside": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "a/b")),
    "hidden": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", ".bundle.json")),
    "a control character": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "b\x01")),
    "a zero byte": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "b\0")),
    "not ASCII": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "b\u00fc")),
    "long name": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "b" * 128)),
    "itself": lambda lines: line(lines, 1, lambda text: text.replace("bundle.json", "MANIFEST")),
    "twice": lambda lines: "".join([*lines[:2], *lines[1:]]),
    "unsorted": lambda lines: "".join([lines[0], lines[2], lines[1], *lines[3:]]),
    "missing engine": lambda lines: "".join([*lines[:3], *lines[4:]]),
    "a file that is not there": lambda lines: "".join([*lines, lines[-1].replace("weights.bin", "x")]),
    "too large": lambda lines: "".join(lines) + "x" * 70000,
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_malformed_manifests(case: Any, name: str) -> None:
    path = case.bundle / "MANIFEST"
    lines = path.read_text().splitlines(keepends=True)
    path.write_bytes(MANIFESTS[name](lines).encode())
    assert case.run("--verify-only").status == 4
    with pytest.raises(BundleError, match="MANIFEST|lists"):
        read_manifest(case.bundle)


def test_the_host_refuses_files_that_are_not_listed(case: Any) -> None:
    (case.bundle / "notes.txt").write_text("x")
    with pytest.raises(
        BundleError, match=r"expected only the files that MANIFEST lists, found also notes\.txt"
    ):
        read_bundle(case.bundle)


def test_a_bundle_in_use_cannot_name_a_special_file(case: Any, tmp_path: Path) -> None:
    (case.bundle / "data.bin").unlink()
    os.mknod(case.bundle / "data.bin", 0o600 | stat.S_IFIFO)
    run = case.run("--verify-only")
    assert run.status == 4 and run.message.endswith(
        "data.bin: expected a readable file, found: Invalid argument"
    )
