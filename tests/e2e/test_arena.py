"""The arena that a run touches is the one that was planned: on this machine and under the emulator, whose own
memory hides what the engine has resident.

The engine counts aligned blocks of 64 bytes (`--audit-arena`). They are compared with the blocks in which at
least one byte belongs to an array that an instruction of the plan names: no other block may be touched, and
each of these must be. What lies between an array's end and the next multiple of 64 belongs to its last block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from parity.specs import FULL, LORA, gpt2

from daypack import api
from daypack.runtime.bundle import read_bundle
from daypack.runtime.launch import EngineArguments, launcher
from daypack.runtime.plan_file import Batch, Call, Fetch, Instr, PlanFile, Read, Rows, Store, Zero
from daypack.spec import TrainSpec

CONFIG = {"n_layer": 2, "n_embd": 192, "n_head": 3, "vocab_size": 5003, "n_positions": 32}
CASES: dict[str, tuple[dict[str, Any], int]] = {"lora": (LORA, 11_000_000), "full": (FULL, 23_000_000)}
"""Method and budget; without one they take 14.3 and 32.9 MB."""
VIA = {"host": "local", "cortex-a76": "emulated"}
BLOCK = 64


def ranges(plan: PlanFile, instruction: Instr) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of everything in the arena that an instruction names."""
    match instruction:
        case Call():
            yield from zip(instruction.operands, plan.kernels[instruction.kernel].arg_bytes, strict=True)
        case Batch():
            yield from zip(instruction.offsets, (i.size_bytes for i in plan.inputs), strict=True)
        case Rows():
            yield instruction.ids_offset_bytes, 4 * instruction.ids_count
            yield instruction.arena_offset_bytes, instruction.ids_count * instruction.row_bytes
        case Read() | Fetch() | Store() | Zero():
            yield instruction.arena_offset_bytes, instruction.size_bytes
        case _:
            return


def planned_bytes(plan: PlanFile) -> int:
    """Bytes of all blocks that the plan uses."""
    used: set[int] = set()
    for instruction in (*plan.setup, *plan.steps):
        for offset, size in ranges(plan, instruction):
            used.update(range(offset // BLOCK, -(-(offset + size) // BLOCK)))
    for piece in (piece for tensor in plan.state for piece in tensor.pieces):
        if (offset := piece.arena_offset_bytes) is not None:
            used.update(range(offset // BLOCK, -(-(offset + piece.size_bytes) // BLOCK)))
    return BLOCK * len(used)


@pytest.mark.parametrize("device", VIA)
@pytest.mark.parametrize("name", CASES)
def test_the_touched_arena_is_the_planned_one(
    name: str, device: str, ids: Callable[[int], Path], tmp_path: Path, emulator: str
) -> None:
    method, memory = CASES[name]
    spec: TrainSpec = gpt2(ids(5003), CONFIG, method, batch=2, sequence=32)
    result = api.compile_spec(spec, out=tmp_path / "b.bundle", target=device, memory_bytes=memory)
    assert result.predicted.flash_read_bytes > 0, "the budget is tight enough to page"
    plan = read_bundle(result.bundle).plan
    losses: list[list[float]] = []
    for audit in (False, True):
        arguments = EngineArguments(steps=2, threads=2, fresh=True, audit_arena=audit)
        events = list(launcher(VIA[device]).run(result.bundle, arguments))
        losses.append([event["loss"] for event in events if event["event"] == "step"])
    end = events[-1]
    print(f"{name} on {device}: {end['arena_touched_bytes']} of {plan.arena_bytes} bytes touched")
    assert end["arena_touched_bytes"] == planned_bytes(plan)
    assert end["arena_top_bytes"] == plan.arena_bytes <= memory
    assert losses[0] == losses[1], "no result depends on what nothing has written"
