"""`daypack tune` measures a step on this machine; `compile --tuning` takes its table, and the bits stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parity.specs import LORA, gpt2

from daypack import api
from daypack.compiler.kernels.tuning import FORMAT, Tuned, read_table, write_table
from daypack.errors import SpecError
from daypack.tuner import MARGIN, best_of, tune_spec, tuned_of

TINY = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 300, "n_positions": 40}
ENTRY = Tuned("1x32x96x32 in place", 4, 1, 16, 8, 0.5)


def test_a_step_is_tuned_here_and_compiled_by_its_table(ids: Callable[[int], Path], tmp_path: Path) -> None:
    spec = gpt2(ids(300), TINY, LORA, max_steps=2, batch=2, sequence=16)
    table, tried = tmp_path / "table.json", list[int]()
    result = tune_spec(spec, out=table, candidates=2, steps=1, on_candidate=tried.append)
    assert tried == [0, 1]
    written = json.loads(table.read_text())
    assert (result.products > 5, len(written["products"])) == (True, result.tuned)
    assert 0 < result.tuned_seconds <= result.model_seconds
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.json"], "bundles are left behind"

    write_table(table, written["device"], [replace(ENTRY, seconds=1e-3)])
    losses: list[list[float]] = []
    for number, tuning in enumerate((None, table)):
        bundle = tmp_path / f"bundle{number}"
        api.compile_spec(spec, out=bundle, tuning=tuning)
        losses.append([event.loss for event in api.run_bundle(bundle, steps=2)])
        known = json.loads((bundle / "bundle.json").read_text())["kernels"]
        schedules = [str(kernel["schedule"]) for kernel in known]
        own = [s for s in schedules if s.startswith(f"gemm {ENTRY.product},")]
        assert own
        assert all("depth 16, rows 8" in schedule for schedule in own) == bool(tuning)
    assert losses[0] == losses[1]


def test_the_emulator_is_no_device(ids: Callable[[int], Path], tmp_path: Path) -> None:
    spec = gpt2(ids(300), TINY, LORA)
    with pytest.raises(SpecError, match="--via: expected local or adb .*, found 'emulated'"):
        tune_spec(spec, out=tmp_path / "table.json", via="emulated")


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", "a: b", [ENTRY])
    assert read_table(tmp_path / "t.json", "a: b").products == (ENTRY,)


def test_a_table_of_another_device_is_refused_by_name(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", "cortex-a76: Raspberry Pi 5", [ENTRY])
    with pytest.raises(SpecError, match="measured on cortex-x3: X3, found those of 'cortex-a76: Raspberry"):
        read_table(tmp_path / "t.json", "cortex-x3: X3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mr": 0}, r"products\[0\].mr: expected a positive integer, found 0"),
        ({"depth": 1.5}, r"products\[0\].depth: expected a positive integer, found 1.5"),
        ({"block": 6}, r"products\[0\].block: expected a multiple of mr = 4, found 6"),
        ({"product": 7}, r"products\[0\].product: expected a text, found 7"),
        ({"more": 1}, r"products\[0\]: expected product, mr, vectors, depth, block, seconds, found"),
    ],
)
def test_a_value_that_cannot_be_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", "d", [ENTRY])
    record = json.loads((tmp_path / "t.json").read_text())
    record["products"][0] |= change
    (tmp_path / "t.json").write_text(json.dumps(record))
    with pytest.raises(SpecError, match=message):
        read_table(tmp_path / "t.json", "d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a tuning table, found none"),
        ("not json", "expected a tuning table in JSON"),
        ("[]", f"expected a tuning table of format {FORMAT}, found another file"),
    ],
)
def test_what_is_no_table_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "t.json").write_text(text)
    with pytest.raises(SpecError, match=message):
        read_table(tmp_path / "t.json", "d")


def test_what_is_kept_beats_the_first_choice_clearly() -> None:
    first, second = ENTRY, replace(ENTRY, block=4)
    assert best_of({first: 1.0, second: 1.0 - MARGIN / 2}) == first
    assert best_of({first: 1.0, second: 1.0 - 2 * MARGIN}) == second


def test_schedules_are_read_back() -> None:
    said = "gemm 1x512x768x3072 in place, tile 8x48, depth 1536, rows 512"
    assert tuned_of(said, 16) == Tuned("1x512x768x3072 in place", 8, 3, 1536, 512, 0.0)
    assert tuned_of("rows", 16) is None
