"""`PlanFile` <-> the bytes of `plan.bin`.

The writer lays the sections out in their one legal way; the reader refuses every other. Both check the plan
(`plan_check`). Reading what was written gives an equal plan, and writing what was read gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError
from daypack.runtime.cpu_features import ARCH_NUMBER, FEATURES
from daypack.runtime.plan_check import check_plan
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
    Order,
    Phase,
    PlanFile,
    Read,
    Rows,
    StatePiece,
    StateTensor,
    Store,
    Suspend,
    Wait,
    Zero,
)
from daypack.runtime.plan_records import (
    HEADER,
    INPUT,
    INSTRUCTION,
    KERNEL,
    MAGIC,
    MINOR_OF_OP,
    MINOR_OF_ORDER,
    MINOR_OF_ROWS,
    NOT_RESIDENT,
    PHASE,
    ROWS,
    SECTIONS,
    STATE,
    VERSION_MAJOR,
    Op,
)
from daypack.runtime.state_file import Entry, parse_header, state_layout

_Table = NDArray[Any]
_DTYPES = tuple(DTYPE_BYTES)


def write_plan(plan: PlanFile) -> bytes:
    """The bytes of `plan.bin`; a plan that the engine would refuse is a `BundleError` here."""
    check_plan(plan)
    tables = _tables(plan)
    header = np.zeros((), HEADER)
    body = bytearray(HEADER.itemsize)
    for name in SECTIONS:
        body += bytes(-len(body) % ALIGNMENT_BYTES)
        header[name]["offset_bytes"] = len(body)
        header[name]["count"] = len(tables[name])
        body += tables[name].tobytes()
    header["magic"] = np.frombuffer(MAGIC, "u1")
    header["version_major"], header["version_minor"] = VERSION_MAJOR, _minor_version(plan, tables)
    header["file_bytes"] = len(body)
    header["target_arch"] = ARCH_NUMBER[plan.target_arch]
    for field in _PLAIN_FIELDS:
        header[field] = getattr(plan, field)
    header["order"] = plan.order
    header["kernel_id"] = np.frombuffer(plan.kernel_id, "u1")
    body[: HEADER.itemsize] = header.tobytes()
    return bytes(body)


def read_plan(data: bytes) -> PlanFile:
    """Parse `plan.bin`; anything but the bytes `write_plan` makes is a `BundleError`."""
    header, tables = _read_tables(data)
    strings = tables["strings"].tobytes()
    arch = _name_of(ARCH_NUMBER, int(header["target_arch"]), "target_arch")
    state_id, state = _read_state(tables)
    plan = PlanFile(
        target_arch=arch,
        cpu_features=tuple(_name_of(FEATURES[arch], int(number), "feature") for number in tables["features"]),
        kernels=_read_kernels(tables, strings),
        setup=_read_instructions(tables, "setup"),
        steps=_read_instructions(tables, "steps"),
        inputs=tuple(_read_input(record, strings) for record in tables["inputs"]),
        state=state,
        state_id=state_id,
        kernel_id=header["kernel_id"].tobytes(),
        order=_order(int(header["order"])),
        **{field: int(header[field]) for field in _PLAIN_FIELDS},
    )
    if write_plan(plan) != data:
        raise BundleError("plan: expected the canonical bytes of its records, found others (FORMAT.md)")
    return plan


_PLAIN_FIELDS = (
    "window",
    "save_steps",
    "rows",
    "arena_bytes",
    "scratch_bytes",
    "budget_bytes",
    "loss_offset_bytes",
    "weight_offset_bytes",
    "step_offset_bytes",
)


class _Strings:
    """The strings section: each string once, in order of first use."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._places: dict[str, tuple[int, int]] = {}

    def place(self, text: str) -> tuple[int, int]:
        if text not in self._places:
            encoded = text.encode()
            self._places[text] = (len(self.data), len(encoded))
            self.data += encoded
        return self._places[text]


