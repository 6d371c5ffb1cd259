"""A compiled bundle says what its steps ask of a device, and can be simulated on another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from parity.specs import LORA, gpt2

from daypack import api
from daypack.cli.app import main
from daypack.devices import Figure, FigureKind, load_profile, profile_text
from daypack.errors import SpecError
from daypack.runtime.policy_file import read_policy
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


def host_with_energy(folder: Path) -> str:
    """This machine with a figure that is not known of it, as a profile of one's own."""
    host = load_profile("host")
    joules = Figure(3e-9, "for a test", FigureKind.ASSUMED)
    flash = replace(host.flash, read_energy_j_per_byte=joules, write_energy_j_per_byte=joules)
    path = folder / "mine.toml"
    path.write_text(profile_text(replace(host, flash=flash), "for a test"))
    return str(path)


def test_a_bundle_carries_its_policy_and_the_engine_follows_it(
    ids: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compiled with [energy] for this machine; without it the losses are the same bits."""
    text = to_toml(gpt2(ids(128), SMALL, LORA, sequence=32, device=host_with_energy(tmp_path)))
    energy = '\n[energy]\npolicy = "pace"\nquiet_hours = [3, 3]\nwritten = "1GB"\n'
    specs = {name: parse_spec(t, base=tmp_path, where="s") for name, t in (("a", text), ("b", text + energy))}
    losses: dict[str, list[float]] = {}
    for name, spec in specs.items():
        bundle = api.compile_spec(spec, out=tmp_path / f"{name}.bundle").bundle
        losses[name] = [event.loss for event in api.run_bundle(bundle, steps=3)]
        assert (bundle / "policy.bin").exists() == (name == "b")
    assert losses["a"] == losses["b"]
    shipped = read_policy(tmp_path / "b.bundle" / "policy.bin")
    assert shipped.table.policy == "pace" and shipped.steps == specs["b"].train.max_steps
    assert shipped.table.limits.written_bytes == 1e9
    work = load_workload(str(tmp_path / "b.bundle"))
    assert shipped.shards == len(work.shards) and shipped.figures["memory_mb"] == work.peak_bytes / 1e6


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        ('policy = "hasty"', "unknown policy 'hasty'; known: always"),
        ('policy = "none.py:mine"', "there is no Python file none.py"),
        ("quiet_hours = [22, 25]", "energy.quiet_hours"),
        ("reserve = 2", "energy.reserve: got 2"),
        ("[energy.parameters]\nspeed = 2", "policy lookahead: speed: unknown parameter; takes hedge"),
    ],
)
def test_what_no_policy_can_be_is_said_before_anything_is_compiled(
    energy: str, message: str, ids: Callable[[int], Path], tmp_path: Path
) -> None:
    text = (
        to_toml(gpt2(ids(128), SMALL, LORA, sequence=32, device=host_with_energy(tmp_path)))
        + f"\n[energy]\n{energy}\n"
    )
    with pytest.raises(SpecError, match=message):
        api.compile_spec(parse_spec(text, base=tmp_path, where="s"), out=tmp_path / "none.bundle")
    assert not (tmp_path / "none.bundle").exists()
