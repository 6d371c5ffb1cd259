"""Hugging Face directories: names, dtypes, shards, and every way in which one can be damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from daypack.errors import SpecError
from daypack.models import gpt2
from daypack.models.checkpoint import Checkpoint, open_checkpoint, read_config
from daypack.models.config_fields import ConfigReader
from daypack.models.parameters import ParameterSpec
from daypack.models.sources import RandomSource
from daypack.models.structure import structure_of
from daypack.models.write_checkpoint import write_checkpoint

WTE = "transformer.wte.weight"
LN = "transformer.ln_f.bias"


@pytest.fixture
def parameters(tiny_config: dict[str, Any]) -> dict[str, ParameterSpec]:
    config = gpt2.parse_config(ConfigReader(tiny_config, "tiny"))
    return dict(structure_of(lambda: gpt2.GPT2(config)).parameters)


@pytest.fixture
def source(parameters: dict[str, ParameterSpec]) -> RandomSource:
    return RandomSource(parameters, seed=7)


@pytest.fixture
def directory(tmp_path: Path, tiny_config: dict[str, Any], source: RandomSource) -> Path:
    write_checkpoint(tmp_path / "model", tiny_config, source)
    return tmp_path / "model"


@pytest.fixture
def sharded(tmp_path: Path, tiny_config: dict[str, Any], source: RandomSource) -> Path:
    write_checkpoint(tmp_path / "sharded", tiny_config, source, shards=3)
    return tmp_path / "sharded"


def read_all(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return {name: checkpoint.read(name) for name in checkpoint.names()}


def assert_same(found: dict[str, np.ndarray], source: RandomSource) -> None:
    assert tuple(found) == source.names()
    for name, array in found.items():
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable
        np.testing.assert_array_equal(array, source.read(name))


def rewrite(directory: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Replace the tensors of model.safetensors by what `change` makes of them."""
    tensors = load_file(directory / "model.safetensors")
    save_file(change(tensors) or tensors, directory / "model.safetensors")


def refusal(directory: Path, parameters: dict[str, ParameterSpec]) -> str:
    with pytest.raises(SpecError) as caught:
        read_all(open_checkpoint(directory, gpt2.FAMILY, parameters))
    return caught.value.message.replace(f"{directory}/", "").replace(f"{directory}", "DIR")


