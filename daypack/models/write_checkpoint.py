"""Writing a Hugging Face directory from a `TensorSource`, one tensor in memory at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daypack.models.checkpoint import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE
from daypack.models.new_directory import new_directory
from daypack.models.sources import TensorSource


def write_checkpoint(
    directory: Path,
    config: Mapping[str, Any],
    source: TensorSource,
    shards: int = 1,
    beside: Iterable[Path] = (),
) -> None:
    """Write `config` and every tensor of `source` as float32 into a new `directory`, in `shards` files, and
    copies of the files `beside`.

    The directory appears whole or not at all. Raises SpecError if it exists and is not empty.
    """
    with new_directory(directory) as partial:
        write_json(partial / CONFIG_FILE, config)
        _write_weights(partial, source, shards)
        for file in beside:
            shutil.copyfile(file, partial / file.name)


def _write_weights(directory: Path, source: TensorSource, shards: int) -> None:
    names = source.names()
    if shards == 1:
        write_safetensors(directory / WEIGHTS_FILE, names, source)
        return
    weight_map: dict[str, str] = {}
    for number, part in enumerate(np.array_split(np.arange(len(names)), shards), start=1):
        shard = f"model-{number:05}-of-{shards:05}.safetensors"
        members = [names[int(position)] for position in part]
        write_safetensors(directory / shard, members, source)
        weight_map |= dict.fromkeys(members, shard)
    total_bytes = sum(_size_bytes(source, name) for name in names)
    write_json(directory / INDEX_FILE, {"metadata": {"total_size": total_bytes}, "weight_map": weight_map})


def _size_bytes(source: TensorSource, name: str) -> int:
    return 4 * int(np.prod(source.spec(name)[0], dtype=np.int64))


def write_safetensors(path: Path, names: Sequence[str], source: TensorSource) -> None:
    """The safetensors format: u64 header size, JSON header padded to 8 bytes, tensors back to back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + _size_bytes(source, name)
        header[name] = {"dtype": "F32", "shape": list(source.spec(name)[0]), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(np.asarray(source.read(name), np.dtype("<f4"), order="C").tobytes())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
