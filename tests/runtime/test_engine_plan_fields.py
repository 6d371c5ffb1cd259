"""Hostile values in every integer of plan.bin: the engine refuses or runs normally, and never crashes.

The engine under test is built with the undefined-behaviour sanitizer in trap mode, so an overflow or a
misaligned access would be a signal. MANIFEST is rewritten each time: the hashes do not protect the engine
here.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from daypack.errors import BundleError
from daypack.runtime.build import NATIVE
from daypack.runtime.bundle import write_manifest
from daypack.runtime.plan_file import Call, FileKind, PlanFile, Store, Suspend
from daypack.runtime.plan_format import read_plan, write_plan
from daypack.runtime.plan_records import HEADER, INSTRUCTION, ROWS, SECTIONS, Op

#: Values that leave a runnable plan, perhaps one that does something else; then the exit statuses it may
#: have. A scalar's place may be moved inside the arena (6: what lies there is no loss, 2: it overwrites ids).
HARMLESS = {
    "header.window": {0, 2},
    "header.save_steps": {0},
    "header.order": {0},
    "header.budget_bytes": {0},
    "header.arena_bytes": {0},
    "header.version_minor": {0},
    "header.loss_offset_bytes": {0, 6},
    "header.weight_offset_bytes": {0},
    "header.target_arch": {5},
    "features": {0, 5},
    "operands": {0, 2, 6},
    "rows.ids_offset_bytes": {0},
    "rows.ids_count": {0},
    "rows.file_offset_bytes": {0},
    "rows.row_count": {0},
    "inputs.bound": {0, 2},
    "inputs.ignore": {0, 2},
    "inputs.has_ignore": {0, 2},
    "inputs.dtype": {0},
    "kernels.name_offset": {0},
    "kernels.name_bytes": {0},
    "phases.symbol_offset": {0},
    "phases.symbol_bytes": {0},
    "inputs.name_offset": {0},
    "inputs.name_bytes": {0},
    "setup.source": {0, 6},
    "setup.arena_offset_bytes": {0, 6},
    "setup.size_bytes": {0},
    "setup.index": {0},
    "setup.op": {0},
    "steps.op": {0, 6},
    "steps.source": {0, 6},
    "steps.arena_offset_bytes": {0, 2, 6},
    "steps.size_bytes": {0, 6},
    "steps.index": {0, 6},
    "state.arena_offset_bytes": {0, 6},
    "strings": {0},
}


def fields(plan: bytes) -> Iterator[tuple[str, int, np.dtype[Any]]]:
    """(name, offset, integer dtype) of every integer of the file; of bytes and plain lists, the first few."""
    header = np.frombuffer(plan, HEADER, count=1)[0]
    yield from record_fields("header", 0, HEADER)
    for name, dtype in SECTIONS.items():
        offset, count = int(header[name]["offset_bytes"]), int(header[name]["count"])
        for index in range(count if dtype.fields else min(count, 6)):
            yield from record_fields(name, offset + index * dtype.itemsize, dtype)
    yield from record_fields("rows", rows_offset(plan), ROWS)


def rows_offset(plan: bytes) -> int:
    """Where the operands of the plan's rows instruction are."""
    header = np.frombuffer(plan, HEADER, count=1)[0]
    steps = np.frombuffer(
        plan, INSTRUCTION, int(header["steps"]["count"]), int(header["steps"]["offset_bytes"])
    )
    (source,) = steps["source"][steps["op"] == Op.ROWS]
    return int(header["operands"]["offset_bytes"]) + 8 * int(source)


def record_fields(name: str, offset: int, dtype: np.dtype[Any]) -> Iterator[tuple[str, int, np.dtype[Any]]]:
    if dtype.fields is None:
        base, shape = dtype.subdtype or (dtype, (1,))
        yield from ((name, offset + index * base.itemsize, base) for index in range(min(shape[0], 4)))
        return
    for field, (element, place, *_) in dtype.fields.items():
        yield from record_fields(f"{name}.{field}", offset + place, element)


def hostile_values(found: int, dtype: np.dtype[Any]) -> set[int]:
    bits = 8 * dtype.itemsize
    values = {0, found + 1, found - 1, found ^ 64, 1 << (bits - 1), (1 << bits) - 1, (1 << bits) - 64}
    return {value % (1 << bits) for value in values} - {found % (1 << bits)}


