"""How frozen matrices are stored: rounding, groups, packing, and what cannot be stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from daypack.errors import SpecError
from daypack.models.frozen import SCALES, EncodedSource, Encoding, FrozenForm, decoded, encodings, quantized
from daypack.models.parameters import ParameterSpec, normal
from daypack.models.sources import RandomSource
from daypack.models.task import build_task
from daypack.models.write_checkpoint import write_checkpoint
from daypack.spec import check_spec

WTE = "transformer.wte.weight"


def source(shape: tuple[int, ...] = (64, 96), axis: int = 1) -> RandomSource:
    return RandomSource({"w": ParameterSpec(shape, "float32", normal(0.5), axis)}, seed=1)


def decode(found: EncodedSource, encoding: Encoding) -> np.ndarray[Any, Any]:
    arrays = {name: jnp.asarray(found.read(name)) for name in found.names()}
    return np.asarray(decoded(arrays, {"w": encoding})["w"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_floats_are_rounded_to_the_nearest(dtype: str) -> None:
    base = source()
    encoded = EncodedSource(base, {"w": Encoding(dtype, 0, 1)})
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
    want = base.read("w").astype(kind)
    assert encoded.spec("w") == ((64, 96), dtype)
    assert encoded.read("w").dtype == kind
    np.testing.assert_array_equal(decode(encoded, Encoding(dtype, 0, 1)), want.astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("dtype", "most"), [("int8", 127), ("int4", 7)])
def test_integers_are_within_half_a_step_of_their_group(dtype: str, most: int, axis: int) -> None:
    base, encoding = source(), Encoding(dtype, 32, axis)
    found = EncodedSource(base, {"w": encoding})
    for name in found.names():
        array = found.read(name)
        assert (array.shape, str(array.dtype)) == found.spec(name)
    matrix, scales = base.read("w"), found.read("w" + SCALES).astype(np.float32)
    steps = np.repeat(scales, 32, axis=axis)
    # The scale itself is rounded to 11 bits, so the largest of a group may lie most · 2^-11 steps outside.
    error = np.abs(decode(found, encoding) - matrix) / steps
    assert error.max() <= 0.5 + most * 2**-11
    assert error.max() > 0.4


def test_a_byte_holds_two_columns_that_are_half_a_row_apart() -> None:
    matrix = np.array([[7.0, -7.0, 1.0, 0.0]] * 2, np.float32)
    q, scales = quantized(matrix, Encoding("int4", 2, 0), "w")
    np.testing.assert_array_equal(scales.astype(np.float32)[0, :2], [1.0, 1.0])
    assert q[0, 0] == (7 + 8) | (7 + 8) << 4  # column 2 is the largest of its group
    assert q[0, 1] == (-7 + 8) | (0 + 8) << 4


def test_a_group_of_zeros_stays_zeros() -> None:
    q, scales = quantized(np.zeros((2, 32), np.float32), Encoding("int8", 32, 1), "w")
    assert not q.any() and not scales.any()


def test_what_cannot_be_stored_is_named() -> None:
    parameters = {"w": ParameterSpec((64, 48), "float32", normal(1.0), 1)}
    with pytest.raises(SpecError) as caught:
        encodings(FrozenForm("int8", 32), parameters, source())
    assert caught.value.message == (
        "train.frozen_group is 32, which does not divide the 48 inputs of `w`; take another group, or "
        'train.frozen_dtype = "bfloat16"'
    )
    odd = {"w": ParameterSpec((64, 7), "float32", normal(1.0), 0)}
    with pytest.raises(SpecError) as caught:
        encodings(FrozenForm("int4", 32), odd, source())
    assert caught.value.message == (
        'train.frozen_dtype is "int4", and `w` has 7 columns, an odd number: two share a byte; take "int8"'
    )
    large = RandomSource({"w": ParameterSpec((4, 32), "float32", normal(1e5), 1)}, seed=0)
    for dtype in ("float16", "int4"):
        wide = RandomSource({"w": ParameterSpec((4, 32), "float32", normal(1e7), 1)}, seed=0)
        with pytest.raises(SpecError) as caught:
            EncodedSource(wide if dtype == "int4" else large, {"w": Encoding(dtype, 32, 1)}).read("w")
        assert caught.value.message == (
            "`w` holds values that float16 cannot, which ends at 65504; "
            'take train.frozen_dtype = "bfloat16" or "float32"'
        )


def _checkpoint(folder: Path, config: dict[str, Any], **kinds: Any) -> Path:
    """A GPT-2 whose tensors have other element types: all as `default`, the token table as `table`."""
    train = {"method": "lora", "learning_rate": 1e-3, "max_steps": 1, "batch": 1, "sequence": 8}
    fields = {key: value for key, value in config.items() if key != "model_type"}
    task = build_task(check_spec({"model": {"family": "gpt2", "config": fields}, "train": train}))
    write_checkpoint(folder, config, task.source)
    tensors = {
        name: task.source.read(name).astype(kinds["table"] if name == WTE else kinds["default"])
        for name in task.frozen
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_checkpoint_keeps_its_types_unless_told_otherwise(
    tmp_path: Path, tiny_config: dict[str, Any]
) -> None:
    folder = _checkpoint(tmp_path / "model", tiny_config, default=ml_dtypes.bfloat16, table=np.float16)
    train = {"method": "lora", "learning_rate": 1e-3, "max_steps": 1, "batch": 1, "sequence": 8}

    def dtypes(**more: str) -> set[tuple[int, str]]:
        task = build_task(check_spec({"model": {"checkpoint": str(folder)}, "train": {**train, **more}}))
        for name, shape in task.frozen.items():
            array = task.source.read(name)
            assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        return {(len(s.shape), str(s.dtype)) for n, s in task.frozen.items() if n != WTE} | {
            (0, str(task.frozen[WTE].dtype))
        }

    assert dtypes() == {(0, "float16"), (1, "float32"), (2, "bfloat16")}
    assert dtypes(frozen_dtype="float32") == {(0, "float32"), (1, "float32"), (2, "float32")}
    assert dtypes(frozen_dtype="bfloat16") == {(0, "bfloat16"), (1, "float32"), (2, "bfloat16")}
