"""A bundle evaluates itself: the engine against JAX on the same rows, within the budget, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parity.engine import run_engine, state_file
from parity.specs import FULL, LORA, training
from safetensors.numpy import load_file

from daypack import api
from daypack.compiler import pipeline
from daypack.errors import BudgetInfeasible, BundleError, SpecError
from daypack.models.document import Encoder
from daypack.models.documents import Kind, read_documents
from daypack.models.evaluation import Options, Rows, document_rows, question_rows
from daypack.models.task import build_task
from daypack.models.tokenizer import ByteTokenizer
from daypack.spec import TrainSpec, check_spec

CLOSE = 1e-5
GPT2: dict[str, Any] = {
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "n_inner": 128,
    "vocab_size": 4099,
    "n_positions": 24,
}
QWEN: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": 300,
    "tie_word_embeddings": False,
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lora, dropout, int4": (
        "gpt2",
        GPT2,
        LORA | {"dropout": 0.1, "lora_dropout": 0.1, "frozen_dtype": "int4"},
    ),
    "full, tied": ("gpt2", GPT2, FULL),
    "norms, untied, int8": (
        "qwen2",
        QWEN,
        {"method": "partial", "train_only": ["norms"], "frozen_dtype": "int8"},
    ),
}


def spec_of(name: str, ids: Callable[[int], Path], **more: Any) -> TrainSpec:
    family, config, method = CASES[name]
    settings = {"batch": 3, "sequence": 24, "learning_rate": 1e-2, **method, **more}
    return training(family, ids(config["vocab_size"]), config, settings, evaluation=True)


def by_jax(spec: TrainSpec, rows: Rows, state: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Each row's (log-likelihood, labels) from the initial arrays or those of a state."""
    task = build_task(spec)
    saved = {} if state is None else load_file(state)
    trainable = {name: jnp.asarray(saved.get(name, task.source.read(name))) for name in task.trainable}
    frozen = {name: jnp.asarray(task.source.read(name)) for name in task.frozen}
    batch = {"ids": jnp.asarray(rows.ids), "labels": jnp.asarray(rows.labels)}
    log_likelihood, labels = jax.jit(task.score)(trainable, frozen, batch)
    return np.asarray(log_likelihood, np.float64), np.asarray(labels, np.float64)