def _tables(plan: PlanFile) -> dict[str, _Table]:
    strings, operands = _Strings(), list[int]()
    kernels: list[tuple[int, ...]] = []
    phases: list[tuple[int, ...]] = []
    arguments: list[int] = []
    for kernel in plan.kernels:
        place = strings.place(kernel.name)
        kernels.append((*place, len(phases), len(kernel.phases), len(arguments), kernel.arg_count))
        phases.extend((*strings.place(phase.symbol), phase.stage, phase.tiles) for phase in kernel.phases)
        arguments.extend(kernel.arg_bytes or (0,) * kernel.arg_count)
    return {
        "features": np.array([FEATURES[plan.target_arch][name] for name in plan.cpu_features], "<u4"),
        "kernels": np.array(kernels, KERNEL),
        "arguments": np.array(arguments, "<u8"),
        "phases": np.array(phases, PHASE),
        "setup": _instruction_table(plan.setup, operands),
        "steps": _instruction_table(plan.steps, operands),
        "operands": np.array(operands, "<u8"),
        "inputs": np.array([_input_record(entry, strings) for entry in plan.inputs], INPUT),
        "state": np.array([_piece_record(p) for tensor in plan.state for p in tensor.pieces], STATE),
        "state_header": np.frombuffer(state_layout(plan.state, plan.state_id).header, "u1"),
        "strings": np.frombuffer(bytes(strings.data), "u1"),
    }


def _piece_record(piece: StatePiece) -> tuple[int, int]:
    place = piece.arena_offset_bytes
    return (NOT_RESIDENT if place is None else place, piece.size_bytes)


def _minor_version(plan: PlanFile, tables: dict[str, _Table]) -> int:
    used = {int(number) for name in ("setup", "steps") for number in tables[name]["op"]}
    minors = [minor for op, minor in MINOR_OF_OP.items() if op in used]
    newer = [MINOR_OF_ORDER if plan.order else 0, MINOR_OF_ROWS if plan.rows else 0]
    return max(newer + minors)


def _instruction_table(instructions: Iterable[Instr], operands: list[int]) -> _Table:
    records: list[tuple[int, ...]] = []
    for instruction in instructions:
        match instruction:
            case Call(kernel, offsets):
                records.append((Op.CALL, kernel, len(operands), 0, 0))
                operands.extend(offsets)
            case Read(file, file_offset, arena_offset, size):
                records.append((Op.READ, file, file_offset, arena_offset, size))
            case Fetch(file, file_offset, arena_offset, size):
                records.append((Op.FETCH, file, file_offset, arena_offset, size))
            case Store(file, file_offset, arena_offset, size):
                records.append((Op.STORE, file, file_offset, arena_offset, size))
            case Wait(transfers):
                records.append((Op.WAIT, 0, transfers, 0, 0))
            case Rows(file, file_offset, row_bytes, row_count, ids_offset, ids_count, arena_offset):
                records.append((Op.ROWS, file, len(operands), arena_offset, row_bytes))
                operands.extend((ids_offset, ids_count, file_offset, row_count))
            case Batch(micro, offsets):
                records.append((Op.BATCH, micro, len(operands), 0, 0))
                operands.extend(offsets)
            case Zero(arena_offset, size):
                records.append((Op.ZERO, 0, 0, arena_offset, size))
            case EndShard():
                records.append((Op.END_SHARD, 0, 0, 0, 0))
            case Suspend(ranges, fetches):
                records.append((Op.SUSPEND, len(ranges), len(operands), 0, len(fetches)))
                operands.extend(value for kept in ranges for value in kept)
                operands.extend(fetches)
    return np.array(records, INSTRUCTION)


def _input_record(entry: BatchInput, strings: _Strings) -> tuple[int, ...]:
    has_ignore, ignore = (0, 0) if entry.ignore is None else (1, entry.ignore)
    return (
        *strings.place(entry.name),
        _DTYPES.index(entry.dtype),
        has_ignore,
        entry.size_bytes,
        entry.bound,
        ignore,
    )


