"""Window + offsets + kernels + arrays → the bundle directory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from daypack.compiler.apply import Applied
from daypack.compiler.graph import Role
from daypack.compiler.interpret import numpy_dtype
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.step import STEP, InitialState, InputRange
from daypack.compiler.window import Window
from daypack.devices import Profile
from daypack.errors import SpecError
from daypack.runtime import plan_file as pf
from daypack.runtime.build import build_engine
from daypack.runtime.plan_format import write_plan
from daypack.runtime.state_file import CODE_OF_NUMPY, state_layout, write_state

Array = np.ndarray[Any, Any]
Read = Callable[[str], Array]
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Emission:
    """What the emitted files say: sizes for the memory account."""

    plan: pf.PlanFile
    plan_bytes: int
    engine_bytes: int
    weights_bytes: int


def emit(
    folder: Path,
    window: Window,
    applied: Applied,
    table: KernelTable,
    profile: Profile,
    *,
    read: Read,
    optimizer: InitialState,
    mutable: Mapping[str, Array],
    ranges: Mapping[str, InputRange],
    budget_bytes: int,
    save_steps: int,
    object_code: bytes,
) -> Emission:
    """Write plan.bin, engine, weights.bin and state.safetensors into `folder`."""
    kernels = _kernels(table)
    scratch = max((k.code.scratch_bytes for k in table.kernels), default=0)
    engine = build_engine(
        triple=profile.llvm_triple,
        kernel_object=object_code,
        kernels=kernels,
        scratch_bytes=scratch,
        out=folder / "engine",
    )
    places = _write_weights(folder / "weights.bin", window, read)
    state = _state(window, applied)
    plan = pf.PlanFile(
        target_arch=profile.arch,
        cpu_features=profile.cpu_features,
        arena_bytes=applied.arena_bytes,
        scratch_bytes=scratch,
        budget_bytes=budget_bytes,
        window=len(window.batches),
        save_steps=save_steps,
        kernels=kernels,
        setup=tuple(_setup(window, applied, places, state)),
        steps=applied.instructions(places),
        inputs=_inputs(window, ranges),
        state=state,
        loss_offset_bytes=applied.offsets[window.loss],
        weight_offset_bytes=applied.offsets[window.weight],
        step_offset_bytes=applied.offsets[window.state[STEP][0]],
        kernel_id=engine.kernel_id,
    )
    raw = write_plan(plan)
    (folder / "plan.bin").write_bytes(raw)
    write_state(folder / "state.safetensors", state, _InitialArrays(window, read, optimizer, mutable))
    return Emission(plan, len(raw), engine.size_bytes, (folder / "weights.bin").stat().st_size)


def _kernels(table: KernelTable) -> tuple[pf.Kernel, ...]:
    kernels: list[pf.Kernel] = []
    for kernel in table.kernels:
        phases = tuple(
            pf.Phase(symbol, phase.stage, phase.tiles)
            for symbol, phase in zip(kernel.symbols, kernel.code.phases, strict=True)
        )
        sizes = kernel.argument_bytes
        kernels.append(pf.Kernel(kernel.name, len(sizes), phases, sizes))
    return tuple(kernels)


def _write_weights(path: Path, window: Window, read: Read) -> dict[int, int]:
    """Frozen arrays and constants at multiples of 64 bytes, in the order of first use; item → offset.

    Parts `NAME[a:b]` of an array follow each other, so the array is read once; a matrix on flash that also
    has parts in memory is stored once.
    """
    places: dict[int, int] = {}
    with path.open("wb") as file:
        for name, items in _by_array(window).items():
            array = checked(read(name), name)
            whole = any(window.items[i].name == name for i in items)
            start = _append(file, array) if whole else 0
            for i in items:
                item = window.items[i]
                first, end = _rows_of(item.name, array)
                part = array[first:end] if array.ndim else array
                _same_shape(part, item.name, item.shape, item.dtype)
                places[i] = start + (array[:first].nbytes if first else 0) if whole else _append(file, part)
        for i, raw in window.constants.items():
            places[i] = _append(file, np.frombuffer(raw, np.uint8))
    return places


def _append(file: BinaryIO, array: Array) -> int:
    """Write an array at the next multiple of 64 bytes; returns where."""
    start = file.tell()
    file.write(np.ascontiguousarray(array).tobytes() if array.size == 0 else np.ascontiguousarray(array).data)
    file.write(bytes(-file.tell() % ALIGNMENT_BYTES))
    return start


_PART = re.compile(r"(.*)\[(\d+):(\d+)\]$")


def _by_array(window: Window) -> dict[str, list[int]]:
    """Array → the items that are it or a part of it, in order of first use."""
    found: dict[str, list[int]] = {}
    for item, name in window.weights.items():
        match = _PART.match(name)
        found.setdefault(match[1] if match else name, []).append(item)
    return found


def _rows_of(name: str, array: Array) -> tuple[int, int]:
    """The rows of the array that an item holds."""
    match = _PART.match(name)
    return (int(match[2]), int(match[3])) if match else (0, len(array) if array.ndim else 1)


def _same_shape(array: Array, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Insist on the shape and type the step was traced with."""
    if array.shape != shape or array.dtype != numpy_dtype(dtype):
        raise SpecError(f"{name!r}: expected {dtype}{list(shape)}, found {array.dtype}{list(array.shape)}")