@pytest.fixture
def hostile(make_case: Callable[..., Any], example: Any) -> Any:
    """A plan with every kind of record and instruction."""
    feature = {"x86_64": "sse2", "aarch64": "neon"}[example.HOST]
    rows = example.rows_instruction(ids="ids", into="x")
    paged = example.paged_plan()
    return make_case(
        variant="trapping", cpu_features=(feature,), **{**paged, "steps": (rows, *paged["steps"])}
    )


def run_with(case: Any, plan: bytes) -> Any:
    (case.bundle / "plan.bin").write_bytes(plan)
    write_manifest(case.bundle)
    run = case.run("--steps", "1", "--threads", "2", "--fresh")
    assert run.status in (0, 2, 4, 5, 6), (run, "died by a signal")
    return run


def test_every_integer_with_hostile_values(hostile: Any, example: Any) -> None:
    original = (hostile.bundle / "plan.bin").read_bytes()
    seen: set[str] = set()
    surprises: list[tuple[str, int, dict[str, Any]]] = []
    for name, offset, dtype in fields(original):
        found = int(np.frombuffer(original, dtype, count=1, offset=offset)[0])
        for value in sorted(hostile_values(found, dtype)):
            plan = bytearray(original)
            plan[offset : offset + dtype.itemsize] = value.to_bytes(dtype.itemsize, "little")
            run = run_with(hostile, bytes(plan))
            where = f"{name} at {offset}: {found} -> {value}"
            if run.status not in HARMLESS.get(name, set()) | {4}:
                surprises.append((where, run.status, run.events[-1]))
            if run.status == 4:
                seen.add(run.message)
            check_reader(bytes(plan), where)
    for plan in crafted_plans(hostile.plan, example):
        run = run_with(hostile, plan)
        assert run.status == 4, run
        seen.add(run.message)
    (hostile.bundle / "plan.bin").write_bytes(original)
    seen |= refused_evaluations(hostile, example)
    assert surprises == []
    assert missing_checks(seen) == set()


def crafted_plans(plan: PlanFile, example: Any) -> Iterator[bytes]:
    """What takes more than one wrong integer."""
    yield write_plan(replace(plan, kernels=plan.kernels[:-1]))

    # Rows in setup, where no ids are known.
    data = bytearray(write_plan(plan))
    (setup,) = struct.unpack_from("<Q", data, header_offset("setup"))
    data[setup : setup + 4] = struct.pack("<I", Op.ROWS)
    yield bytes(data)

    # A fetch and a wait in setup.
    for op in (Op.FETCH, Op.WAIT):
        data = bytearray(write_plan(plan))
        data[setup : setup + 4] = struct.pack("<I", op)
        yield bytes(data)

    yield from crafted_suspends(plan, example)

    # The result begins inside the ids, and ends inside them.
    place = rows_offset(write_plan(plan))
    for ids in (example.ARENA["x"] + 64, example.ARENA["x"] - 64):
        data = bytearray(write_plan(plan))
        data[place : place + 8] = struct.pack("<Q", ids)
        yield bytes(data)

    # The last operand is zero and its section ends in padding: one operand less leaves a well-formed file.
    last = example.call(1, "a", "x", "y")
    count = sum(len(item.operands) for item in plan.steps if isinstance(item, Call)) + 2 * len(plan.inputs)
    count += len(ROWS.names or ())
    more = next(more for more in range(1, 9) if (count + 3 * more) % 8 in (2, 3))
    data = bytearray(write_plan(replace(plan, steps=(*plan.steps, *[last] * more))))
    place = header_offset("operands") + 8
    data[place : place + 8] = struct.pack("<Q", count + 3 * more - 1)
    yield bytes(data)

    # Two state tensors of 2^63 bytes each, in an arena that has room for either.
    data = bytearray(write_plan(replace(plan, budget_bytes=0)))
    place = header_offset("arena_bytes")
    data[place : place + 8] = struct.pack("<Q", (1 << 64) - 64)
    (state,) = struct.unpack_from("<Q", data, header_offset("state"))
    for index in range(2):
        data[state + 16 * index + 8 : state + 16 * index + 16] = struct.pack("<Q", 1 << 63)
    yield bytes(data)


