"""The records of `plan.bin`, declared once: numpy dtypes here, C structs by `c_header`.

All integers are little-endian. The file is the header, then one section a table in the order of `SECTIONS`,
each at the next multiple of 64 bytes, padded with zeros. Nothing else is in the file, so every offset in it
has exactly one legal value. FORMAT.md is the normative text.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

MAGIC = b"DPPLAN1\0"
VERSION_MAJOR = 1

#: Most threads an engine starts; also the bound of its fixed tables.
MAX_THREADS = 64
#: Most plans of one bundle: orders by budgets.
MAX_PLANS = 16


class Op(IntEnum):
    """What an instruction does."""

    CALL = 1
    READ = 2
    BATCH = 3
    ZERO = 4
    END_SHARD = 5
    ROWS = 6
    FETCH = 7
    STORE = 8
    WAIT = 9
    SUSPEND = 10


#: The minor version that gave an instruction its number; those of 1.0 are not listed. A plan has the least
#: minor version that knows all it holds, so plans that older engines can run stay readable to them.
MINOR_OF_OP: dict[Op, int] = {Op.ROWS: 1, Op.FETCH: 2, Op.STORE: 2, Op.WAIT: 2, Op.SUSPEND: 4}
#: The same of a plan whose order is not the first, a field that was reserved before, and of an evaluation.
MINOR_OF_ORDER = 3
MINOR_OF_ROWS = 3
VERSION_MINOR = max(MINOR_OF_ORDER, MINOR_OF_ROWS, *MINOR_OF_OP.values())


SECTION = np.dtype([("offset_bytes", "<u8"), ("count", "<u8")])

KERNEL = np.dtype(
    [
        ("name_offset", "<u4"),
        ("name_bytes", "<u4"),
        ("first_phase", "<u4"),
        ("phase_count", "<u4"),
        ("first_argument", "<u4"),
        ("argument_count", "<u4"),
    ]
)

PHASE = np.dtype([("symbol_offset", "<u4"), ("symbol_bytes", "<u4"), ("stage", "<i4"), ("tiles", "<i4")])

#: `index` is the kernel, the file, the micro-batch or the number of ranges; `source` the first operand, the
#: file offset in bytes or the number of transfers; `size_bytes` of `ROWS` is one row's, of `SUSPEND` the
#: number of fetches.
INSTRUCTION = np.dtype(
    [
        ("op", "<u4"),
        ("index", "<u4"),
        ("source", "<u8"),
        ("arena_offset_bytes", "<u8"),
        ("size_bytes", "<u8"),
    ]
)

#: The operands of `ROWS`.
ROWS = np.dtype(
    [
        ("ids_offset_bytes", "<u8"),
        ("ids_count", "<u8"),
        ("file_offset_bytes", "<u8"),
        ("row_count", "<u8"),
    ]
)

INPUT = np.dtype(
    [
        ("name_offset", "<u4"),
        ("name_bytes", "<u4"),
        ("dtype", "<u4"),
        ("has_ignore", "<u4"),
        ("size_bytes", "<u8"),
        ("bound", "<u4"),
        ("ignore", "<i4"),
    ]
)

#: `arena_offset_bytes` of a piece of the state that is not in memory between steps.
NOT_RESIDENT = (1 << 64) - 1

STATE = np.dtype([("arena_offset_bytes", "<u8"), ("size_bytes", "<u8")])

#: section name -> element, in file order
SECTIONS: dict[str, np.dtype[np.void] | np.dtype[np.generic]] = {
    "features": np.dtype("<u4"),
    "kernels": KERNEL,
    "arguments": np.dtype("<u8"),
    "phases": PHASE,
    "operands": np.dtype("<u8"),
    "setup": INSTRUCTION,
    "steps": INSTRUCTION,
    "inputs": INPUT,
    "state": STATE,
    "state_header": np.dtype("u1"),
    "strings": np.dtype("u1"),
}

HEADER = np.dtype(
    [
        ("magic", "u1", (8,)),
        ("version_major", "<u4"),
        ("version_minor", "<u4"),
        ("file_bytes", "<u8"),
        ("target_arch", "<u4"),
        ("window", "<u4"),
        ("save_steps", "<u4"),
        ("order", "<u4"),
        ("arena_bytes", "<u8"),
        ("scratch_bytes", "<u8"),
        ("budget_bytes", "<u8"),
        ("loss_offset_bytes", "<u8"),
        ("weight_offset_bytes", "<u8"),
        ("step_offset_bytes", "<u8"),
        ("kernel_id", "u1", (32,)),
        *((name, SECTION) for name in SECTIONS),
        ("rows", "<u4"),
        ("reserved", "<u4"),
    ]
)

#: dtype -> name of its C struct
STRUCTS: dict[str, np.dtype[np.void]] = {
    "section": SECTION,
    "kernel": KERNEL,
    "phase": PHASE,
    "instruction": INSTRUCTION,
    "rows": ROWS,
    "input": INPUT,
    "state": STATE,
    "header": HEADER,
}
