"""PEFT directories: what is written, what is read back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from daypack.errors import SpecError
from daypack.models.adapters import CONFIG_FILE, WEIGHTS_FILE, write_adapter
from daypack.models.lora import LoraConfig
from daypack.models.merge import MergedSource
from daypack.models.parameters import ZEROS, ParameterSpec, normal
from daypack.models.sources import RandomSource
from daypack.models.task import Task, build_task
from daypack.spec import TrainSpec, check_spec

A0 = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
B1 = "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"


def spec(config: dict[str, Any], **train: Any) -> TrainSpec:
    fields = {key: value for key, value in config.items() if key != "model_type"}
    settings = {"method": "lora", "learning_rate": 1e-3, "max_steps": 4, "batch": 4, "sequence": 8}
    return check_spec(
        {"model": {"family": "gpt2", "config": fields}, "train": settings | train}, where="train.toml"
    )


def continue_(config: dict[str, Any], directory: Path, **train: Any) -> Task:
    return build_task(spec(config, adapter=str(directory), **train))


@pytest.fixture
def directory(tmp_path: Path, tiny_config: dict[str, Any]) -> Path:
    """Adapters with every factor random, in a folder whose parent is not there yet."""
    shapes = build_task(spec(tiny_config, rank=3)).trainable
    factors = {name: ParameterSpec(shape.shape, "float32", normal(0.3)) for name, shape in shapes.items()}
    lora = LoraConfig(("c_attn",), rank=3, alpha=6.0, dropout=0.25)
    out = tmp_path / "new" / "adapter"
    write_adapter(out, lora, RandomSource(factors, 5), fan_in_fan_out=True, base=None)
    return out


def change_config(directory: Path, **fields: Any) -> None:
    path = directory / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_directory_says_what_peft_expects(directory: Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    assert json.loads((directory / CONFIG_FILE).read_text()) == {
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": True,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 6,
        "lora_dropout": 0.25,
        "peft_type": "LORA",
        "r": 3,
        "target_modules": ["c_attn"],
        "task_type": "CAUSAL_LM",
    }
    arrays = load_file(directory / WEIGHTS_FILE)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        A0.replace("h.0", f"h.{layer}").replace("lora_A", f"lora_{which}"): (shape, np.float32)
        for layer in range(2)
        for which, shape in (("A", (3, 12)), ("B", (36, 3)))
    }


def test_training_goes_on_from_the_saved_factors(directory: Path, tiny_config: dict[str, Any]) -> None:
    task = continue_(tiny_config, directory)
    arrays = load_file(directory / WEIGHTS_FILE)
    assert task.trainable.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(task.source.read(name), array)
    assert task.description["adapter"] == {"targets": ("c_attn",), "rank": 3, "alpha": 6.0, "dropout": 0.25}


def test_a_spec_may_repeat_what_the_adapter_says_and_change_its_dropout(
    directory: Path, tiny_config: dict[str, Any]
) -> None:
    task = continue_(tiny_config, directory, rank=3, alpha=6, targets=["c_attn"], lora_dropout=0.0)
    assert task.description["adapter"]["dropout"] == 0.0


def test_half_precision_factors_are_taken_exactly(directory: Path, tiny_config: dict[str, Any]) -> None:
    halves = {name: array.astype(np.float16) for name, array in load_file(directory / WEIGHTS_FILE).items()}
    save_file(halves, directory / WEIGHTS_FILE)
    read = continue_(tiny_config, directory).source.read(A0)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, halves[A0].astype(np.float32))


def test_a_pattern_of_targets_needs_the_names(directory: Path, tiny_config: dict[str, Any]) -> None:
    change_config(directory, target_modules=r".*\.c_attn")
    with pytest.raises(SpecError, match="`target_modules` is a pattern; list the names in train.targets"):
        continue_(tiny_config, directory)
    assert continue_(tiny_config, directory, targets=["c_attn"]).trainable.keys() >= {A0, B1}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"rank": 4}, r"train.rank is 4, and `r` of .*adapter_config.json is 3; remove train.rank"),
        ({"alpha": 7.0}, r"train.alpha is 7.0, and `lora_alpha` of .* is 6.0; remove train.alpha"),
        (
            {"targets": ["c_proj"]},
            r"train.targets is \['c_proj'\], and `target_modules` of .* is \['c_attn'\]; remove",
        ),
    ],
)
def test_a_spec_that_says_otherwise(
    directory: Path, tiny_config: dict[str, Any], train: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        continue_(tiny_config, directory, **train)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LOHA"}, "`peft_type` is 'LOHA'; expected 'LORA'"),
        ({"task_type": "SEQ_CLS"}, "`task_type` is 'SEQ_CLS'; expected 'CAUSAL_LM'"),
        ({"bias": "lora_only"}, "`bias` is 'lora_only'; expected 'none'"),
        ({"use_rslora": True}, "`use_rslora` is True; expected none: Daypack continues plain LoRA only"),
        ({"use_dora": True}, "`use_dora` is True; expected none"),
        ({"rank_pattern": {"h.0": 2}}, "`rank_pattern` is {'h.0': 2}; expected none"),
        ({"modules_to_save": ["lm_head"]}, r"`modules_to_save` is \['lm_head'\]; expected none"),
        ({"init_lora_weights": "pissa"}, "`init_lora_weights` is 'pissa'; expected True"),
        ({"r": 0}, "`r` is 0; expected a whole number of at least 1"),
        ({"lora_alpha": None}, "`lora_alpha` is None; expected a number above 0"),
        ({"lora_dropout": 1}, "`lora_dropout` is 1; expected a number from 0"),
        ({"target_modules": []}, r"`target_modules` is \[\]; expected a list of projection names"),
        ({"target_modules": ["c_attn", 3]}, "`target_modules` is .*; expected a list of projection names"),
        (
            {"target_modules": ["q_proj"]},
            r"adapter_config.json: target_modules: 'q_proj' matches no projection; this model has transf",
        ),
    ],
)
def test_another_kind_of_adapter_is_refused_by_name(
    directory: Path, tiny_config: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    change_config(directory, **fields)
    with pytest.raises(SpecError, match=message):
        continue_(tiny_config, directory)


def test_an_adapter_of_another_base_lists_its_tensors(directory: Path, tiny_config: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        continue_(tiny_config | {"n_layer": 3}, directory)
    assert caught.value.message == (
        f"{directory / WEIGHTS_FILE}: an adapter of another base model: 2 tensors missing: "
        f"{A0.replace('h.0', 'h.2')}, {B1.replace('h.1', 'h.2')}; name the base it was trained on in [model]"
    )
    with pytest.raises(SpecError, match=r"base model: 2 tensors not of this model: \S+h.1\S+lora_A"):
        continue_(tiny_config | {"n_layer": 1}, directory)
    with pytest.raises(
        SpecError, match=r"4 tensors of another shape: \S+lora_A.weight \[3, 12\], here \[3, 15\]"
    ):
        continue_(tiny_config | {"n_embd": 15}, directory)


def test_a_directory_that_is_none(directory: Path, tiny_config: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"no adapter_config.json; train.adapter takes a directory that PEFT"):
        continue_(tiny_config, directory.parent)
    (directory / WEIGHTS_FILE).rename(directory / "adapter_model.bin")
    with pytest.raises(SpecError, match=r"no adapter_model.safetensors; Daypack reads safetensors only"):
        continue_(tiny_config, directory)
    (directory / CONFIG_FILE).write_text("{")
    with pytest.raises(SpecError, match=r"adapter_config.json: not readable as JSON"):
        continue_(tiny_config, directory)


def test_factors_that_are_no_floats_or_not_finite(directory: Path, tiny_config: dict[str, Any]) -> None:
    arrays = load_file(directory / WEIGHTS_FILE)
    save_file({**arrays, A0: arrays[A0].astype(np.int32)}, directory / WEIGHTS_FILE)
    with pytest.raises(
        SpecError, match=r"c_attn.lora_A.weight` has dtype I32; expected one of F32, F16, BF16"
    ):
        continue_(tiny_config, directory)
    save_file({**arrays, A0: arrays[A0] * np.inf}, directory / WEIGHTS_FILE)
    with pytest.raises(SpecError, match="holds 36 values that are not finite"):
        continue_(tiny_config, directory).source.read(A0)


def test_only_lora_has_an_adapter(directory: Path, tiny_config: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r'train.adapter: is a key of method = "lora", and method is "full"'):
        spec(tiny_config, method="full", adapter=str(directory))


def test_nothing_is_written_over_and_nothing_half(directory: Path) -> None:
    class Failing(RandomSource):
        def read(self, name: str, dtype: str = "float32") -> Any:
            raise ZeroDivisionError

    lora = LoraConfig(("c_attn",))
    factors = {A0: ParameterSpec((8, 12), "float32", ZEROS)}
    with pytest.raises(SpecError, match="already holds files; name a new directory"):
        write_adapter(directory, lora, RandomSource(factors, 0), fan_in_fan_out=True, base=None)
    with pytest.raises(SpecError, match=r"adapter_config.json: is a file; name a new directory"):
        write_adapter(directory / CONFIG_FILE, lora, RandomSource(factors, 0), fan_in_fan_out=True, base=None)
    with pytest.raises(ZeroDivisionError):
        write_adapter(directory.parent / "x", lora, Failing(factors, 0), fan_in_fan_out=True, base=None)
    assert [path.name for path in directory.parent.iterdir()] == ["adapter"]


@pytest.mark.parametrize("input_axis", [0, 1])
def test_a_merged_weight_gains_the_scaled_product(input_axis: int) -> None:
    shape = (5, 7) if input_axis == 0 else (7, 5)
    base = {
        "p.weight": ParameterSpec(shape, "float32", normal(1.0), input_axis),
        "q.weight": ParameterSpec((3,), "float32", normal(1.0)),
        "p.bias": ParameterSpec((7,), "float32", normal(1.0)),
    }
    trained = {
        "base_model.model.p.lora_A.weight": ParameterSpec((2, 5), "float32", normal(1.0)),
        "base_model.model.p.lora_B.weight": ParameterSpec((7, 2), "float32", normal(1.0)),
        "q.weight": ParameterSpec((3,), "float32", normal(1.0)),
    }
    old, new = RandomSource(base, 1), RandomSource(trained, 2)
    merged = MergedSource(base, old, new, 1.5)
    a, b = (new.read(f"base_model.model.p.lora_{which}.weight").astype(np.float64) for which in "AB")
    product = 1.5 * (b @ a)
    expected = old.read("p.weight") + (product.T if input_axis == 0 else product)
    np.testing.assert_allclose(merged.read("p.weight"), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merged.read("q.weight"), new.read("q.weight"))
    np.testing.assert_array_equal(merged.read("p.bias"), old.read("p.bias"))
    assert merged.names() == tuple(base) and merged.spec("p.weight") == (shape, "float32")
