"""plan.bin: what is written reads back equal, the committed header and FORMAT.md agree with the records."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daypack.errors import BundleError
from daypack.runtime import c_header
from daypack.runtime.data_file import HEADER as DATA_HEADER
from daypack.runtime.plan_file import (
    DTYPE_BYTES,
    Batch,
    BatchInput,
    Call,
    EndShard,
    Fetch,
    FileKind,
    Kernel,
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
from daypack.runtime.plan_format import read_plan, write_plan
from daypack.runtime.plan_records import SECTIONS, STRUCTS, VERSION_MAJOR, VERSION_MINOR
from daypack.runtime.state_file import state_layout

FORMAT = Path(c_header.__file__).parent / "FORMAT.md"

SMALL = PlanFile(
    target_arch="aarch64",
    cpu_features=("dotprod", "neon"),
    arena_bytes=1 << 40,
    scratch_bytes=100,
    budget_bytes=0,
    window=1,
    save_steps=7,
    kernels=(Kernel("k", 1, (Phase("f", 2, 3), Phase("g", 0, 1)), (8,)), Kernel("nothing", 0, ())),
    setup=(Zero(64, 0), Call(1, ())),
    steps=(Batch(0, (128, 0)), Read(FileKind.WEIGHTS, 5, 192, 1 << 33), Call(0, (1 << 39,)), EndShard()),
    inputs=(BatchInput("ids", "I32", 12, bound=9, ignore=-100), BatchInput("image", "F16", 6)),
    state=(StateTensor("w", "BF16", (3, 5), 256), StateTensor("\u00e9 \"'", "U32", (), 0)),
    loss_offset_bytes=4,
    weight_offset_bytes=8,
    step_offset_bytes=0,
    kernel_id=bytes(range(32)),
)

ROWS = Rows(FileKind.WEIGHTS, 7, 12, 1 << 40, 128, 5, 192)

FETCH, KEEP = Fetch(FileKind.WEIGHTS, 0, 0, 1), Suspend(((0, 64),), (0,))

PIECES = (StatePiece(256, 10), StatePiece(None, 14), StatePiece(512, 6))
DATA = len(state_layout(SMALL.state).header)
STORE = Store(FileKind.NEXT, DATA + 10, 64, 14)
PAGED = replace(
    SMALL,
    save_steps=1,
    state=(replace(SMALL.state[0], arena_offset_bytes=None, parts=PIECES), SMALL.state[1]),
    steps=(
        Fetch(FileKind.WEIGHTS, 7, 192, 1 << 33),
        Fetch(FileKind.STATE, DATA + 30, 0, 4),
        Wait(1),
        STORE,
        Store(FileKind.SWAP, 1 << 40, 64, 3),
        Fetch(FileKind.NEXT, DATA + 10, 64, 14),
        Fetch(FileKind.SWAP, 12, 64, 9),
        Wait(6),
    ),
)


EVALUATION = replace(
    PAGED, window=1, rows=3, steps=(Fetch(FileKind.STATE, DATA + 30, 0, 4), Wait(1)), loss_offset_bytes=64
)


def test_a_plan_reads_back_equal(example: Any) -> None:
    with_rows = replace(SMALL, steps=(SMALL.steps[0], ROWS, *SMALL.steps[1:], ROWS))
    for plan in (
        SMALL,
        PAGED,
        replace(SMALL, state_id="0123456789abcdef" * 4),
        with_rows,
        EVALUATION,
        example.example_plan(),
        replace(SMALL, inputs=(), steps=(), kernels=(), setup=()),
    ):
        data = write_plan(plan)
        assert read_plan(data) == plan
        assert write_plan(read_plan(data)) == data


def test_a_plan_has_the_least_minor_version_that_knows_its_instructions() -> None:
    lists = ((), (EndShard(),), (ROWS,), (ROWS, FETCH), (FETCH, Wait(1)), (FETCH, KEEP))
    plans = [*(replace(SMALL, steps=steps) for steps in lists), EVALUATION]
    versions = [write_plan(plan)[8:16] for plan in plans]
    assert versions == [bytes([1, 0, 0, 0, minor, 0, 0, 0]) for minor in (0, 0, 1, 2, 2, 4, 3)]
    assert f"now up to {VERSION_MAJOR}.{VERSION_MINOR}." in FORMAT.read_text()


def test_the_committed_c_header_is_the_generated_one() -> None:
    assert c_header.PATH.read_text() == c_header.c_header(), "run `python -m daypack.runtime.c_header`"
    assert c_header.POLICY_PATH.read_text() == c_header.policy_header(), "run the same"


def test_format_text_has_the_tables_of_the_code() -> None:
    text = FORMAT.read_text()
    expected = {f"### {name}: {dtype.itemsize} bytes": dtype for name, dtype in STRUCTS.items()}
    for title, dtype in {**expected, "## data.bin": DATA_HEADER}.items():
        section = text.split(title + "\n")[1].split("\n#")[0]
        rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
        fields = [
            (offset, entry.itemsize, name) for name, (entry, offset, *_) in (dtype.fields or {}).items()
        ]
        assert [(int(offset), int(size), name) for offset, size, name in rows] == fields, title
    assert f"Dtypes, from 0: {', '.join(DTYPE_BYTES)} (" in text.replace("\n", " ")
    assert len(SECTIONS) == 11 and "then eleven sections" in text


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "arch": ({"target_arch": "riscv"}, "target_arch: expected one of x86_64, aarch64, found 'riscv'"),
    "feature": (
        {"cpu_features": ("avx2",)},
        r"cpu_features: expected features the engine can check on aarch64 \(.*\), found 'avx2'",
    ),
    "kernel id": ({"kernel_id": b"x"}, "kernel_id: expected 32 bytes, found 1"),
    "arena": ({"arena_bytes": 0}, r"arena_bytes: expected 64 to \d+, found 0"),
    "scratch": ({"scratch_bytes": -1}, r"scratch_bytes: expected 0 to \d+, found -1"),
    "budget": ({"budget_bytes": 1 << 63}, "budget_bytes: expected 0 to"),
    "over budget": (
        {"budget_bytes": 1 << 30},
        f"arena_bytes: expected at most the budget of {1 << 30}, found {1 << 40}",
    ),
    "window": ({"window": 0}, "window: expected 1 to 2147483647, found 0"),
    "save_steps": ({"save_steps": 1 << 31}, "save_steps: expected 1 to 2147483647, found 2147483648"),
    "loss place": (
        {"loss_offset_bytes": 2},
        "loss_offset_bytes arena offset: expected a multiple of 4, found 2",
    ),
    "step place": (
        {"step_offset_bytes": 1 << 40},
        rf"step_offset_bytes arena bytes: expected within \[0, {1 << 40}\), found \[{1 << 40}, ",
    ),
    "rows of a batch": ({"rows": -1}, "rows: expected 0 to 2147483647, found -1"),
    "window of an evaluation": (
        {"rows": 1, "window": 2, "save_steps": 1},
        "window and save_steps: expected 1 and 1 in an evaluation, found 2 and 1",
    ),
    "results of an evaluation": (
        {"rows": 17, "window": 1, "save_steps": 1, "loss_offset_bytes": (1 << 40) - 64},
        "loss_offset_bytes arena bytes: expected within",
    ),
    "store in an evaluation": (
        {"rows": 1, "window": 1, "save_steps": 1, "steps": (Store(FileKind.SWAP, 0, 0, 1),)},
        r"steps\[0\]: expected no Store in an evaluation, found Store",
    ),
    "arg_count": (
        {"kernels": (Kernel("k", -1, ()),)},
        r"kernel 'k' arg_count: expected 0 to 2147483647, found -1",
    ),
    "arg_bytes": (
        {"kernels": (Kernel("k", 2, (), (1,)),)},
        "kernel 'k' arg_bytes: expected 2 sizes, found 1",
    ),
    "arg size": ({"kernels": (Kernel("k", 1, (), (-1,)),)}, "kernel 'k' arg_bytes: expected 0 to"),
    "tiles": (
        {"kernels": (Kernel("k", 1, (Phase("f", 0, -1),)),)},
        "kernel 'k' phase f tiles: expected 0 to",
    ),
    "stage": (
        {"kernels": (Kernel("k", 1, (Phase("f", -1, 1),)),)},
        "kernel 'k' phase f stage: expected 0 to",
    ),
    "kernel index": ({"steps": (Call(2, ()),)}, r"steps\[0\] kernel: expected 0 to 1, found 2"),
    "operands": ({"steps": (Call(0, (0, 64)),)}, r"steps\[0\] operands of 'k': expected 1, found 2"),
    "operand": (
        {"steps": (EndShard(), Call(0, (63,)))},
        r"steps\[1\] operand 0 of 'k' arena offset: expected a multiple of 64, found 63",
    ),
    "operand size": (
        {"steps": (Call(0, ((1 << 40) - 64,)),), "kernels": (Kernel("k", 1, (), (65,)),), "setup": ()},
        r"steps\[0\] operand 0 of 'k' arena bytes: expected within",
    ),
    "state in steps": (
        {"steps": (Read(FileKind.STATE, 0, 0, 1),)},
        r"steps\[0\] file: expected WEIGHTS \(the state is read in setup only\), found STATE",
    ),
    "state range": (
        {"setup": (Read(FileKind.STATE, 0, 0, 1 << 20),)},
        r"setup\[0\] file bytes: expected within \[0, \d+\), found \[0, 1048576\)",
    ),
    "read place": (
        {"setup": (Read(FileKind.WEIGHTS, 0, -64, 1),)},
        r"setup\[0\] arena bytes: expected within",
    ),
    "read offset": ({"setup": (Read(FileKind.WEIGHTS, -1, 0, 1),)}, r"setup\[0\] file offset: expected 0 to"),
    "rows in setup": ({"setup": (ROWS,)}, r"setup\[0\]: expected no Rows in setup, found Rows"),
    "rows of the state": (
        {"steps": (replace(ROWS, file=FileKind.STATE),)},
        r"steps\[0\] file: expected WEIGHTS \(only they have rows\), found STATE",
    ),
    "empty rows": (
        {"steps": (replace(ROWS, row_bytes=0),)},
        r"steps\[0\] row_bytes: expected 1 to \d+, found 0",
    ),
    "odd rows": (
        {"steps": (replace(ROWS, row_bytes=6),)},
        r"steps\[0\] row_bytes: expected a multiple of 4, found 6",
    ),
    "no rows": (
        {"steps": (replace(ROWS, row_count=0),)},
        r"steps\[0\] row_count: expected 1 to \d+, found 0",
    ),
    "no ids": ({"steps": (replace(ROWS, ids_count=0),)}, r"steps\[0\] ids_count: expected 1 to \d+, found 0"),
    "rows offset": (
        {"steps": (replace(ROWS, file_offset_bytes=-1),)},
        r"steps\[0\] file offset: expected 0 to \d+, found -1",
    ),
    "huge matrix": (
        {"steps": (replace(ROWS, row_count=1 << 61),)},
        rf"steps\[0\] end of the matrix in the file: expected 0 to \d+, found {12 * 2**61 + 7}",
    ),
    "ids place": (
        {"steps": (replace(ROWS, ids_offset_bytes=(1 << 40) - 64, ids_count=17),)},
        r"steps\[0\] ids arena bytes: expected within",
    ),
    "ids alignment": (
        {"steps": (replace(ROWS, ids_offset_bytes=4),)},
        r"steps\[0\] ids arena offset: expected a multiple of 64, found 4",
    ),
    "rows place": (
        {"steps": (replace(ROWS, arena_offset_bytes=(1 << 40) - 64, ids_count=6),)},
        r"steps\[0\] arena bytes: expected within",
    ),
    "rows before their ids end": (
        {"steps": (replace(ROWS, ids_count=17),)},
        r"steps\[0\]: expected rows outside the ids in \[128, 196\), found \[192, 396\)",
    ),
    "rows end after their ids begin": (
        {"steps": (replace(ROWS, arena_offset_bytes=64, ids_count=6),)},
        r"steps\[0\]: expected rows outside the ids in \[128, 152\), found \[64, 136\)",
    ),
    "batch in setup": (
        {"setup": (Batch(0, (0, 0)),)},
        r"setup\[0\]: expected no Batch in setup, found Batch",
    ),
    "micro": ({"steps": (Batch(1, (0, 0)),)}, r"steps\[0\] micro: expected 0 to 0, found 1"),
    "offsets": ({"steps": (Batch(0, (0,)),)}, r"steps\[0\] offsets: expected 2, one an input, found 1"),
    "input place": (
        {"steps": (Batch(0, (0, 1 << 40)),)},
        r"steps\[0\] input 'image' arena bytes: expected within",
    ),
    "zero": ({"setup": (Zero(1, 1),)}, r"setup\[0\] arena offset: expected a multiple of 64, found 1"),
    "input names": (
        {"inputs": (BatchInput("a", "F32", 4),) * 2, "steps": ()},
        "input names: expected distinct and not empty, found 'a'",
    ),
    "input dtype": (
        {"inputs": (BatchInput("a", "int32", 4),), "steps": ()},
        "input 'a' dtype: expected one of BOOL, .*, found 'int32'",
    ),
    "input size": (
        {"inputs": (BatchInput("a", "F32", 5),), "steps": ()},
        "input 'a' size_bytes: expected a multiple of 4, found 5",
    ),
    "input bound": (
        {"inputs": (BatchInput("a", "F32", 4, bound=3),), "steps": ()},
        "input 'a' bound: expected 0 unless the dtype is I32, found 3 with F32",
    ),
    "input ignore": (
        {"inputs": (BatchInput("a", "I32", 4, bound=3, ignore=1 << 31),), "steps": ()},
        "input 'a' ignore: expected -2147483648 to 2147483647, found 2147483648",
    ),
    "fetch in setup": (
        {"setup": (Fetch(FileKind.WEIGHTS, 0, 0, 1),)},
        r"setup\[0\]: expected no Fetch in setup, found Fetch",
    ),
    "store in the weights": (
        {"steps": (Store(FileKind.WEIGHTS, 0, 0, 1),)},
        r"steps\[0\] file: expected NEXT or SWAP, found WEIGHTS",
    ),
    "wait for what has not begun": (
        {"steps": (Wait(1), Fetch(FileKind.WEIGHTS, 0, 0, 1))},
        r"steps\[0\] transfers: expected 1 to 0, found 1",
    ),
    "state that is saved seldom": (
        {"steps": (Fetch(FileKind.STATE, DATA, 0, 1),), "save_steps": 2},
        "save_steps: expected 1 where a step reads or writes the state's file, found 2",
    ),
    "store over the header": (
        {"steps": (Store(FileKind.NEXT, DATA - 1, 0, 1),), "save_steps": 1},
        rf"steps\[0\] file bytes: expected within \[{DATA}, {DATA + 34}\), found \[{DATA - 1}, {DATA}\)",
    ),
    "fetch beyond the swap": (
        {"steps": (Store(FileKind.SWAP, 0, 0, 8), Fetch(FileKind.SWAP, 4, 0, 5))},
        r"steps\[1\] file bytes: expected within \[0, 8\), found \[4, 9\)",
    ),
    "fetch place": (
        {"steps": (Fetch(FileKind.WEIGHTS, 0, 32, 1),)},
        r"steps\[0\] arena offset: expected a multiple of 64, found 32",
    ),
    "suspend in setup": ({"setup": (KEEP,)}, r"setup\[0\]: expected no Suspend in setup, found Suspend"),
    "suspend in an evaluation": (
        {"steps": (FETCH, KEEP), "rows": 1, "save_steps": 1},
        r"steps\[1\]: expected no Suspend in an evaluation, found Suspend",
    ),
    "suspend behind a store": (
        {**{name: getattr(PAGED, name) for name in ("steps", "state", "save_steps")}, "steps": (STORE, KEEP)},
        r"steps\[1\]: expected a Suspend before the first store into NEXT, found one after it",
    ),
    "nothing kept": ({"steps": (Suspend(()),)}, r"steps\[0\] ranges: expected one or more, found none"),
    "kept nowhere": ({"steps": (Suspend(((0, 0),)),)}, r"steps\[0\] range size: expected 1 to"),
    "kept place": ({"steps": (Suspend(((1 << 40, 64),)),)}, r"steps\[0\] range arena bytes: expected within"),
    "kept twice": (
        {"steps": (Suspend(((64, 80), (128, 64))),)},
        r"steps\[0\] ranges: expected one that begins at 144 or later, found 128",
    ),
    "fetched twice": (
        {"steps": (FETCH, replace(KEEP, fetches=(0, 0)))},
        r"steps\[1\] fetches: expected each once, ascending, found \(0, 0\)",
    ),
    "fetched later": (
        {"steps": (KEEP, FETCH)},
        r"steps\[0\] fetches: expected an earlier Fetch of WEIGHTS or STATE, found 0",
    ),
    "state id": ({"state_id": "x"}, "state_id: expected nothing or 64 hexadecimal digits, found 'x'"),
    "one part": (
        {"state": (StateTensor("a", "F32", (1,), None, (StatePiece(0, 4),)),)},
        "state 'a' parts: expected none, or two and more and no place of the whole, found 1",
    ),
    "parts that do not fill": (
        {"state": (StateTensor("a", "F32", (3,), None, (StatePiece(0, 4),) * 2),)},
        "state 'a' parts: expected 12 bytes, found 8",
    ),
    "nothing stored": (
        {"state": (StateTensor("a", "F32", (3,), None),), "save_steps": 1},
        r"state 'a': expected a store of each piece that is not in memory, found none of \[\d+, \d+\)",
    ),
    "state names": (
        {"state": (StateTensor("", "F32", (1,), 0),)},
        "state tensor names: expected distinct and not empty, found ''",
    ),
    "metadata": (
        {"state": (StateTensor("__metadata__", "F32", (1,), 0),)},
        "state tensor names: expected another than safetensors' own __metadata__, found '__metadata__'",
    ),
    "state dtype": (
        {"state": (StateTensor("a", "float32", (1,), 0),)},
        "state 'a' dtype: expected one of BOOL, .*, found 'float32'",
    ),
    "empty state": (
        {"state": (StateTensor("a", "F32", (0, 3), 0),)},
        r"state 'a' size_bytes: expected 1 to \d+, found 0",
    ),
    "state place": (
        {"state": (StateTensor("a", "F32", (1 << 40,), 0),)},
        "state 'a' arena bytes: expected within",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_writer_refuses(name: str) -> None:
    changes, message = REFUSED[name]
    with pytest.raises(BundleError, match=f"^plan: {message}"):
        write_plan(replace(SMALL, **changes))


def patched(offset: int, data: bytes) -> bytes:
    plan = write_plan(SMALL)
    return plan[:offset] + data + plan[offset + len(data) :]


def section(name: str) -> int:
    place = 120 + 16 * list(SECTIONS).index(name)
    return int.from_bytes(write_plan(SMALL)[place : place + 8], "little")


CORRUPT: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "expected at least 304 bytes, found 0"),
    "magic": (lambda: patched(0, b"X"), "expected the magic b'DPPLAN1"),
    "version": (lambda: patched(8, b"\2"), "expected version 1, found 2.0; compile the bundle again"),
    "size": (lambda: patched(16, b"\0\0"), r"expected \d+ bytes, found \d+"),
    "section": (lambda: patched(136, b"\1"), r"section kernels: expected to begin at \d+ and fit"),
    "arch": (lambda: patched(24, b"\7"), "target_arch: expected a number of .*, found 7"),
    "feature": (lambda: patched(section("features"), b"\1\0"), "feature: expected a number of .*, found 1"),
    "phases": (
        lambda: patched(section("kernels") + 8, b"\5"),
        r"phases: expected at most 2 records, found \[5, 7\)",
    ),
    "kernel": (
        lambda: patched(section("setup") + 36, b"\5"),
        r"setup\[1\]: expected a kernel below 2, found 5",
    ),
    "file": (lambda: patched(section("steps") + 36, b"\5"), r"steps\[1\]: expected file 0 to 3, found 5"),
    "rows operands": (
        lambda: patched(section("steps") + 32, b"\6"),
        r"operands: expected at most 3 records, found \[5, 9\)",
    ),
    "op": (
        lambda: patched(section("steps"), b"\x0b"),
        r"steps\[0\]: expected an instruction 1 to 10, found 11",
    ),
    "dtype": (lambda: patched(section("inputs") + 8, b"\x0d"), "inputs: expected a dtype below 13, found 13"),
    "state header": (
        lambda: patched(section("state_header") + 8, b"["),
        "state_header: expected a safetensors header, found bytes that are not",
    ),
    "strings": (
        lambda: patched(section("strings"), b"\xff"),
        "strings: expected UTF-8 at 0, found other bytes",
    ),
    "padding": (lambda: patched(300, b"\1"), "expected the canonical bytes of its records, found others"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_the_reader_refuses(name: str) -> None:
    make, message = CORRUPT[name]
    with pytest.raises(BundleError, match=f"^plan: {message}"):
        read_plan(make())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "not an object"),
        (b'{"a":1}', "entry 'a' lacks dtype or shape"),
        (b'{"a":{"dtype":"X","shape":[]}}', "entry 'a' has dtype X, shape"),
        (b'{"a":{"dtype":"U8","shape":[-1]}}', "entry 'a' has dtype U8, shape"),
        (b'{"a":{"dtype":"U8","shape":["x"]}}', "invalid literal"),
        (b"\xff", "codec can't decode"),
    ],
)
def test_state_headers_that_are_not(text: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=f"state_header: .*{message}"):
        read_plan(with_state_header(text))


def test_state_records_and_header_must_have_the_same_number() -> None:
    with pytest.raises(BundleError, match="state: expected 1 records as in its header, found 2"):
        read_plan(with_state_header(b'{"a":{"dtype":"BF16","shape":[15]}}'))


def test_state_records_must_fill_their_tensor() -> None:
    with pytest.raises(BundleError, match="state: expected records of 31 bytes for 'a', found 34"):
        read_plan(with_state_header(b'{"a":{"dtype":"U8","shape":[31]}}'))


def with_state_header(text: bytes) -> bytes:
    place = 120 + 16 * list(SECTIONS).index("state_header") + 8
    size = int.from_bytes(write_plan(SMALL)[place : place + 8], "little") - 8
    return patched(section("state_header") + 8, text.ljust(size))
