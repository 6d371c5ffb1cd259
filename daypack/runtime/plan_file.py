"""The plan as the engine sees it: plain data, one dataclass a record of `plan.bin`.

Offsets and sizes are bytes. Arena offsets count from the arena's start and are multiples of
`ALIGNMENT_BYTES`. The bytes of the file are in FORMAT.md; `plan_format` writes and reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod

ALIGNMENT_BYTES = 64

#: safetensors dtype code -> bytes of one element. The order is the code in `plan.bin`: append only.
DTYPE_BYTES: dict[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


class Order(IntEnum):
    """How a plan goes through the window; every order of a bundle computes the same bits.

    MICRO_BATCH_MAJOR: micro-step after micro-step. LAYER_MAJOR: a block of layers for every micro-step, then
    the next block (zig-zag). DEFERRED: the update after every gradient, and what it writes at the very end.
    INTERLEAVED: each part of the update as soon as its gradient is final, transfers beside the kernels.
    """

    MICRO_BATCH_MAJOR = 0
    LAYER_MAJOR = 1
    DEFERRED = 2
    INTERLEAVED = 3

    @property
    def label(self) -> str:
        """As specs, manifests and the engine name it."""
        return self.name.lower().replace("_", "-")


class FileKind(IntEnum):
    """A file that instructions read or write.

    WEIGHTS: the bundle's, never written. STATE: the generation that the run (in setup) or the step starts
    from, never written. NEXT: the generation that the step writes, laid out as STATE is. SWAP: scratch of
    the run, gone with it.
    """

    WEIGHTS = 0
    STATE = 1
    NEXT = 2
    SWAP = 3


@dataclass(frozen=True, slots=True)
class Phase:
    """Tiles [0, `tiles`) of one raw function of the kernel object; threads share them, a barrier follows."""

    symbol: str
    stage: int
    tiles: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled function with `arg_count` array arguments, run as phases in order.

    `arg_bytes` states how far the kernel reads or writes from each operand's offset, so that the engine can
    refuse an operand that would leave the arena. Left empty, only the operand's first byte is checked.
    """

    name: str
    arg_count: int
    phases: tuple[Phase, ...]
    arg_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """Run a kernel on these arena offsets, one an argument."""

    kernel: int
    operands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Read bytes [file_offset, file_offset + size) of a file into the arena."""

    file: FileKind
    file_offset_bytes: int
    arena_offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Begin to read bytes [file_offset, file_offset + size) of a file into the arena. Only in `steps`.

    Fetches and stores are transfers: done one after another, in the order of the instructions, while the
    instructions behind them run, and numbered from 1 in each step. `Wait` says when one must be done.
    """

    file: FileKind
    file_offset_bytes: int
    arena_offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Store:
    """Begin to write arena bytes to [file_offset, file_offset + size) of NEXT or SWAP. Only in `steps`.

    They must not change before the transfer is done.
    """

    file: FileKind
    file_offset_bytes: int
    arena_offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until the first `transfers` transfers of the step are done."""

    transfers: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Read the rows of a matrix on flash that int32 ids in the arena name, one after another.

    Row i of the result is row clamp(ids[i], 0, `row_count` - 1) of the matrix at `file_offset_bytes`. The
    result, `ids_count` * `row_bytes` at `arena_offset_bytes`, may not overlap the ids. `row_bytes` is a
    multiple of 4. Only the weights have rows, and only `steps` read them: in setup no ids are known.
    """

    file: FileKind
    file_offset_bytes: int
    row_bytes: int
    row_count: int
    ids_offset_bytes: int
    ids_count: int
    arena_offset_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.ids_count * self.row_bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Read the data record of micro-batch `micro` of this window into the arena, one offset an input."""

    micro: int
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Zero:
    """Fill arena bytes [offset, offset + size) with zero."""

    arena_offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class EndShard:
    """The end of a shard: here the engine may pause, resume or go on with another shard."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Here the engine keeps what the window has made so far, so that a run that is stopped goes on from here.

    `ranges`: (arena offset, bytes) of what the rest of the window needs and nothing else restores, ascending
    and apart. `fetches`: positions in `steps` of earlier fetches, of the weights or the state, whose bytes
    the rest still needs as they were fetched; they are read again. Only in `steps`, not in an evaluation, and
    before the first store into NEXT.
    """

    ranges: tuple[tuple[int, int], ...]
    fetches: tuple[int, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size in self.ranges)


Instr = Call | Read | Rows | Batch | Zero | EndShard | Fetch | Store | Wait | Suspend


@dataclass(frozen=True, slots=True)
class BatchInput:
    """One array of a data record.

    `dtype` is a safetensors code. With `bound` > 0 (only for I32) every value must lie in [0, bound) or equal
    `ignore`; with `bound` 0 values are not looked at.
    """

    name: str
    dtype: str
    size_bytes: int
    bound: int = 0
    ignore: int | None = None


@dataclass(frozen=True, slots=True)
class StatePiece:
    """Consecutive bytes of a state tensor that are in one place.

    `arena_offset_bytes` None: not in memory between steps; each step stores it in NEXT as a whole.
    """

    arena_offset_bytes: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One array that training changes: its published name, dtype and shape, and where it lives.

    `parts`: two or more pieces in the order of their bytes; then `arena_offset_bytes` is None. Without parts
    the tensor is one piece at `arena_offset_bytes`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    arena_offset_bytes: int | None
    parts: tuple[StatePiece, ...] = ()

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def pieces(self) -> tuple[StatePiece, ...]:
        return self.parts or (StatePiece(self.arena_offset_bytes, self.size_bytes),)


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Everything the engine does: `setup` once at the start, then `steps` (one whole window) for each step.

    `state` is in the order of the data of `state.safetensors`. The loss (float32, mean over labels), the
    weight (float32, label count) and the clock (uint32, completed steps; the plan's own kernels advance it)
    are read from the arena after each window. `budget_bytes` 0 means no budget. `kernel_id` is the SHA-256 of
    the kernel object; an engine linked with another object refuses the plan. `state_id` says what is trained
    (64 hexadecimal digits, or empty): a state that carries another is refused.

    `rows` above 0 makes it an evaluation: `steps` read one batch and change nothing on disk, so they store
    nothing. Where the loss and the weight are of a training, `rows` float32 each lie here: of each row of the
    batch the sum of the log-likelihoods of its labels, and the number of these. State that is not in memory
    is read where it is needed, or not at all.
    """

    target_arch: str
    cpu_features: tuple[str, ...]
    arena_bytes: int
    scratch_bytes: int
    budget_bytes: int
    window: int
    save_steps: int
    kernels: tuple[Kernel, ...]
    setup: tuple[Instr, ...]
    steps: tuple[Instr, ...]
    inputs: tuple[BatchInput, ...]
    state: tuple[StateTensor, ...]
    loss_offset_bytes: int
    weight_offset_bytes: int
    step_offset_bytes: int
    kernel_id: bytes
    state_id: str = ""
    order: Order = Order.MICRO_BATCH_MAJOR
    rows: int = 0
