"""A bundle appears whole or not at all, replaces only bundles, and is checked in every part when read."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daypack.errors import BundleError, ExitCode, SpecError
from daypack.runtime import bundle as bundle_module
from daypack.runtime.bundle import new_bundle, read_bundle, sha256_of, write_manifest


def test_a_bundle_reads_back(case: Any) -> None:
    bundle = read_bundle(case.bundle)
    assert bundle.path == case.bundle and bundle.plan == case.plan
    assert bundle.description == {"made_by": "tests"}
    names = ["bundle.json", "data.bin", "engine", "plan.bin", "state.safetensors", "weights.bin"]
    assert [entry.name for entry in bundle.files] == names
    for entry in bundle.files:
        assert entry.sha256 == sha256_of(case.bundle / entry.name)
        assert entry.size_bytes == (case.bundle / entry.name).stat().st_size


def fill(directory: Path, text: str = "x") -> None:
    (directory / "file").write_text(text)


def test_a_new_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("first", "second"):
        with new_bundle(out) as staging:
            fill(staging, text)
        assert (out / "file").read_text() == text
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    (out / "MANIFEST").unlink()
    with (
        pytest.raises(SpecError, match="expected a new name or a bundle to replace, found another directory"),
        new_bundle(out),
    ):
        pass
    assert (out / "file").exists()
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SpecError, match="found a file; give another --out"), new_bundle(file):
        pass


def test_a_failure_leaves_nothing_and_the_old_bundle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_bundle(out) as staging:
        fill(staging, "old")
    with pytest.raises(ZeroDivisionError), new_bundle(out) as staging:
        fill(staging)
        _ = 1 // 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (out / "file").read_text() == "old"


def test_a_full_disk_while_writing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = "out: cannot write the bundle: No space left on device"
    with pytest.raises(SpecError, match=message) as caught, new_bundle(out):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == ExitCode.BAD_INPUT and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for parent, why in ((tmp_path / "file", "Not a directory"), (Path("/proc"), "No such file or directory")):
        message = f"cannot write a bundle there: {why}; give another --out"
        with pytest.raises(SpecError, match=message), new_bundle(parent / "out"):
            pass


def test_the_old_bundle_comes_back_when_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with new_bundle(out) as staging:
        fill(staging, "old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".old") or target.name.endswith(".old"):
            return rename(self, target)
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(SpecError, match="Permission denied"), new_bundle(out) as staging:
        fill(staging)
    assert (out / "file").read_text() == "old"


@pytest.mark.parametrize("name", ["a b", ".hidden", "ü", "x" * 128])
def test_names_that_no_manifest_may_have(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(BundleError, match="expected a plain file name for a bundle"):
        write_manifest(tmp_path)


def change(case: Any, name: str, data: bytes) -> None:
    case.set_file(name, data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda case: change(case, "bundle.json", b"{"),
            "bundle.json: expected JSON, found bytes that are not",
        ),
        (lambda case: change(case, "bundle.json", b"[]"), "bundle.json: expected a JSON object, found list"),
        (lambda case: change(case, "plan.bin", b"x"), "plan.bin: expected at least 304 bytes, found 1"),
        (
            lambda case: change(case, "weights.bin", b"x" * 64),
            "weights.bin: expected at least 16448 bytes, which",
        ),
        (
            lambda case: change(case, "state.safetensors", b"x"),
            "state.safetensors: expected .* bytes for this",
        ),
        (
            lambda case: (case.bundle / "engine").unlink(),
            "engine: expected the file that MANIFEST lists, found none",
        ),
        (
            lambda case: (case.bundle / "MANIFEST").unlink(),
            "MANIFEST: expected the manifest of a bundle, found none",
        ),
    ],
)
def test_what_reading_refuses(case: Any, damage: Callable[[Any], Any], message: str) -> None:
    damage(case)
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(case.bundle)
    assert caught.value.code == ExitCode.BAD_BUNDLE


def test_an_unreadable_file_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing: expected a readable file, found: No such file"):
        bundle_module.sha256_of(tmp_path / "nothing")


def test_files_are_listed_in_byte_order(tmp_path: Path) -> None:
    for name in ("b", "B", "a-b", "a.b", "a_b", "0"):
        (tmp_path / name).write_text(json.dumps(name))
    assert [entry.name for entry in write_manifest(tmp_path)] == sorted(["b", "B", "a-b", "a.b", "a_b", "0"])