def crafted_suspends(plan: PlanFile, example: Any) -> Iterator[bytes]:
    """In setup; behind a store of the next generation; other ranges; fetches that are none."""
    paged = replace(plan, **example.paged_plan())
    steps = (*paged.steps[:4], Suspend(((0, 64),), (3,)), *paged.steps[4:])
    for table, at, place, value in (
        ("setup", 0, 0, Op.SUSPEND),
        ("steps", len(steps) - 1, 0, Op.SUSPEND),
        ("steps", 4, 24, 9),
        ("operands", 0, 0, 1),
        ("operands", 2, 0, 1),
    ):
        data = bytearray(write_plan(replace(paged, steps=steps)))
        (start,) = struct.unpack_from("<Q", data, header_offset(table))
        start += place + at * (8 if table == "operands" else INSTRUCTION.itemsize)
        data[start : start + 4] = struct.pack("<I", value)
        if table == "steps" and place == 0:  # one range
            data[start + 4 : start + 8] = struct.pack("<I", 1)
        yield bytes(data)


def refused_evaluations(case: Any, example: Any) -> set[str]:
    """What only an evaluation can have wrong; the file it says so of is its own."""
    store = Store(FileKind.SWAP, 0, 0, 64)
    training = replace(example.evaluation_plan(case.plan), rows=0, steps=(store,), state=example.STATE)
    stores = bytearray(write_plan(training))
    stores[header_offset("rows")] = 1
    wide = bytearray(write_plan(example.evaluation_plan(case.plan)))
    wide[header_offset("window")] = 2
    none = bytearray(write_plan(example.evaluation_plan(case.plan)))
    none[header_offset("rows")] = 0
    messages: set[str] = set()
    for plan in (bytes(stores), bytes(wide), bytes(none)):
        case.set_file("eval.bin", plan)
        run = case.run("--evaluate")
        assert (run.status, run.message[:9]) == (4, "eval.bin:"), run
        messages.add(run.message)
    return messages


def header_offset(field: str) -> int:
    assert HEADER.fields is not None
    return HEADER.fields[field][1]


def check_reader(plan: bytes, where: str) -> None:
    """The Python reader refuses with a BundleError or reads a plan that writes the same bytes."""
    try:
        read = read_plan(plan)
    except BundleError:
        return
    assert write_plan(read) == plan, where


def missing_checks(seen: set[str]) -> set[tuple[str, str]]:
    """The (field, expected) pairs of checks.c that no message had."""
    source = (NATIVE / "src" / "checks.c").read_text()
    pairs: set[tuple[str, str]] = set()
    for line in re.findall(r"EXPECT\(((?:[^;]|\n)*?)\);", source):
        texts = re.findall(r'"([^"]*)"', line)
        if len(texts) >= 2 or "at," in line:
            pairs.add((texts[-2] if len(texts) >= 2 else "record", texts[-1]))
    assert len(pairs) > 40
    patterns = {pair: f".{pair[0]}: expected {pair[1]}, found " for pair in pairs}
    return {pair for pair, text in patterns.items() if not any(text in message for message in seen)}


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(hostile: Any, seed: int) -> None:
    original = (hostile.bundle / "plan.bin").read_bytes()
    rng = random.Random(seed)
    for _ in range(100):
        plan = bytearray(original)
        offset = rng.randrange(len(plan))
        plan[offset] ^= rng.randrange(1, 256)
        run_with(hostile, bytes(plan))
        check_reader(bytes(plan), f"byte {offset}")


def test_every_truncation_is_refused(hostile: Any) -> None:
    original = (hostile.bundle / "plan.bin").read_bytes()
    for size in {*range(0, len(original), 97), 303, 304, 305, len(original) - 1}:
        for plan in (original[:size], patched_size(original[:size])):
            assert run_with(hostile, plan).status == 4
            with pytest.raises(BundleError):
                read_plan(plan)


def patched_size(plan: bytes) -> bytes:
    """The header agrees with the truncated size."""
    return plan[:16] + struct.pack("<Q", len(plan)) + plan[24:] if len(plan) >= 24 else plan