def test_whole_and_sharded_read_back_bit_for_bit(
    directory: Path, sharded: Path, parameters: dict[str, ParameterSpec], source: RandomSource
) -> None:
    assert sorted(path.name for path in sharded.iterdir()) == [
        "config.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    for path in (directory, sharded):
        checkpoint = open_checkpoint(path, gpt2.FAMILY, parameters)
        assert checkpoint.spec(WTE) == ((37, 12), "float32")
        assert_same(read_all(checkpoint), source)
    assert read_config(directory)["n_embd"] == 12
    assert set(load_file(directory / "model.safetensors")) == set(parameters)


def test_a_published_checkpoint_has_bare_names_buffers_and_a_repeated_head(
    directory: Path, parameters: dict[str, ParameterSpec], source: RandomSource
) -> None:
    def publish(tensors: dict[str, Any]) -> dict[str, Any]:
        bare = {name.removeprefix("transformer."): array for name, array in tensors.items()}
        for layer in range(2):
            bare[f"h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 16, 16), np.float32))
            bare[f"h.{layer}.attn.masked_bias"] = np.array(-1e4, np.float32)
        bare["lm_head.weight"] = tensors[WTE]
        return bare

    rewrite(directory, publish)
    assert_same(read_all(open_checkpoint(directory, gpt2.FAMILY, parameters)), source)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(
    directory: Path, parameters: dict[str, ParameterSpec], source: RandomSource, dtype: Any
) -> None:
    rewrite(directory, lambda tensors: {name: array.astype(dtype) for name, array in tensors.items()})
    found = read_all(open_checkpoint(directory, gpt2.FAMILY, parameters))
    for name, array in found.items():
        np.testing.assert_array_equal(array, source.read(name).astype(dtype).astype(np.float32))


def test_random_values_depend_on_seed_and_name_only(parameters: dict[str, ParameterSpec]) -> None:
    whole, alone = RandomSource(parameters, 7), RandomSource({WTE: parameters[WTE]}, 7)
    np.testing.assert_array_equal(whole.read(WTE), alone.read(WTE))
    assert (whole.read(WTE) != RandomSource(parameters, 8).read(WTE)).any()
    first, second = (whole.read(f"transformer.h.{layer}.mlp.c_fc.weight") for layer in range(2))
    assert (first != second).any()
    assert abs(first.std() / 0.02 - 1) < 0.1
    assert (
        abs(whole.read("transformer.h.0.mlp.c_proj.weight").std() / 0.01 - 1) < 0.1
    )  # 0.02 / sqrt(2 n_layer)
    assert (whole.read("transformer.ln_f.weight") == 1).all() and not whole.read(LN).any()


def test_config_refusals(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(SpecError) as caught:
            read_config(path)
        return caught.value.message

    assert message(tmp_path / "none") == (
        f"{tmp_path}/none: no such directory; model.checkpoint takes a Hugging Face directory"
    )
    assert message(tmp_path) == f"{tmp_path}: no config.json; a Hugging Face model directory has one"
    (tmp_path / "config.json").write_text("{'n_embd': 3}")
    assert message(tmp_path).startswith(
        f"{tmp_path}/config.json: not readable as JSON (Expecting property name"
    )
    (tmp_path / "config.json").write_text("[]")
    assert message(tmp_path) == f"{tmp_path}/config.json: expected a JSON object, found list"
    (tmp_path / "config.json").write_bytes(b'"\xff"')
    assert "not readable as JSON" in message(tmp_path)


def test_no_weights(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    (directory / "model.safetensors").unlink()
    assert refusal(directory, parameters) == (
        "DIR: neither model.safetensors nor model.safetensors.index.json; Daypack reads safetensors only "
        "(convert other formats with `save_pretrained` of transformers)"
    )


@pytest.mark.parametrize("kept_bytes", [0, 4, 100, -1])
def test_truncated_file(directory: Path, parameters: dict[str, ParameterSpec], kept_bytes: int) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    message = refusal(directory, parameters)
    assert message.startswith("model.safetensors: not a whole safetensors file (")
    assert message.endswith("); download or copy it again")


def test_missing_and_extra_tensors_are_listed(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    def drop(tensors: dict[str, Any]) -> None:
        del tensors[WTE], tensors[LN]

    rewrite(directory, drop)
    assert refusal(directory, parameters) == f"DIR: 2 tensors missing: {LN}, {WTE}"


def test_extra_tensors_are_listed(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    extra = {f"h.{layer}.attn.c_attn.weight": np.zeros(1, np.float32) for layer in range(2, 12)}
    rewrite(directory, lambda tensors: tensors | extra)
    message = refusal(directory, parameters)
    assert message.startswith("DIR: 10 tensors that a gpt2 model of this config.json does not have: h.")
    assert message.endswith(" and 2 more")


def test_shape_mismatch(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    rewrite(directory, lambda tensors: tensors | {WTE: tensors[WTE][:30]})
    assert refusal(directory, parameters) == (
        f"model.safetensors: tensor `{WTE}` has shape [30, 12]; config.json makes `{WTE}` [37, 12]"
    )


def test_wrong_dtype(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    rewrite(directory, lambda tensors: tensors | {LN: tensors[LN].astype(np.int32)})
    assert refusal(directory, parameters) == (
        f"model.safetensors: tensor `{LN}` has dtype I32; expected one of F32, F16, BF16"
    )


def test_a_name_twice(directory: Path, parameters: dict[str, ParameterSpec]) -> None:
    rewrite(directory, lambda tensors: tensors | {"ln_f.bias": tensors[LN]})
    assert refusal(directory, parameters) == f"DIR: `ln_f.bias` and `{LN}` are both `{LN}`; keep one"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(directory: Path, parameters: dict[str, ParameterSpec], value: float) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[WTE][3, 4] = tensors[WTE][5, 0] = value

    rewrite(directory, spoil)
    assert refusal(directory, parameters) == (
        f"model.safetensors: tensor `{WTE}` holds 2 values that are not finite, the first at [3, 4]; "
        "the file is damaged, or its training diverged"
    )


def test_missing_shard(sharded: Path, parameters: dict[str, ParameterSpec]) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    assert refusal(sharded, parameters) == (
        "DIR: shard model-00002-of-00003.safetensors is missing; model.safetensors.index.json names it"
    )


def test_bad_index(sharded: Path, parameters: dict[str, ParameterSpec]) -> None:
    index = sharded / "model.safetensors.index.json"
    good = json.loads(index.read_text())["weight_map"]

    def message(weight_map: object) -> str:
        index.write_text(json.dumps({"weight_map": weight_map}))
        return refusal(sharded, parameters)

    first, second = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
    moved = next(name for name, shard in good.items() if shard == first)
    assert message(good | {moved: second}) == (
        f"{second}: no tensor `{moved}`, although model.safetensors.index.json says it is here"
    )
    assert message(good | {moved: "../x"}) == (
        "model.safetensors.index.json: shard '../x' is not a plain file name"
    )
    assert message(good | {moved: 3}) == "model.safetensors.index.json: shard 3 is not a plain file name"
    assert message([]) == "model.safetensors.index.json: `weight_map`: expected a JSON object, found list"
    del good[moved]
    assert message(good) == (
        f"DIR: 1 tensor that model.safetensors.index.json does not name: {moved} of {first}"
    )
    index.write_text('{"weight_map": {"a": "x", "a": "y"}}')
    assert refusal(sharded, parameters) == (
        "model.safetensors.index.json: the key 'a' stands twice in one object; keep one"
    )


def test_writing_refuses_a_directory_with_files_and_leaves_nothing_half_written(
    directory: Path, tiny_config: dict[str, Any], source: RandomSource
) -> None:
    with pytest.raises(SpecError, match="already holds files; name a new directory"):
        write_checkpoint(directory, tiny_config, source)

    class Failing(RandomSource):
        def read(self, name: str) -> Any:
            raise SpecError("cannot read")

    with pytest.raises(SpecError, match="cannot read"):
        write_checkpoint(directory.with_name("new"), tiny_config, Failing({LN: source._parameters[LN]}, 0))
    assert [path.name for path in directory.parent.iterdir()] == ["model"]


def test_writing_touches_nothing_beside(
    tmp_path: Path, tiny_config: dict[str, Any], source: RandomSource
) -> None:
    own = tmp_path / "new.partial" / "mine"
    own.parent.mkdir()
    own.write_text("kept")
    write_checkpoint(tmp_path / "new", tiny_config, source)
    assert own.read_text() == "kept"
    mask = os.umask(0o022)
    os.umask(mask)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o777 & ~mask
    with pytest.raises(SpecError, match="mine/x: cannot be made here"):
        write_checkpoint(own / "x", tiny_config, source)
