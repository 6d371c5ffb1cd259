"""The ejection search: sound layouts of any buffers, near the load where first fit is not, always alike."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

from daypack.planners import layout_eject
from daypack.planners.instances import paged_buffers
from daypack.planners.layout import (
    Buffer,
    best_first_fit,
    columns_of,
    lay_out,
    make_layout,
    max_load,
    near_load,
)
from daypack.planners.layout_eject import ejected, neighbours
from daypack.planners.validate import validate_layout
from tests.planners.test_layout import buffers


@settings(max_examples=100, deadline=None)
@given(buffers())
def test_what_is_found_is_sound_and_within_the_capacity(rows: list[Buffer]) -> None:
    columns = columns_of(rows, 1)
    near = neighbours(columns)
    assert near is not None
    begin = best_first_fit(columns, 0)
    for capacity in (max_load(columns), int(1.1 * max_load(columns))):
        found = ejected(columns, near, begin, capacity, 20_000, 0)
        if found is not None:
            layout = make_layout(rows, found)
            validate_layout(rows, layout, 1)
            assert layout.total_bytes <= capacity
    layout = near_load(rows, alignment_bytes=64, visits=20_000)
    validate_layout(rows, layout, 64)
    assert layout.total_bytes <= lay_out(rows).total_bytes


@pytest.mark.parametrize("seed", range(3))
def test_a_paged_step_comes_nearer_to_its_load_than_first_fit(seed: int) -> None:
    rows = paged_buffers(150, seed)
    first, found = lay_out(rows), near_load(rows, visits=20_000_000)
    validate_layout(rows, found)
    print(f"{len(rows)} buffers: first fit {first.total_bytes / first.max_load_bytes:.4f}, ", end="")
    print(f"found {found.total_bytes / found.max_load_bytes:.4f}")
    over, left = (layout.total_bytes - layout.max_load_bytes for layout in (first, found))
    assert over > 0.15 * first.max_load_bytes
    assert left < 0.4 * over


def test_the_same_buffers_have_the_same_layout() -> None:
    rows = paged_buffers(150, 7)
    assert near_load(rows, visits=1_000_000) == near_load(rows, visits=1_000_000)


def test_a_capacity_below_the_load_is_no_error() -> None:
    rows = paged_buffers(100, 1)
    layout = near_load(rows, capacity_bytes=1, visits=1_000_000)
    validate_layout(rows, layout)
    assert layout.max_load_bytes <= layout.total_bytes < lay_out(rows).total_bytes


def test_weights_that_grow_for_long_stay_exact() -> None:
    """A capacity that nothing meets: every weight grows until all are made lighter, again and again."""
    rng = random.Random(0)
    rows = [Buffer(i, 0, 2, 64 * rng.randrange(50, 60)) for i in range(8)]
    columns = columns_of(rows, 64)
    near = neighbours(columns)
    assert near is not None
    begin = best_first_fit(columns, 0)
    assert ejected(columns, near, begin, max_load(columns) - 64, 4_000_000, 0) is None


def test_too_many_pairs_leave_first_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_eject, "MAX_PAIRS", 10)
    rows = paged_buffers(20, 0)
    assert neighbours(columns_of(rows, 64)) is None
    assert near_load(rows) == lay_out(rows)
