"""A spec as a task: the step contract, initial values, data, and what it can get wrong about its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.api.compiling import _corpus_bytes
from daypack.errors import SpecError
from daypack.models.sources import RandomSource
from daypack.models.task import InputBound, Task, base_model, build_task, corpus, learnt_kind
from daypack.models.write_checkpoint import write_checkpoint
from daypack.runtime import corpus_file
from daypack.spec import TrainSpec, check_spec, parse_spec, to_toml

WTE = "transformer.wte.weight"
ADAPTER = "base_model.model.transformer.h.{}.attn.c_attn.lora_{}.weight"


def spec(
    config: dict[str, Any] | None = None,
    base: Path | None = None,
    data: dict[str, Any] | None = None,
    **train: Any,
) -> TrainSpec:
    if config is None:
        model: dict[str, Any] = {"checkpoint": "model"}
    else:
        fields = {key: value for key, value in config.items() if key != "model_type"}
        model = {"family": "gpt2", "config": fields, "seed": 3}
    defaults = {"method": "lora", "learning_rate": 1e-3, "max_steps": 4, "batch": 4, "sequence": 8, "seed": 9}
    document: dict[str, Any] = {"model": model, "train": defaults | train}
    if data is not None:
        document["data"] = data
    return check_spec(document, base=base)


def values(task: Task, names: Any) -> dict[str, Any]:
    return {name: jnp.asarray(task.source.read(name)) for name in names}


def run(task: Task) -> Any:
    shape = task.batch["ids"].shape
    ids = np.random.default_rng(0).integers(0, task.vocabulary, shape).astype(np.int32)
    clock = {"seed": np.uint32(task.seed), "step": np.uint32(0), "micro": np.uint32(0)}
    batch = {"ids": jnp.asarray(ids), "labels": jnp.asarray(np.roll(ids, -1, axis=1))}
    loss = jax.jit(task.loss, compiler_options={"xla_backend_optimization_level": 0})
    return loss(values(task, task.trainable), values(task, task.frozen), {}, batch, clock)


def test_a_random_model_with_adapters(tiny_config: dict[str, Any]) -> None:
    task = build_task(spec(tiny_config, rank=2))
    assert {name: shape.shape for name, shape in task.trainable.items()} == {
        ADAPTER.format(layer, which): shape
        for layer in range(2)
        for which, shape in (("A", (2, 12)), ("B", (36, 2)))
    }
    assert set(task.source.names()) == task.trainable.keys() | task.frozen.keys()
    for name, shape in {**task.trainable, **task.frozen}.items():
        assert task.source.spec(name) == (shape.shape, str(shape.dtype))
        assert task.source.read(name).shape == shape.shape
    assert task.batch["labels"] == jax.ShapeDtypeStruct((4, 8), jnp.int32)
    assert task.bounds == {"ids": InputBound(37, None), "labels": InputBound(37, -100)}
    assert task.tokenizer is None and task.seed == 9 and task.mutable == {}
    loss_sum, weight, mutable = run(task)
    assert loss_sum.shape == () and weight == 32 and mutable == {}
    assert float(loss_sum) / 32 == pytest.approx(np.log(37), rel=0.02)
    assert task.description["adapter"] == {"targets": ("c_attn",), "rank": 2, "alpha": 8.0, "dropout": 0.0}
    assert task.description["trainable_parameters"] == 2 * 2 * (12 + 36)


def test_full_training_of_a_checkpoint(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    random = build_task(spec(tiny_config, method="full"))
    write_checkpoint(tmp_path / "model", tiny_config, random.source)
    task = build_task(spec(base=tmp_path, method="full", micro_batch=2, dropout=0.0))
    assert task.frozen == {} and task.trainable.keys() == random.trainable.keys()
    for name in task.trainable:
        np.testing.assert_array_equal(task.source.read(name), random.source.read(name))
    assert task.batch["ids"].shape == (2, 8)
    assert task.with_micro_batch(1).batch["labels"].shape == (1, 8)
    assert task.tokenizer == tmp_path / "model" / "tokenizer.json"
    run(task)


def test_the_base_of_a_random_model_has_a_config_and_no_adapters(tiny_config: dict[str, Any]) -> None:
    model = spec(tiny_config, method="lora", dropout=0.0)
    base, task = base_model(model), build_task(model)
    assert base.config == tiny_config
    assert base.parameters.keys() == set(base.source.names()) == task.frozen.keys()
    np.testing.assert_array_equal(base.source.read(WTE), task.source.read(WTE))


def test_dropout_of_the_spec_replaces_the_model_s_own(tiny_config: dict[str, Any]) -> None:
    tiny_config["n_layer"] = 1
    losses = [float(run(build_task(spec(tiny_config, dropout=rate)))[0]) for rate in (None, 0.0, 0.1, 0.5)]
    assert losses[0] == losses[2], "the published default is 0.1"
    assert len(set(losses)) == 3
    silent = {**tiny_config, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    assert float(run(build_task(spec(silent)))[0]) == losses[1]


def test_without_dropout_the_step_draws_nothing(tiny_config: dict[str, Any]) -> None:
    text = {}
    for rate in (0.0, 0.1):
        task = build_task(spec(tiny_config, dropout=rate))
        clock = {name: jax.ShapeDtypeStruct((), jnp.uint32) for name in ("seed", "step", "micro")}
        text[rate] = str(jax.make_jaxpr(task.loss)(task.trainable, task.frozen, {}, task.batch, clock))
    assert "random_bits" in text[0.1]
    assert "random_bits" not in text[0.0]


def test_the_optimizer_is_the_spec_s(tiny_config: dict[str, Any]) -> None:
    task = build_task(
        spec(
            tiny_config, optimizer="sgd", momentum=0.5, schedule="linear", warmup_ratio=0.5, max_grad_norm=0.0
        )
    )
    parameters = {"x": jnp.ones(1, jnp.float32)}
    state, found = task.optimizer.init(parameters), []
    for _ in range(4):
        updates, state = task.optimizer.update({"x": jnp.ones(1, jnp.float32)}, state, parameters)
        found.append(float(updates["x"][0]))
    # momentum 0.5 sums the gradients to 1, 1.5, 1.75, 1.875; the rate is 0, 1/2, 1, 1/2 of 1e-3
    np.testing.assert_allclose(found, [0, -0.75e-3, -1.75e-3, -0.9375e-3], rtol=1e-6)


def test_data_of_the_spec(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    wide = tiny_config | {"vocab_size": 256}
    examples = build_task(spec(wide, data={"builtin": "pydoc"})).examples()
    assert examples.arrays["ids"].shape[1] == 8 and examples.count > 1000
    (tmp_path / "a.jsonl").write_text('{"ids": [1, 2, 3, 4, 5, 6, 7, 8, 9]}')
    declared = spec(tiny_config, tmp_path, {"path": "a.jsonl", "kind": "ids"})
    assert build_task(declared).examples().arrays["ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert corpus(declared, tmp_path / "b.jsonl").path == tmp_path / "b.jsonl"
    with pytest.raises(SpecError) as caught:
        build_task(spec(tiny_config)).examples()
    assert caught.value.message == (
        'the spec declares no data; set data.path or data.builtin = "pydoc", or name a file'
    )


@pytest.mark.parametrize(
    ("config", "train", "message"),
    [
        ({}, {"sequence": 17}, "train.sequence is 17; this model has positions for at most 16"),
        ({"n_heads": 2}, {}, "model.config: unknown field `n_heads`; did you mean `n_head`?"),
        ({"n_head": 5}, {}, "model.config: `n_head` is 5; expected a divisor of n_embd = 12"),
        ({}, {"targets": ["q_proj"]}, "train.targets: 'q_proj' matches no projection; this model has "),
    ],
)
def test_refusals(
    tiny_config: dict[str, Any], config: dict[str, Any], train: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        build_task(spec(tiny_config | config, **train))
    assert caught.value.message.startswith(message)


def test_a_checkpoint_of_an_unknown_family(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    source = RandomSource({}, 0)
    for number, (model_type, found) in enumerate((("bert", "'bert'"), (None, "None"))):
        folder = tmp_path / str(number)
        write_checkpoint(folder / "model", tiny_config | {"model_type": model_type}, source)
        with pytest.raises(SpecError) as caught:
            build_task(spec(base=folder))
        assert caught.value.message == (
            f"{folder}/model/config.json: `model_type` is {found}, which Daypack does not know; "
            "known: gemma3_text, gpt2, llama, qwen2, qwen3"
        )


def test_an_empty_checkpoint_lists_what_is_missing(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "model", tiny_config, RandomSource({}, 0))
    with pytest.raises(
        SpecError, match=r"28 tensors missing: transformer.h.0.attn.c_attn.bias, .* and 20 more"
    ):
        build_task(spec(base=tmp_path))


@pytest.mark.parametrize(
    ("data", "given", "kind", "learnt"),
    [
        ({"packing": True}, "a.jsonl", "jsonl", None),
        ({"packing": True}, "a.NDJSON", "jsonl", None),
        ({"packing": True}, "a.csv", "csv", None),
        ({"packing": True}, "a.npy", "ids", None),
        ({"packing": True}, "a.md", "text", None),
        (None, "a.jsonl", "jsonl", None),
        ({"kind": "text"}, "a.jsonl", "text", "text"),
        ({"path": "a.csv"}, None, "csv", "csv"),
        ({"path": "a.csv"}, "b.jsonl", "jsonl", "csv"),
        ({"path": "a.csv", "kind": "text"}, None, "text", "text"),
        ({"builtin": "pydoc"}, None, "text", "text"),
        ({"builtin": "pydoc"}, "a.jsonl", "jsonl", "text"),
    ],
)
def test_without_a_kind_the_suffix_tells(
    data: dict[str, Any] | None,
    given: str | None,
    kind: str,
    learnt: str | None,
    tiny_config: dict[str, Any],
    tmp_path: Path,
) -> None:
    declared = spec(tiny_config, base=tmp_path, data=data)
    found = corpus(declared, None if given is None else Path(given))
    assert (found.kind.value, found.tokenizer) == (kind, None if kind == "ids" else "bytes")
    told = learnt_kind(declared)
    assert (told and told.value) == learnt
    assert parse_spec(to_toml(declared)) == declared
    # corpus.bin: the engine goes by the suffix too, where the spec says no kind.
    header = np.frombuffer(_corpus_bytes(declared, None), corpus_file.HEADER, 1)[0]
    assert corpus_file.KINDS[header["kind"]] == ((data or {}).get("kind") or "")