def _read_tables(data: bytes) -> tuple[Any, dict[str, _Table]]:
    if len(data) < HEADER.itemsize:
        raise BundleError(f"plan: expected at least {HEADER.itemsize} bytes, found {len(data)}")
    header = np.frombuffer(data, HEADER, count=1)[0]
    if header["magic"].tobytes() != MAGIC:
        raise BundleError(f"plan: expected the magic {MAGIC!r}, found {header['magic'].tobytes()!r}")
    if header["version_major"] != VERSION_MAJOR:
        found = f"{header['version_major']}.{header['version_minor']}"
        raise BundleError(f"plan: expected version {VERSION_MAJOR}, found {found}; compile the bundle again")
    if header["file_bytes"] != len(data):
        raise BundleError(f"plan: expected {header['file_bytes']} bytes, found {len(data)}")
    tables: dict[str, _Table] = {}
    position = HEADER.itemsize
    for name, dtype in SECTIONS.items():
        position += -position % ALIGNMENT_BYTES
        offset, count = int(header[name]["offset_bytes"]), int(header[name]["count"])
        end = offset + count * dtype.itemsize
        if offset != position or end > len(data):
            raise BundleError(
                f"plan: section {name}: expected to begin at {position} and fit, found [{offset}, {end})"
            )
        tables[name] = np.frombuffer(data, dtype, count=count, offset=offset)
        position = end
    return header, tables


def _read_kernels(tables: dict[str, _Table], strings: bytes) -> tuple[Kernel, ...]:
    kernels: list[Kernel] = []
    for record in tables["kernels"]:
        phases = _slice(tables, "phases", int(record["first_phase"]), int(record["phase_count"]))
        sizes = _slice(tables, "arguments", int(record["first_argument"]), int(record["argument_count"]))
        arg_bytes = tuple(int(size) for size in sizes)
        kernels.append(
            Kernel(
                name=_string(strings, record["name_offset"], record["name_bytes"]),
                arg_count=int(record["argument_count"]),
                phases=tuple(
                    Phase(
                        _string(strings, phase["symbol_offset"], phase["symbol_bytes"]),
                        int(phase["stage"]),
                        int(phase["tiles"]),
                    )
                    for phase in phases
                ),
                arg_bytes=arg_bytes if any(arg_bytes) else (),
            )
        )
    return tuple(kernels)


def _read_instructions(tables: dict[str, _Table], section: str) -> tuple[Instr, ...]:
    return tuple(
        _read_instruction(tables, f"{section}[{n}]", record) for n, record in enumerate(tables[section])
    )


def _read_instruction(tables: dict[str, _Table], where: str, record: Any) -> Instr:
    index, source = int(record["index"]), int(record["source"])
    offset, size = int(record["arena_offset_bytes"]), int(record["size_bytes"])
    match int(record["op"]):
        case Op.CALL:
            if index >= len(tables["kernels"]):
                raise BundleError(
                    f"plan: {where}: expected a kernel below {len(tables['kernels'])}, found {index}"
                )
            count = int(tables["kernels"][index]["argument_count"])
            return Call(index, tuple(int(value) for value in _slice(tables, "operands", source, count)))
        case Op.READ:
            return Read(_file_kind(where, index), source, offset, size)
        case Op.FETCH:
            return Fetch(_file_kind(where, index), source, offset, size)
        case Op.STORE:
            return Store(_file_kind(where, index), source, offset, size)
        case Op.WAIT:
            return Wait(source)
        case Op.ROWS:
            operands = _slice(tables, "operands", source, len(ROWS.names or ()))
            ids_offset, ids_count, file_offset, row_count = (int(value) for value in operands)
            file = _file_kind(where, index)
            return Rows(file, file_offset, size, row_count, ids_offset, ids_count, offset)
        case Op.BATCH:
            operands = _slice(tables, "operands", source, len(tables["inputs"]))
            return Batch(index, tuple(int(value) for value in operands))
        case Op.ZERO:
            return Zero(offset, size)
        case Op.END_SHARD:
            return EndShard()
        case Op.SUSPEND:
            operands = [int(value) for value in _slice(tables, "operands", source, 2 * index + size)]
            ranges = zip(operands[: 2 * index : 2], operands[1 : 2 * index : 2], strict=True)
            return Suspend(tuple(ranges), tuple(operands[2 * index :]))
        case other:
            raise BundleError(f"plan: {where}: expected an instruction 1 to {len(Op)}, found {other}")


