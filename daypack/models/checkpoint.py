"""A Hugging Face directory as a `TensorSource`: config.json and model.safetensors, whole or in shards.

Opening checks everything that the headers tell (names, shapes, dtypes); reading a tensor checks its values.
At any time at most one tensor is in memory; it becomes the type that is asked for as it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from daypack.errors import SpecError
from daypack.models.config_fields import as_config
from daypack.models.family import Family
from daypack.models.json_objects import RepeatedKey, once
from daypack.models.parameters import ParameterSpec
from daypack.models.sources import numpy_dtype

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FLOAT_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The safetensors codes that a parameter may have, and their names."""
_LISTED = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies and what its header says; `dtype` is a safetensors code."""

    file: Path
    stored_name: str
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """The parameters of one model in one directory, under published names."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = dict(tensors)

    def names(self) -> tuple[str, ...]:
        return tuple(self._tensors)

    def spec(self, name: str) -> tuple[tuple[int, ...], str]:
        return self._tensors[name].shape, "float32"

    def stored_dtype(self, name: str) -> str:
        return FLOAT_DTYPES[self._tensors[name].dtype]

    def read(self, name: str, dtype: str = "float32") -> NDArray[Any]:
        """The tensor as `dtype`. Raises SpecError where a value is NaN or infinite."""
        tensor = self._tensors[name]
        with _opened(tensor.file) as file:
            array = np.asarray(file.get_tensor(tensor.stored_name), order="C")
        finite = np.isfinite(array)
        if not finite.all():
            first = [int(index) for index in np.argwhere(~finite)[0]]
            count = finite.size - int(np.count_nonzero(finite))
            raise SpecError(
                f"{tensor.file}: tensor `{tensor.stored_name}` holds {count} values that are not finite, "
                f"the first at {first}; the file is damaged, or its training diverged"
            )
        with np.errstate(over="ignore"):  # whoever asks for a narrower type looks at what became of it
            return array.astype(numpy_dtype(dtype), copy=False)


def read_config(directory: Path) -> Mapping[str, Any]:
    """config.json of a Hugging Face directory."""
    if not directory.is_dir():
        raise SpecError(f"{directory}: no such directory; model.checkpoint takes a Hugging Face directory")
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise SpecError(f"{directory}: no {CONFIG_FILE}; a Hugging Face model directory has one")
    return as_config(read_json(path), str(path))


def open_checkpoint(directory: Path, family: Family, parameters: Mapping[str, ParameterSpec]) -> Checkpoint:
    """The tensors of `directory`, which must be exactly `parameters` (published names, in that order).

    Raises:
        SpecError: a missing or truncated file, a missing or extra tensor, another shape, a dtype that is not
        float.
    """
    found = _by_published_name(_stored_tensors(directory), family, parameters, directory)
    missing = [name for name in parameters if name not in found]
    if missing:
        raise SpecError(f"{directory}: {count(missing, 'tensor')} missing: {listed(missing)}")
    for name, parameter in parameters.items():
        _require_match(name, found[name], parameter)
    return Checkpoint({name: found[name] for name in parameters})


def _by_published_name(
    stored: Iterable[StoredTensor], family: Family, parameters: Mapping[str, ParameterSpec], directory: Path
) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    extra: list[str] = []
    for tensor in stored:
        name = family.published_name(tensor.stored_name)
        if name is None or (name in family.tied and name not in parameters):
            continue
        if name not in parameters:
            extra.append(tensor.stored_name)
        elif name in found:
            raise SpecError(
                f"{directory}: `{found[name].stored_name}` and `{tensor.stored_name}` are both "
                f"`{name}`; keep one"
            )
        else:
            found[name] = tensor
    if extra:
        raise SpecError(
            f"{directory}: {count(extra, 'tensor')} that a {family.name} model of this {CONFIG_FILE} "
            f"does not have: {listed(extra)}"
        )
    return found


def _require_match(name: str, tensor: StoredTensor, parameter: ParameterSpec) -> None:
    where = f"{tensor.file}: tensor `{tensor.stored_name}`"
    if tensor.dtype not in FLOAT_DTYPES:
        raise SpecError(f"{where} has dtype {tensor.dtype}; expected one of {', '.join(FLOAT_DTYPES)}")
    if tensor.shape != parameter.shape:
        raise SpecError(
            f"{where} has shape {list(tensor.shape)}; {CONFIG_FILE} makes `{name}` {list(parameter.shape)}"
        )


def _stored_tensors(directory: Path) -> list[StoredTensor]:
    whole, index = directory / WEIGHTS_FILE, directory / INDEX_FILE
    if whole.is_file():
        return list(tensors_of(whole).values())
    if index.is_file():
        return _sharded_tensors(directory, index)
    raise SpecError(
        f"{directory}: neither {WEIGHTS_FILE} nor {INDEX_FILE}; Daypack reads safetensors only "
        "(convert other formats with `save_pretrained` of transformers)"
    )


def _sharded_tensors(directory: Path, index: Path) -> list[StoredTensor]:
    weight_map = as_config(read_json(index), str(index)).get("weight_map")
    shards = as_config(weight_map, f"{index}: `weight_map`")
    headers: dict[object, dict[str, StoredTensor]] = {}
    for shard in shards.values():
        if shard not in headers:
            headers[shard] = tensors_of(_shard_path(directory, index, shard))
    tensors: list[StoredTensor] = []
    for name, shard in shards.items():
        if name not in headers[shard]:
            raise SpecError(f"{directory / shard}: no tensor `{name}`, although {INDEX_FILE} says it is here")
        tensors.append(headers[shard][name])
    unnamed = [
        f"{name} of {shard}" for shard, header in headers.items() for name in header if name not in shards
    ]
    if unnamed:
        raise SpecError(
            f"{directory}: {count(unnamed, 'tensor')} that {INDEX_FILE} does not name: {listed(unnamed)}"
        )
    return tensors


def _shard_path(directory: Path, index: Path, shard: object) -> Path:
    if not isinstance(shard, str) or Path(shard).name != shard:
        raise SpecError(f"{index}: shard {shard!r} is not a plain file name")
    if not (directory / shard).is_file():
        raise SpecError(f"{directory}: shard {shard} is missing; {INDEX_FILE} names it")
    return directory / shard


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (a method, not a mapping)
        return {
            name: StoredTensor(path, name, tuple(part.get_shape()), part.get_dtype())
            for name, part in slices.items()
        }


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="numpy")
    except (SafetensorError, OSError) as error:
        raise SpecError(
            f"{path}: not a whole safetensors file ({error}); download or copy it again"
        ) from error


def read_json(path: Path) -> object:
    """A JSON file whose objects have each key once."""
    try:
        return cast("object", json.loads(path.read_text("utf-8"), object_pairs_hook=once))
    except RepeatedKey as error:
        raise SpecError(f"{path}: the key {error.key!r} stands twice in one object; keep one") from error
    except (ValueError, OSError) as error:
        raise SpecError(f"{path}: not readable as JSON ({error})") from error


def count(names: list[str], noun: str) -> str:
    return f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"


def listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
