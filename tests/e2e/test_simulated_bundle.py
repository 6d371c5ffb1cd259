"""A compiled bundle says what its steps ask of a device, and can be simulated on another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from parity.specs import LORA, gpt2

from daypack import api
from daypack.cli.app import main
from daypack.runtime.study import load_workload
from daypack.spec import parse_spec, to_toml

SMALL = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 128, "n_positions": 32}


def test_a_bundle_is_simulated(
    ids: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = parse_spec(
        to_toml(gpt2(ids(128), SMALL, LORA, device="pixel8", sequence=32)), base=tmp_path, where="s"
    )
    bundle = api.compile_spec(spec, out=tmp_path / "a.bundle")
    work = load_workload(str(bundle.bundle))
    assert len(work.shards) == bundle.shards
    assert work.tokens == spec.train.batch * spec.train.sequence
    assert work.peak_bytes == bundle.predicted.peak_bytes
    assert work.written_bytes == pytest.approx(bundle.predicted.flash_written_bytes)
    assert sum(s.read_bytes for s in work.shards) == pytest.approx(bundle.predicted.flash_read_bytes)
    arguments = ["simulate", "--device", "snapdragon-8gen2", "--recording", "commuter:1", "--policy", "pace"]
    capsys.readouterr()
    assert main([*arguments, "--bundle", str(bundle.bundle), "--steps", "50", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tokens"] == 50 * work.tokens and record["joules"] > 0