def _order(number: int) -> Order:
    if number not in tuple(Order):
        raise BundleError(f"plan: order: expected 0 to {max(Order)}, found {number}")
    return Order(number)


def _file_kind(where: str, number: int) -> FileKind:
    if number not in tuple(FileKind):
        raise BundleError(f"plan: {where}: expected file 0 to {max(FileKind)}, found {number}")
    return FileKind(number)


def _read_input(record: Any, strings: bytes) -> BatchInput:
    dtype = int(record["dtype"])
    if dtype >= len(_DTYPES):
        raise BundleError(f"plan: inputs: expected a dtype below {len(_DTYPES)}, found {dtype}")
    return BatchInput(
        name=_string(strings, record["name_offset"], record["name_bytes"]),
        dtype=_DTYPES[dtype],
        size_bytes=int(record["size_bytes"]),
        bound=int(record["bound"]),
        ignore=int(record["ignore"]) if record["has_ignore"] else None,
    )


def _read_state(tables: dict[str, _Table]) -> tuple[str, tuple[StateTensor, ...]]:
    """The state's identity and tensors. Each tensor takes the records that fill its bytes."""
    try:
        state_id, entries = parse_header(tables["state_header"].tobytes())
    except ValueError as error:
        raise BundleError(
            f"plan: state_header: expected a safetensors header, found bytes that are not: {error}"
        ) from None
    pieces = [_read_piece(record) for record in tables["state"]]
    tensors: list[StateTensor] = []
    used = 0
    for entry in entries:
        count = _pieces_of(entry, pieces[used:])
        tensors.append(_state_tensor(entry, tuple(pieces[used : used + count])))
        used += count
    if used != len(pieces):
        raise BundleError(f"plan: state: expected {used} records as in its header, found {len(pieces)}")
    return state_id, tuple(tensors)


def _read_piece(record: Any) -> StatePiece:
    place = int(record["arena_offset_bytes"])
    return StatePiece(None if place == NOT_RESIDENT else place, int(record["size_bytes"]))


def _pieces_of(entry: Entry, pieces: Sequence[StatePiece]) -> int:
    """How many of the first pieces make up the tensor."""
    wanted = StateTensor(*entry, None).size_bytes
    count = total = 0
    while count < len(pieces) and (total < wanted or count == 0):
        total += pieces[count].size_bytes
        count += 1
    if total != wanted or count == 0:
        raise BundleError(f"plan: state: expected records of {wanted} bytes for {entry[0]!r}, found {total}")
    return count


def _state_tensor(entry: Entry, pieces: tuple[StatePiece, ...]) -> StateTensor:
    return (
        StateTensor(*entry, pieces[0].arena_offset_bytes)
        if len(pieces) == 1
        else StateTensor(*entry, None, pieces)
    )


def _slice(tables: dict[str, _Table], name: str, first: int, count: int) -> Sequence[Any]:
    if first + count > len(tables[name]):
        raise BundleError(
            f"plan: {name}: expected at most {len(tables[name])} records, found [{first}, {first + count})"
        )
    return tables[name][first : first + count]  # pyright: ignore[reportReturnType]


def _string(strings: bytes, offset: int, size: int) -> str:
    try:
        return strings[int(offset) : int(offset) + int(size)].decode()
    except UnicodeDecodeError:
        raise BundleError(f"plan: strings: expected UTF-8 at {offset}, found other bytes") from None


def _name_of(numbers: dict[str, int], number: int, what: str) -> str:
    for name, candidate in numbers.items():
        if candidate == number:
            return name
    raise BundleError(f"plan: {what}: expected a number of {numbers}, found {number}")
