"""--audit-arena counts what of the arena was written, in whole blocks, and changes no bit of any result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daypack.runtime.launch import EngineArguments
from daypack.runtime.plan_file import FileKind, Read, Zero

AUDIT = ("--steps", "2", "--threads", "2", "--audit-arena")


def audited(case: Any) -> tuple[int, int]:
    """(bytes touched, where the last of them ends)."""
    run = case.run(*AUDIT)
    assert run.status == 0, run
    end = run.events[-1]
    return end["arena_touched_bytes"], end["arena_top_bytes"]


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_a_plan_that_uses_all_of_its_arena(make_case: Callable[..., Any], example: Any, arch: str) -> None:
    case = make_case(arch)
    assert audited(case) == (example.ARENA_BYTES, example.ARENA_BYTES)
    plain = make_case(arch, name="plain")
    assert plain.run("--steps", "2").status == 0
    assert case.state.read_bytes() == plain.state.read_bytes()


def test_what_nothing_writes_is_not_counted(make_case: Callable[..., Any], example: Any) -> None:
    """Room behind everything, a hole between two arrays, and one byte at the far end of a block."""
    gap, size = 4096, example.ARENA_BYTES
    case = make_case(arena_bytes=size + 3 * gap)
    assert audited(case) == (size, size)
    one = Zero(size + gap, 1)
    case.set_plan(steps=(one, *case.plan.steps))
    assert audited(case) == (size + 64, size + gap + 64)


def test_a_last_block_that_is_short(make_case: Callable[..., Any], example: Any) -> None:
    size = example.ARENA_BYTES + 10
    case = make_case(
        arena_bytes=size, setup=(*example.example_plan().setup, Read(FileKind.WEIGHTS, 0, size - 10, 10))
    )
    assert audited(case) == (size, size)


def test_without_it_nothing_is_painted(case: Any) -> None:
    assert list(case.run("--steps", "1").events[-1]) == ["event", "steps", "state"]


def test_the_host_passes_it_on() -> None:
    words = EngineArguments(audit_arena=True).command_line("B", "S", None)
    assert words == ["--bundle", "B", "--state", "S", "--audit-arena"]
