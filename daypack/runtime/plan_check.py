"""What a plan must satisfy before it is written, and after it is read: the engine's load checks, in Python.

The engine (`native/src/loader.c`) makes the same checks in C and trusts nothing; these give the compiler the
message at the place of the mistake. Every failure is a `BundleError` that names the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from daypack.errors import BundleError
from daypack.runtime.cpu_features import FEATURES
from daypack.runtime.plan_file import (
    ALIGNMENT_BYTES,
    DTYPE_BYTES,
    Batch,
    BatchInput,
    Call,
    EndShard,
    Fetch,
    FileKind,
    Instr,
    Kernel,
    PlanFile,
    Read,
    Rows,
    StateTensor,
    Store,
    Suspend,
    Wait,
    Zero,
)
from daypack.runtime.state_file import METADATA_KEY, StateLayout, state_layout

#: Sizes and counts stay below these, so that sums of two cannot overflow 64 (32) bits.
MAX_BYTES = 1 << 62
MAX_COUNT = (1 << 31) - 1
_STATE_ID = re.compile("[0-9a-f]{64}")


def check_plan(plan: PlanFile) -> None:
    """Refuse a plan that the engine would refuse."""
    _check_header(plan)
    for kernel in plan.kernels:
        _check_kernel(kernel)
    for place, instructions in (("setup", plan.setup), ("steps", plan.steps)):
        for position, instruction in enumerate(instructions):
            _check_instruction(plan, f"{place}[{position}]", instruction, in_setup=place == "setup")
    _check_unique("input", [entry.name for entry in plan.inputs])
    for entry in plan.inputs:
        _check_input(entry)
    _check_unique("state tensor", [tensor.name for tensor in plan.state])
    for tensor in plan.state:
        if tensor.name == METADATA_KEY:
            _refuse("state tensor names", f"another than safetensors' own {METADATA_KEY}", repr(tensor.name))
        if tensor.dtype not in DTYPE_BYTES:
            _refuse(f"state {tensor.name!r} dtype", f"one of {', '.join(DTYPE_BYTES)}", repr(tensor.dtype))
        _check_between(f"state {tensor.name!r} size_bytes", tensor.size_bytes, 1, MAX_BYTES)
        _check_pieces(plan, tensor)
    layout = state_layout(plan.state, plan.state_id)
    _check_transfers(plan, layout)
    _check_suspends(plan)
    _check_stored(plan, layout)


def _check_header(plan: PlanFile) -> None:
    if plan.target_arch not in FEATURES:
        _refuse("target_arch", f"one of {', '.join(FEATURES)}", repr(plan.target_arch))
    for feature in plan.cpu_features:
        if feature not in FEATURES[plan.target_arch]:
            known = ", ".join(FEATURES[plan.target_arch])
            _refuse(
                "cpu_features",
                f"features the engine can check on {plan.target_arch} ({known})",
                repr(feature),
            )
    if plan.state_id and _STATE_ID.fullmatch(plan.state_id) is None:
        _refuse("state_id", "nothing or 64 hexadecimal digits", repr(plan.state_id))
    if len(plan.kernel_id) != 32:
        _refuse("kernel_id", "32 bytes", f"{len(plan.kernel_id)}")
    _check_between("arena_bytes", plan.arena_bytes, ALIGNMENT_BYTES, MAX_BYTES)
    _check_between("scratch_bytes", plan.scratch_bytes, 0, MAX_BYTES)
    _check_between("budget_bytes", plan.budget_bytes, 0, MAX_BYTES)
    if plan.budget_bytes and plan.arena_bytes > plan.budget_bytes:
        _refuse("arena_bytes", f"at most the budget of {plan.budget_bytes}", str(plan.arena_bytes))
    _check_between("window", plan.window, 1, MAX_COUNT)
    _check_between("save_steps", plan.save_steps, 1, MAX_COUNT)
    _check_between("rows", plan.rows, 0, MAX_COUNT)
    if plan.rows and (plan.window, plan.save_steps) != (1, 1):
        _refuse("window and save_steps", "1 and 1 in an evaluation", f"{plan.window} and {plan.save_steps}")
    results = 4 * max(plan.rows, 1)
    for name, size in (("loss", results), ("weight", results), ("step", 4)):
        _check_range(plan, f"{name}_offset_bytes", getattr(plan, f"{name}_offset_bytes"), size, alignment=4)


def _check_kernel(kernel: Kernel) -> None:
    where = f"kernel {kernel.name!r}"
    _check_between(f"{where} arg_count", kernel.arg_count, 0, MAX_COUNT)
    if kernel.arg_bytes and len(kernel.arg_bytes) != kernel.arg_count:
        _refuse(f"{where} arg_bytes", f"{kernel.arg_count} sizes", str(len(kernel.arg_bytes)))
    for size in kernel.arg_bytes:
        _check_between(f"{where} arg_bytes", size, 0, MAX_BYTES)
    for phase in kernel.phases:
        _check_between(f"{where} phase {phase.symbol} tiles", phase.tiles, 0, MAX_COUNT)
        _check_between(f"{where} phase {phase.symbol} stage", phase.stage, 0, MAX_COUNT)


def _check_instruction(plan: PlanFile, where: str, instruction: Instr, *, in_setup: bool) -> None:
    match instruction:
        case Call(kernel, operands):
            _check_between(f"{where} kernel", kernel, 0, len(plan.kernels) - 1)
            callee = plan.kernels[kernel]
            if len(operands) != callee.arg_count:
                _refuse(f"{where} operands of {callee.name!r}", str(callee.arg_count), str(len(operands)))
            sizes = callee.arg_bytes or (0,) * callee.arg_count
            for position, (offset, size) in enumerate(zip(operands, sizes, strict=True)):
                _check_range(plan, f"{where} operand {position} of {callee.name!r}", offset, size)
        case Read(file, file_offset, arena_offset, size):
            if file is FileKind.STATE:
                if not in_setup:
                    _refuse(f"{where} file", "WEIGHTS (the state is read in setup only)", "STATE")
                end = state_layout(plan.state, plan.state_id).file_bytes
                if file_offset < 0 or file_offset + size > end:
                    _refuse(
                        f"{where} file bytes", f"within [0, {end})", f"[{file_offset}, {file_offset + size})"
                    )
            _check_between(f"{where} file offset", file_offset, 0, MAX_BYTES)
            _check_range(plan, where, arena_offset, size)
        case Rows():
            _check_rows(plan, where, instruction, in_setup=in_setup)
        case Batch(micro, offsets):
            if in_setup:
                _refuse(where, "no Batch in setup", "Batch")
            _check_between(f"{where} micro", micro, 0, plan.window - 1)
            if len(offsets) != len(plan.inputs):
                _refuse(f"{where} offsets", f"{len(plan.inputs)}, one an input", str(len(offsets)))
            for entry, offset in zip(plan.inputs, offsets, strict=True):
                _check_range(plan, f"{where} input {entry.name!r}", offset, entry.size_bytes)
        case Zero(arena_offset, size):
            _check_range(plan, where, arena_offset, size)
        case EndShard() | Fetch() | Store() | Wait() | Suspend():
            if in_setup and not isinstance(instruction, EndShard):
                name = type(instruction).__name__
                _refuse(where, f"no {name} in setup", name)


def _check_transfers(plan: PlanFile, layout: StateLayout) -> None:
    """Fetches, stores and waits of a step: their files, ranges and numbers."""
    records = set(_records(plan, layout))
    stores = [i for i in plan.steps if isinstance(i, Store)]
    swap_bytes = max(
        (i.file_offset_bytes + i.size_bytes for i in stores if i.file is FileKind.SWAP), default=0
    )
    data = (len(layout.header), layout.file_bytes)
    limits = {
        FileKind.WEIGHTS: (0, MAX_BYTES),
        FileKind.STATE: data,
        FileKind.NEXT: data,
        FileKind.SWAP: (0, min(swap_bytes, MAX_BYTES)),
    }
    done = 0
    for position, instruction in enumerate(plan.steps):
        where = f"steps[{position}]"
        match instruction:
            case Wait(transfers):
                _check_between(f"{where} transfers", transfers, 1, done)
                continue
            case Store(file, offset, place, size):
                if plan.rows:
                    _refuse(where, "no Store in an evaluation", "Store")
                if file not in (FileKind.NEXT, FileKind.SWAP):
                    _refuse(f"{where} file", "NEXT or SWAP", file.name)
            case Fetch(file, offset, place, size):
                pass
            case _:
                continue
        done += 1
        low, high = limits[file]
        if file in (FileKind.STATE, FileKind.NEXT) and plan.save_steps != 1:
            _refuse("save_steps", "1 where a step reads or writes the state's file", str(plan.save_steps))
        if offset < low or size < 1 or offset + size > high:
            _refuse(f"{where} file bytes", f"within [{low}, {high})", f"[{offset}, {offset + size})")
        if file is FileKind.NEXT and isinstance(instruction, Store) and (offset, size) not in records:
            _refuse(f"{where} file bytes", "one whole piece of the state", f"[{offset}, {offset + size})")
        _check_range(plan, where, place, size)


def _check_suspends(plan: PlanFile) -> None:
    """Ranges apart and ascending, fetches before them, no page of the next generation stored yet."""
    fetched: dict[int, FileKind] = {}
    stored = False
    for position, instruction in enumerate(plan.steps):
        match instruction:
            case Fetch():
                fetched[position] = instruction.file
            case Store():
                stored = stored or instruction.file is FileKind.NEXT
            case Suspend(ranges, fetches):
                where = f"steps[{position}]"
                if plan.rows:
                    _refuse(where, "no Suspend in an evaluation", "Suspend")
                if stored:
                    _refuse(where, "a Suspend before the first store into NEXT", "one after it")
                _check_kept(plan, where, ranges)
                if list(fetches) != sorted(set(fetches)):
                    _refuse(f"{where} fetches", "each once, ascending", str(fetches))
                for fetch in fetches:
                    if fetched.get(fetch) not in (FileKind.WEIGHTS, FileKind.STATE):
                        _refuse(f"{where} fetches", "an earlier Fetch of WEIGHTS or STATE", str(fetch))
            case _:
                pass


def _check_kept(plan: PlanFile, where: str, ranges: Sequence[tuple[int, int]]) -> None:
    if not ranges:
        _refuse(f"{where} ranges", "one or more", "none")
    end = 0
    for offset, size in ranges:
        _check_between(f"{where} range size", size, 1, MAX_BYTES)
        _check_range(plan, f"{where} range", offset, size)
        if offset < end:
            _refuse(f"{where} ranges", f"one that begins at {end} or later", str(offset))
        end = offset + size


def _records(plan: PlanFile, layout: StateLayout) -> Iterator[tuple[int, int]]:
    """(offset in the state's file, size) of each piece."""
    for tensor, start in zip(plan.state, layout.offsets_bytes, strict=True):
        offset = start
        for piece in tensor.pieces:
            yield offset, piece.size_bytes
            offset += piece.size_bytes


def _check_pieces(plan: PlanFile, tensor: StateTensor) -> None:
    where = f"state {tensor.name!r}"
    if len(tensor.parts) == 1 or (tensor.parts and tensor.arena_offset_bytes is not None):
        _refuse(f"{where} parts", "none, or two and more and no place of the whole", str(len(tensor.parts)))
    total = sum(piece.size_bytes for piece in tensor.pieces)
    if total != tensor.size_bytes:
        _refuse(f"{where} parts", f"{tensor.size_bytes} bytes", str(total))
    for piece in tensor.pieces:
        _check_between(f"{where} piece size_bytes", piece.size_bytes, 1, MAX_BYTES)
        if piece.arena_offset_bytes is not None:
            _check_range(plan, where, piece.arena_offset_bytes, piece.size_bytes)


def _check_stored(plan: PlanFile, layout: StateLayout) -> None:
    """What is not in memory when a step ends, the step has stored, unless it changes nothing."""
    if plan.rows:
        return
    stored = {
        (i.file_offset_bytes, i.size_bytes)
        for i in plan.steps
        if isinstance(i, Store) and i.file is FileKind.NEXT
    }
    for tensor, start in zip(plan.state, layout.offsets_bytes, strict=True):
        offset = start
        for piece in tensor.pieces:
            if piece.arena_offset_bytes is None and (offset, piece.size_bytes) not in stored:
                found = f"none of [{offset}, {offset + piece.size_bytes})"
                _refuse(f"state {tensor.name!r}", "a store of each piece that is not in memory", found)
            offset += piece.size_bytes


def _check_rows(plan: PlanFile, where: str, rows: Rows, *, in_setup: bool) -> None:
    if in_setup:
        _refuse(where, "no Rows in setup", "Rows")
    if rows.file is not FileKind.WEIGHTS:
        _refuse(f"{where} file", "WEIGHTS (only they have rows)", rows.file.name)
    _check_between(f"{where} row_bytes", rows.row_bytes, 1, MAX_BYTES)
    if rows.row_bytes % 4:
        _refuse(f"{where} row_bytes", "a multiple of 4", str(rows.row_bytes))
    _check_between(f"{where} row_count", rows.row_count, 1, MAX_BYTES)
    _check_between(f"{where} ids_count", rows.ids_count, 1, MAX_BYTES)
    _check_between(f"{where} file offset", rows.file_offset_bytes, 0, MAX_BYTES)
    end_bytes = rows.file_offset_bytes + rows.row_count * rows.row_bytes
    _check_between(f"{where} end of the matrix in the file", end_bytes, 0, MAX_BYTES)
    _check_range(plan, f"{where} ids", rows.ids_offset_bytes, 4 * rows.ids_count)
    _check_range(plan, where, rows.arena_offset_bytes, rows.size_bytes)
    ids_end, end = rows.ids_offset_bytes + 4 * rows.ids_count, rows.arena_offset_bytes + rows.size_bytes
    if rows.arena_offset_bytes < ids_end and rows.ids_offset_bytes < end:
        ids = f"ids in [{rows.ids_offset_bytes}, {ids_end})"
        _refuse(where, f"rows outside the {ids}", f"[{rows.arena_offset_bytes}, {end})")


def _check_input(entry: BatchInput) -> None:
    where = f"input {entry.name!r}"
    if entry.dtype not in DTYPE_BYTES:
        _refuse(f"{where} dtype", f"one of {', '.join(DTYPE_BYTES)}", repr(entry.dtype))
    _check_between(f"{where} size_bytes", entry.size_bytes, 0, MAX_BYTES)
    if entry.size_bytes % DTYPE_BYTES[entry.dtype]:
        _refuse(f"{where} size_bytes", f"a multiple of {DTYPE_BYTES[entry.dtype]}", str(entry.size_bytes))
    _check_between(f"{where} bound", entry.bound, 0, MAX_COUNT)
    if entry.bound and entry.dtype != "I32":
        _refuse(f"{where} bound", "0 unless the dtype is I32", f"{entry.bound} with {entry.dtype}")
    if entry.ignore is not None:
        _check_between(f"{where} ignore", entry.ignore, -(1 << 31), MAX_COUNT)


def _check_range(
    plan: PlanFile, where: str, offset: int, size: int, alignment: int = ALIGNMENT_BYTES
) -> None:
    """[offset, offset + size) lies in the arena, and so does the byte at `offset` even if size is 0."""
    if offset % alignment:
        _refuse(f"{where} arena offset", f"a multiple of {alignment}", str(offset))
    if offset < 0 or size < 0 or offset + max(size, 1) > plan.arena_bytes:
        _refuse(f"{where} arena bytes", f"within [0, {plan.arena_bytes})", f"[{offset}, {offset + size})")


def _check_between(where: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        _refuse(where, f"{low} to {high}", str(value))


def _check_unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1:
            _refuse(f"{what} names", "distinct and not empty", repr(name))


def _refuse(where: str, expected: str, found: str) -> NoReturn:
    raise BundleError(f"plan: {where}: expected {expected}, found {found}")
