"""The demo on a model that takes seconds, and every spec in `examples/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from daypack.spec import load_spec

Load = Callable[[str], ModuleType]
SMALLER = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 32,
    "n_positions": 32,
    "max_steps": 24,
    "warmup_steps": 2,
    "batch": 2,
    "sequence": 32,
    "rank": 2,
    "save_steps": 24,
}


def smaller(spec: Path, folder: Path) -> Path:
    """The same spec with small numbers, without a budget."""
    text = spec.read_text()
    for key, value in SMALLER.items():
        text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
    path = folder / spec.name
    path.write_text(
        re.sub(r'^\[budget\]\nmemory = "\d+MB"', '[budget]\nmemory = "400MB"', text, flags=re.MULTILINE)
    )
    return path


def test_the_demo_trains_both_ways_and_compares(
    example: Load,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    demo = example("demo")
    monkeypatch.delenv("JAX_NUMPY_DTYPE_PROMOTION")  # of the tests; a user's JAX child runs without it
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "out")
    (tmp_path / "specs").mkdir()
    specs = [
        smaller(repository / "examples" / name, tmp_path / "specs")
        for name in ("demo-full.toml", "demo-lora.toml")
    ]
    assert demo.main(*specs) == 0
    lines = capfd.readouterr().out.splitlines()
    emulated = shutil.which("qemu-aarch64-static") is not None
    assert sum(line.startswith("emulated phone, step 1: loss") for line in lines) == (2 if emulated else 0)
    assert sum(line.startswith("compiled for pixel8 in") for line in lines) == 2
    assert sum(line.startswith("compiled for host in") for line in lines) == 2
    steps = [float(line.split()[3]) for line in lines if line.startswith("  step ")]
    assert steps[0] > 5 > steps[12]
    row = next(line for line in lines if "off JAX at most" in line)
    assert all(float(value) <= 5e-6 for value in row.split()[-2:])
    if emulated:
        row = next(line for line in lines if "emulated phone off host" in line)
        assert all(float(value) <= 5e-6 for value in row.split()[-2:])
    assert (tmp_path / "out" / "demo-checkpoint" / "model.safetensors").exists()


def test_a_spec_that_cannot_be_used_is_the_demos_exit_code(
    example: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    demo = example("demo")
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "out")
    (tmp_path / "bad.toml").write_text("[model]\n")
    assert demo.main(tmp_path / "bad.toml") == 2
    assert "error: " in capfd.readouterr().err


def test_every_spec_of_the_examples_is_valid(repository: Path, tmp_path: Path) -> None:
    specs = sorted((repository / "examples").glob("*.toml"))
    assert [spec.name for spec in specs] == ["demo-full.toml", "demo-lora.toml", "gpt2-lora.toml"]
    for folder in ("gpt2", "demo-checkpoint"):
        (tmp_path / folder).mkdir()
    for name in ("gpt2/tokenizer.json", "notes.txt", "code.txt"):
        (tmp_path / name).write_text("{}")
    for spec in specs:
        assert load_spec(Path(shutil.copy(spec, tmp_path))).device.profile == "pixel8"
