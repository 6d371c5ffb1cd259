"""The specs in `examples/families`: valid, of the published shapes, and two of them trained, small."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daypack import api
from daypack.models.task import build_task
from daypack.spec import check_spec, load_spec

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "families"
METHODS = ("full", "int4", "lora", "partial")
PARAMETERS = {
    "gemma3": 268_098_176,
    "gpt2": 124_439_808,
    "llama": 134_515_008,
    "qwen2": 494_032_768,
    "qwen3": 596_049_920,
}
"""Of the published models, without adapters."""
SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 1, "n_head": 2, "n_embd": 32, "n_positions": 32, "vocab_size": 256},
    "gemma3": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "vocab_size": 256,
        "sliding_window": 8,
    },
}


def test_each_family_has_each_method() -> None:
    names = sorted(path.name for path in FOLDER.iterdir())
    assert names == [f"{family}-{method}.toml" for family in sorted(PARAMETERS) for method in METHODS]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_a_spec_declares_the_published_shapes(path: Path) -> None:
    family, method = path.stem.split("-")
    spec = load_spec(path)
    task = build_task(spec)
    assert (spec.model.family, spec.device.profile) == (family, "pixel8")
    assert spec.train.method == ("lora" if method == "int4" else method)
    arrays = task.frozen if spec.train.method == "lora" else {**task.frozen, **task.trainable}
    described = task.description["frozen_parameters"]
    described += 0 if spec.train.method == "lora" else task.description["trainable_parameters"]
    assert described == PARAMETERS[family] and len(arrays) > 100
    if spec.train.method == "full":
        assert sum(math.prod(shape.shape) for shape in task.trainable.values()) == PARAMETERS[family]


@pytest.mark.parametrize(("name", "family"), [("gpt2-int4", "gpt2"), ("gemma3-partial", "gemma3")])
def test_a_small_one_trains(name: str, family: str, tmp_path: Path) -> None:
    document = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    document["model"]["config"] |= SMALL[family]
    document["train"] |= {"sequence": 32, "max_steps": 3, "learning_rate": 1e-2}
    if "train_only" in document["train"]:
        document["train"]["train_only"] = ["layers.0", "norms"]
    document |= {"device": {"profile": "host"}, "budget": {"memory": "12MB"}}
    bundle = api.compile_spec(check_spec(document), out=tmp_path / "b.bundle").bundle
    losses = [event.loss for event in api.run_bundle(bundle)]
    assert len(losses) == 3 and 3 < losses[0] < 12
    (tmp_path / "notes.txt").write_text("A day of notes, and another one.\n" * 20)
    after = api.evaluate_bundle(bundle, data=tmp_path / "notes.txt")
    assert after.step == 3 and after.loss < 12