def checked(array: Array, name: str) -> Array:
    """The array, if it holds no NaN and no infinity.

    Raises:
        SpecError: names the array and how many values are not finite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise SpecError(
            f"{name!r} holds {count} values that are NaN or infinite; training cannot start from it"
        )
    return array


def _state(window: Window, applied: Applied) -> tuple[pf.StateTensor, ...]:
    tensors: list[pf.StateTensor] = []
    for name, (first, _) in window.state.items():
        item = window.items[first]
        code = CODE_OF_NUMPY[item.dtype]
        tensors.append(pf.StateTensor(name, code, item.shape, applied.offsets[first]))
    # safetensors lists larger elements first so that every array is aligned.
    return tuple(sorted(tensors, key=lambda t: (-pf.DTYPE_BYTES[t.dtype], t.name)))


def _setup(
    window: Window, applied: Applied, places: Mapping[int, int], state: tuple[pf.StateTensor, ...]
) -> Iterator[pf.Instr]:
    for item, offset in sorted(places.items(), key=lambda p: p[1]):
        size = window.items[item].size_bytes
        if size and item in applied.resident:
            yield pf.Read(pf.FileKind.WEIGHTS, offset, applied.offsets[item], size)
    layout = state_layout(state)
    for tensor, offset in zip(state, layout.offsets_bytes, strict=True):
        if tensor.size_bytes:
            yield pf.Read(pf.FileKind.STATE, offset, tensor.arena_offset_bytes, tensor.size_bytes)


def _inputs(window: Window, ranges: Mapping[str, InputRange]) -> tuple[pf.BatchInput, ...]:
    inputs: list[pf.BatchInput] = []
    for item_id in window.batches[0]:
        item = window.items[item_id]
        name = item.name.rsplit("/", 1)[0]
        limit = ranges.get(name)
        bound = limit.bound if limit else 0
        ignore = limit.ignore if limit else None
        inputs.append(pf.BatchInput(name, CODE_OF_NUMPY[item.dtype], item.size_bytes, bound, ignore))
    return tuple(inputs)


class _InitialArrays(Mapping[str, Array]):
    """Generation 0 of the state, one array in memory at a time."""

    def __init__(
        self, window: Window, read: Read, optimizer: InitialState, mutable: Mapping[str, Array]
    ) -> None:
        self._window, self._read, self._optimizer, self._mutable = window, read, optimizer, mutable

    def __getitem__(self, name: str) -> Array:
        item = self._window.items[self._window.state[name][0]]
        array = checked(self._array(name, item.role), name)
        _same_shape(array, name, item.shape, item.dtype)
        return array

    def _array(self, name: str, role: Role) -> Array:
        if name == STEP:
            return np.zeros((), np.uint32)
        if role is Role.TRAINABLE:
            return self._read(name)
        if name.startswith("mutable/"):
            return np.asarray(self._mutable[name.removeprefix("mutable/")])
        return self._optimizer.array(name.replace("opt/", "opt:", 1))

    def __iter__(self) -> Iterator[str]:
        return iter(self._window.state)

    def __len__(self) -> int:
        return len(self._window.state)


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """bundle.json: what people and the host side read."""
    (folder / "bundle.json").write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