@pytest.mark.parametrize("name", CASES)
def test_perplexity_before_and_after_is_that_of_jax(
    name: str, compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    spec = spec_of(name, ids)
    bundle = compiled(spec)
    held_out = tmp_path / "held-out.jsonl"
    lines = ids(CASES[name][1]["vocab_size"]).read_text().splitlines()[:4]
    held_out.write_text("\n".join([*lines, '{"ids": [5]}', '{"ids": [1, 2]}']))
    documents = read_documents(held_out, Kind.IDS, None, CASES[name][1]["vocab_size"])
    rows = document_rows(documents, spec.train.sequence, "held-out")
    run_engine(bundle, 2, state=tmp_path / "state")
    saved = state_file(bundle, tmp_path / "state")
    content = saved.read_bytes(), saved.stat().st_mtime_ns
    found = {
        before: api.evaluate_bundle(
            bundle, data=held_out, before=before, state=None if before else tmp_path / "state"
        )
        for before in (True, False)
    }
    for before, ours in found.items():
        log_likelihood, labels = by_jax(spec, rows, None if before else saved)
        assert (ours.step, ours.labels, ours.kind) == (0 if before else 2, labels.sum(), "jsonl")
        assert ours.loss == pytest.approx(-log_likelihood.sum() / labels.sum(), rel=CLOSE)
        assert ours.perplexity == pytest.approx(np.exp(-log_likelihood.sum() / labels.sum()), rel=CLOSE)
        assert ours.questions is ours.accuracy is ours.options is None and ours.source == "measured"
    assert found[True].loss != found[False].loss
    assert (saved.read_bytes(), saved.stat().st_mtime_ns) == content
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def text_spec(**more: Any) -> TrainSpec:
    return check_spec(
        {
            "model": {"family": "gpt2", "config": {**GPT2, "vocab_size": 256, "n_positions": 64}},
            "train": {"method": "lora", "learning_rate": 1e-2, "max_steps": 2, "batch": 6, "sequence": 64},
            **more,
        }
    )


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Twelve of them, the seed's own."""
    generator = np.random.default_rng(5)
    words = [" ".join(generator.choice(list("abcdefgh"), size=n)) for n in generator.integers(1, 7, 60)]
    rows = [[f"Which {n}?", *words[4 * n : 4 * n + 4], "ABCD"[n % 4]] for n in range(12)]
    path = tmp_path / "questions.csv"
    path.write_text("question,A,B,C,D,answer\n" + "".join(",".join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("options", Options)
def test_questions_are_answered_as_jax_answers_them(
    options: Options, compiled: Callable[..., Path], questions: Path
) -> None:
    spec = text_spec()
    bundle = compiled(spec)
    ours = api.evaluate_bundle(bundle, data=questions, options=options.value)
    rows = question_rows(questions, Encoder(ByteTokenizer(), 256), 64, options)
    log_likelihood, labels = (values.reshape(-1, 4) for values in by_jax(spec, rows, None))
    means = log_likelihood / labels
    right = (log_likelihood[:, :1] > log_likelihood[:, 1:]).all(axis=1)
    right_by_length = (means[:, :1] > means[:, 1:]).all(axis=1)
    assert (ours.questions, ours.options, ours.kind) == (12, options.value, "csv")
    assert (ours.accuracy, ours.accuracy_by_length) == (right.mean(), right_by_length.mean())
    assert ours.loss == pytest.approx(-log_likelihood[:, 0].sum() / labels[:, 0].sum(), rel=CLOSE)
    assert api.evaluate_bundle(bundle, data=questions).options == "letters"  # the spec learns from any kind


def test_a_budget_holds_for_the_evaluation_and_changes_no_bit(
    compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    """The table of the head does not fit: it is read block by block."""
    config = {**GPT2, "n_embd": 128, "n_head": 4, "vocab_size": 9001, "n_layer": 1}
    settings = {"batch": 2, "sequence": 24, "evaluation": True, "dropout": 0.0}
    bundles = {
        memory: compiled(training("gpt2", ids(9001), config, LORA, memory=memory, **settings))
        for memory in (None, "7.5MB")
    }
    described = json.loads((bundles["7.5MB"] / "bundle.json").read_text())["evaluation"]
    data = tmp_path / "some.jsonl"
    data.write_text("\n".join(ids(9001).read_text().splitlines()[:4]))
    free, tight = (api.evaluate_bundle(bundle, data=data) for bundle in bundles.values())
    print(f"{tight.peak_rss_bytes} bytes, planned {described['peak_bytes']}, free {free.peak_rss_bytes}")
    assert tight.peak_rss_bytes <= 7_500_000
    assert tight.peak_rss_bytes < free.peak_rss_bytes - 1_000_000
    assert described["peak_bytes"] <= 7_500_000 and described["flash_read_bytes"] > 0
    assert (tight.loss, tight.labels) == (free.loss, free.labels)


def test_a_budget_without_room_leaves_the_evaluation_out_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> Any:
        raise BudgetInfeasible("budget of 1 byte: no plan can fit it")

    monkeypatch.setattr(pipeline, "plan_evaluation", refuse)
    bundle = api.compile_spec(text_spec(), out=tmp_path / "b.bundle").bundle
    assert not (bundle / "eval.bin").exists()
    message = f"{bundle}: it carries no evaluation: budget of 1 byte: no plan can fit it"
    assert refusal(bundle, tmp_path) == message


def refusal(bundle: Path, folder: Path, **options: Any) -> str:
    (folder / "notes.txt").write_text("some notes of a day")
    with pytest.raises(SpecError) as caught:
        api.evaluate_bundle(bundle, data=folder / "notes.txt", **options)
    assert caught.value.code == 2
    return caught.value.message


def test_a_file_of_a_phone_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        api.evaluate_bundle(Path("b"), data=Path("device:/x.txt"))
    assert caught.value.message == (
        "--data: device:/x.txt is a file of a phone; evaluation takes files of this machine: copy it here"
    )


def test_bundles_without_an_evaluation(compiled: Callable[..., Path], tmp_path: Path) -> None:
    bundle = compiled(text_spec(evaluation={"enabled": False}))
    assert not (bundle / "eval.bin").exists()
    assert "its spec says evaluation.enabled = false" in refusal(bundle, tmp_path)

    def loss(model: Any, batch: Any) -> Any:
        return ((batch["x"] * model["w"]) ** 2).mean()

    batch = {"x": np.ones((2, 2), np.float32)}
    out = tmp_path / "python.bundle"
    made = api.compile({"w": np.ones(2, np.float32)}, loss, optax.sgd(1e-2), batch, out=out)
    assert "it was compiled from Python, and its loss says nothing of single rows" in refusal(
        made.bundle, tmp_path
    )


def test_states_and_files_that_cannot_be_evaluated(compiled: Callable[..., Path], tmp_path: Path) -> None:
    bundle = compiled(text_spec())
    assert "--before: conflicts with --state" in refusal(bundle, tmp_path, state=tmp_path, before=True)
    with pytest.raises(
        BundleError, match=r"expected a saved state, found none; run with this --state"
    ) as error:
        api.evaluate_bundle(bundle, data=tmp_path / "notes.txt", state=tmp_path / "nowhere")
    assert error.value.code == 4
    (tmp_path / "one.txt").write_text("x")
    with pytest.raises(SpecError, match="no label in 1 documents"):
        api.evaluate_bundle(bundle, data=tmp_path / "one.txt")
    with pytest.raises(SpecError, match="no such file"):
        api.evaluate_bundle(bundle, data=tmp_path / "none.csv")
