"""The search for tight layouts: finds what is there, proves what is not, keeps its time, repeats itself."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daypack.planners.instances import tight_buffers
from daypack.planners.layout import Buffer, columns_of, fit, lay_out, max_load
from daypack.planners.layout_search import Verdict, luby, within
from daypack.planners.validate import validate_layout

FAR = 1e18


def exists_layout(buffers: list[Buffer], capacity: int) -> bool:
    """Brute force over offsets."""
    places = [range(capacity - buffer.size_bytes + 1) for buffer in buffers]
    for offsets in itertools.product(*places):
        if all(
            a.upper <= b.lower or b.upper <= a.lower or x + a.size_bytes <= y or y + b.size_bytes <= x
            for (a, x), (b, y) in itertools.combinations(zip(buffers, offsets, strict=True), 2)
        ):
            return True
    return False


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(1, 6))
def test_small_instances_agree_with_brute_force(raw, capacity):
    buffers = [Buffer(i, lower, lower + length, size) for i, (lower, length, size) in enumerate(raw)]
    outcome = within(columns_of(buffers, 1), capacity, FAR, 0)
    assert outcome.verdict is (Verdict.FOUND if exists_layout(buffers, capacity) else Verdict.IMPOSSIBLE)


GAP = [(1, 4, 1), (2, 3, 1), (0, 3, 1), (2, 5, 1), (0, 1, 3), (1, 2, 2), (3, 4, 2), (4, 5, 3)]
"""Eight buffers with a load of 4 that need 5."""


def test_a_load_that_no_layout_meets_is_proven_and_the_best_found():
    buffers = [Buffer(i, *row) for i, row in enumerate(GAP)]
    assert max_load(columns_of(buffers, 1)) == 4
    assert not exists_layout(buffers, 4)
    assert within(columns_of(buffers, 1), 4, FAR, 0).verdict is Verdict.IMPOSSIBLE
    layout = fit(buffers, alignment_bytes=1)
    validate_layout(buffers, layout, 1)
    assert layout.total_bytes == 5


@pytest.mark.parametrize("seed", range(4))
def test_tight_instances_are_laid_out_within_their_capacity(seed: int):
    buffers, capacity = tight_buffers(150, seed, removed=0.15)
    assert lay_out(buffers).total_bytes > 1.05 * capacity
    layout = fit(buffers, capacity_bytes=capacity, time_limit_s=30, seed=seed)
    validate_layout(buffers, layout)
    assert layout.total_bytes <= capacity


def test_the_same_seed_finds_the_same_layout():
    buffers, capacity = tight_buffers(100, 5, removed=0.2)
    first, second = (fit(buffers, capacity_bytes=capacity, time_limit_s=30, seed=7) for _ in range(2))
    assert first == second


def test_time_limits_are_kept():
    buffers, capacity = tight_buffers(400, 1, removed=0.0)
    fit(buffers[:20], capacity_bytes=0, time_limit_s=1)
    for limit in (0.0, 1.0):
        began = time.monotonic()
        layout = fit(buffers, capacity_bytes=capacity, time_limit_s=limit)
        assert time.monotonic() - began < limit + 1.0
        validate_layout(buffers, layout)


def test_alignment_holds_after_the_search():
    buffers, _ = tight_buffers(60, 2, removed=0.2, unit_bytes=100)
    layout = fit(buffers, alignment_bytes=64, time_limit_s=2)
    validate_layout(buffers, layout, 64)


def test_luby():
    assert [luby(i) for i in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]
