"""Window + offsets + kernels + arrays → the bundle directory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from daypack.compiler.apply import Applied
from daypack.compiler.graph import Role
from daypack.compiler.interpret import numpy_dtype
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.planning import Planned
from daypack.compiler.step import STEP, InitialState, InputRange
from daypack.compiler.text import render
from daypack.compiler.window import Origin, Window
from daypack.devices import Profile
from daypack.errors import SpecError
from daypack.runtime import plan_file as pf
from daypack.runtime.build import build_engine
from daypack.runtime.bundle import EVALUATION, plan_name
from daypack.runtime.plan_format import write_plan
from daypack.runtime.state_file import CODE_OF_NUMPY, NO_ID, state_layout, write_state

Array = np.ndarray[Any, Any]
Read = Callable[[str], Array]
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Emission:
    """What the emitted files say: sizes for the memory account; `plan_bytes` of the largest plan."""

    plans: tuple[pf.PlanFile, ...]
    plan_bytes: int
    engine_bytes: int
    weights_bytes: int
    evaluation: pf.PlanFile | None = None
    evaluation_bytes: int = 0

    @property
    def plan(self) -> pf.PlanFile:
        """The one that a run begins with."""
        return self.plans[0]

    def saved_bytes(self, number: int = 0) -> int:
        """What saving writes a step, and keeping its window, besides the stores of a plan."""
        plan = self.plans[number]
        pieces = [piece for tensor in plan.state for piece in tensor.pieces]
        kept = sum(piece.size_bytes for piece in pieces if piece.arena_offset_bytes is not None)
        suspended = sum(step.size_bytes for step in plan.steps if isinstance(step, pf.Suspend))
        return kept // plan.save_steps + suspended


def emit(
    folder: Path,
    plans: Sequence[Planned],
    profile: Profile,
    *,
    read: Read,
    optimizer: InitialState,
    mutable: Mapping[str, Array],
    ranges: Mapping[str, InputRange],
    object_code: bytes,
    evaluation: Planned | None = None,
) -> Emission:
    """Write the plans, engine, weights.bin, state.safetensors, and eval.bin for an evaluation, into `folder`.

    The plans are of one window in several orders: they share its items, its kernels and its state.
    """
    window, table = plans[0].window, plans[0].table
    kernels = _kernels(table)
    scratch = max((k.code.scratch_bytes for k in table.kernels), default=0)
    engine = build_engine(
        triple=profile.llvm_triple,
        kernel_object=object_code,
        kernels=kernels,
        scratch_bytes=scratch,
        out=folder / "engine",
    )
    frozen = hashlib.sha256()
    windows = (window,) if evaluation is None else (window, evaluation.window)
    places, *beside = _write_weights(folder / "weights.bin", windows, read, frozen.update)
    tensors = _tensors(window)
    states = [_state(window, planned.applied, tensors) for planned in plans]
    state = states[0]
    update = _update_text(window, table)

    def identify(initial: bytes) -> str:
        return hashlib.sha256(initial + frozen.digest() + update.encode()).hexdigest()

    arrays = _InitialArrays(window, state, tensors, read, optimizer, mutable)
    state_id = write_state(folder / "state.safetensors", state, arrays, identify)
    state_places = _state_places(window, state, tensors)
    inputs = _inputs(window, ranges)
    files = tuple(
        pf.PlanFile(
            target_arch=profile.arch,
            cpu_features=profile.cpu_features,
            arena_bytes=planned.applied.arena_bytes,
            scratch_bytes=scratch,
            budget_bytes=planned.budget_bytes,
            window=len(window.batches),
            save_steps=planned.save_steps,
            kernels=kernels,
            setup=tuple(_setup(window, planned.applied, places)),
            steps=planned.applied.instructions(places | state_places),
            inputs=inputs,
            state=tensors_there,
            loss_offset_bytes=planned.applied.offsets[window.loss],
            weight_offset_bytes=planned.applied.offsets[window.weight],
            step_offset_bytes=planned.applied.offsets[window.state[STEP][0]],
            kernel_id=engine.kernel_id,
            state_id=state_id,
            order=planned.order,
        )
        for planned, tensors_there in zip(plans, states, strict=True)
    )
    plan_bytes = max(_write_plan(folder / plan_name(number), plan) for number, plan in enumerate(files))
    emission = Emission(files, plan_bytes, engine.size_bytes, (folder / "weights.bin").stat().st_size)
    if evaluation is None:
        return emission
    found = _evaluation_plan(files[0], evaluation, beside[0], ranges)
    size_bytes = _write_plan(folder / EVALUATION, found)
    return replace(emission, evaluation=found, evaluation_bytes=size_bytes)


def _write_plan(path: Path, plan: pf.PlanFile) -> int:
    """Bytes of a plan, written."""
    return path.write_bytes(write_plan(plan))


def _evaluation_plan(
    plan: pf.PlanFile, evaluation: Planned, places: Mapping[int, int], ranges: Mapping[str, InputRange]
) -> pf.PlanFile:
    """Beside the plan of a training, that of its evaluation: the same kernels, weights and state."""
    window, applied = evaluation.window, evaluation.applied
    read = _by_first_row((item.id, item.name) for item in window.items if item.origin is Origin.SAVED)
    state = tuple(
        _state_tensor(window, applied, tensor.name, read[tensor.name])
        if tensor.name in read
        else pf.StateTensor(tensor.name, tensor.dtype, tensor.shape, None)
        for tensor in plan.state
    )
    return replace(
        plan,
        arena_bytes=applied.arena_bytes,
        window=1,
        save_steps=1,
        setup=tuple(_setup(window, applied, places)),
        steps=applied.instructions({**places, **_state_places(window, state, read)}),
        inputs=_inputs(window, ranges),
        state=state,
        loss_offset_bytes=applied.offsets[window.loss],
        weight_offset_bytes=applied.offsets[window.weight],
        step_offset_bytes=applied.offsets[window.step],
        rows=window.items[window.loss].shape[0],
    )


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


Hash = Callable[[Any], None]


def _write_weights(path: Path, windows: Sequence[Window], read: Read, hashed: Hash) -> list[dict[int, int]]:
    """Frozen arrays and constants at multiples of 64 bytes, in the order of first use; for each window, item
    → offset. What two windows read is stored once.

    `hashed` is given the bytes of every frozen array of the first window, but not where they lie. Parts
    `NAME[a:b]` of an array follow each other, so the array is read once; a matrix on flash that also has
    parts in memory is stored once.
    """
    places: list[dict[int, int]] = [{} for _ in windows]
    stored: dict[str | bytes, int] = {}
    with path.open("wb") as file:
        for name, found in _by_array(windows).items():
            array = checked(read(name), name)
            items = [(number, windows[number].items[i]) for number, i in found]
            whole = any(item.name == name for _, item in items)
            if items[0][0] == 0:
                hashed(_raw(array))
            start = _append(file, array) if whole else 0
            for number, item in items:
                first, end = _rows_of(item.name, array)
                part = array[first:end] if array.ndim else array
                _same_shape(part, item.name, item.shape, item.dtype)
                if item.name not in stored:
                    inside = start + (array[:first].nbytes if first else 0)
                    stored[item.name] = inside if whole else _append(file, part)
                places[number][item.id] = stored[item.name]
        for number, window in enumerate(windows):
            for i, raw in window.constants.items():
                if raw not in stored:
                    stored[raw] = _append(file, np.frombuffer(raw, np.uint8))
                places[number][i] = stored[raw]
    return places


def _append(file: BinaryIO, array: Array) -> int:
    """Write an array at the next multiple of 64 bytes; returns where."""
    start = file.tell()
    file.write(_raw(array))
    file.write(bytes(-file.tell() % ALIGNMENT_BYTES))
    return start


def _raw(array: Array) -> memoryview:
    """The bytes of an array."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


_PART = re.compile(r"(.*)\[(\d+):(\d+)\]$")


def _by_array(windows: Sequence[Window]) -> dict[str, list[tuple[int, int]]]:
    """Array → (window, item) that are it or a part of it, in order of first use."""
    return _grouped(
        ((number, item), name)
        for number, window in enumerate(windows)
        for item, name in window.weights.items()
    )


AnyItem = TypeVar("AnyItem")


def _grouped(named: Iterable[tuple[AnyItem, str]]) -> dict[str, list[AnyItem]]:
    """Array → items, where an item may be the rows [a, b) of an array: `NAME[a:b]`."""
    found: dict[str, list[AnyItem]] = {}
    for item, name in named:
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


def _tensors(window: Window) -> dict[str, list[int]]:
    """Published name → the state's items of that name, in the order of the file: parts by their rows.

    safetensors lists larger elements first so that every array is aligned.
    """
    found = _by_first_row((first, name) for name, (first, _) in window.state.items())
    code = {name: CODE_OF_NUMPY[window.items[items[0]].dtype] for name, items in found.items()}
    return {name: found[name] for name in sorted(found, key=lambda name: (-pf.DTYPE_BYTES[code[name]], name))}


def _by_first_row(named: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    """Array → its items, in the order of their rows."""
    names = dict(named)
    found = _grouped(names.items())
    return {name: sorted(items, key=lambda i: _first_row(names[i])) for name, items in found.items()}


def _first_row(name: str) -> int:
    match = _PART.match(name)
    return int(match[2]) if match else 0


def _state(window: Window, applied: Applied, tensors: Mapping[str, list[int]]) -> tuple[pf.StateTensor, ...]:
    """The state's tensors, each where a plan has it."""
    return tuple(_state_tensor(window, applied, name, items) for name, items in tensors.items())


def _state_tensor(window: Window, applied: Applied, name: str, numbers: list[int]) -> pf.StateTensor:
    """One published array, in one piece or in parts."""
    items = [window.items[i] for i in numbers]
    code = CODE_OF_NUMPY[items[0].dtype]
    if len(items) == 1:
        return pf.StateTensor(name, code, items[0].shape, applied.offsets.get(items[0].id))
    parts = tuple(pf.StatePiece(applied.offsets.get(i.id), i.size_bytes) for i in items)
    shape = (sum(i.shape[0] for i in items), *items[0].shape[1:])
    return pf.StateTensor(name, code, shape, None, parts)


def _state_places(
    window: Window, state: tuple[pf.StateTensor, ...], tensors: Mapping[str, list[int]]
) -> dict[int, int]:
    """State item → offset in the state's file."""
    places: dict[int, int] = {}
    for tensor, start in zip(state, state_layout(state, NO_ID).offsets_bytes, strict=True):
        offset = start
        for item in tensors.get(tensor.name, ()):
            places[item] = offset
            offset += window.items[item].size_bytes
    return places


def _setup(window: Window, applied: Applied, places: Mapping[int, int]) -> Iterator[pf.Instr]:
    """Weights that stay; what stays of the state the engine reads by its records."""
    for item, offset in sorted(places.items(), key=lambda p: p[1]):
        size = window.items[item].size_bytes
        if size and item in applied.resident:
            yield pf.Read(pf.FileKind.WEIGHTS, offset, applied.offsets[item], size)


def _update_text(window: Window, table: KernelTable) -> str:
    """What the update computes, whatever the processor and the micro-batches: its kernels in order."""
    update = [c for c in window.calls if c.micro == len(window.batches) and c.kernel >= 0]
    return "\n".join(render(table.kernels[call.kernel].body) for call in update)


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
        self,
        window: Window,
        state: tuple[pf.StateTensor, ...],
        tensors: Mapping[str, list[int]],
        read: Read,
        optimizer: InitialState,
        mutable: Mapping[str, Array],
    ) -> None:
        self._window, self._read, self._optimizer, self._mutable = window, read, optimizer, mutable
        self._shapes = {tensor.name: tensor.shape for tensor in state}
        self._first = {name: window.items[items[0]] for name, items in tensors.items()}

    def __getitem__(self, name: str) -> Array:
        item = self._first[name]
        array = checked(self._array(name, item.role), name)
        _same_shape(array, name, self._shapes[name], item.dtype)
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
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """bundle.json: what people and the host side read."""
    (folder / "bundle.json").write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
