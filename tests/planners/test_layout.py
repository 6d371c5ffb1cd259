"""Layouts are sound, aligned and near the load; bad buffers are refused."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daypack.planners.keep_all import keep_all
from daypack.planners.layout import Buffer, LayoutError, lay_out
from daypack.planners.lifetimes import lifetimes
from daypack.planners.plan import PlanOptions
from daypack.planners.validate import validate_layout
from tests.planners.problems import example, update


@st.composite
def buffers(draw: st.DrawFn) -> list[Buffer]:
    row = st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(0, 400))
    rows = draw(st.lists(row, max_size=30))
    return [Buffer(i, lower, lower + length, size) for i, (lower, length, size) in enumerate(rows)]


@settings(max_examples=100, deadline=None)
@given(buffers(), st.sampled_from([1, 64]))
def test_any_buffers_get_a_sound_layout(rows, alignment_bytes):
    layout = lay_out(rows, alignment_bytes=alignment_bytes)
    validate_layout(rows, layout, alignment_bytes)
    times = range(41)
    load = max(sum(b.size_bytes for b in rows if b.lower <= t < b.upper) for t in times)
    assert layout.max_load_bytes == load


def test_a_window_of_many_micro_steps_is_laid_out_near_its_load():
    """Forward and backward of 8 micro-steps over 300 nodes: lives nest like brackets, some span the
    window."""
    rng = random.Random(1)
    rows: list[tuple[int, int, int]] = []
    for micro in range(8):
        start = micro * 600
        for node in range(300):
            size = 64 * rng.randrange(1, 2000)
            rows.append((start + node, start + 600 - node, size))
            for _ in range(6):
                at = start + rng.randrange(600)
                rows.append((at, at + rng.randrange(1, 6), 64 * rng.randrange(1, 2000)))
    rows += [(0, 4800, 64 * rng.randrange(1, 20000)) for _ in range(200)]
    window = [Buffer(i, *row) for i, row in enumerate(rows)]
    lay_out(window[:10])
    began = time.monotonic()
    layout = lay_out(window)
    print(f"{len(window)} buffers laid out in {time.monotonic() - began:.2f} s")
    validate_layout(window, layout)
    assert layout.total_bytes <= 1.01 * layout.max_load_bytes


def test_lifetimes_follow_the_plan():
    problem = example()
    plan = keep_all(problem, 100, PlanOptions())
    lives = lifetimes(problem, plan)
    layout = lay_out(lives.buffers, alignment_bytes=1)
    validate_layout(lives.buffers, layout, 1)
    assert layout.max_load_bytes == plan.peak_bytes - problem.fixed_bytes
    assert set(lives.initial) == {0}
    assert set(lives.final) == {4, 7}


def test_an_overwriting_node_shares_the_buffer_of_what_it_overwrites():
    problem = update(paged=False)
    plan = keep_all(problem, 100, PlanOptions())
    lives = lifetimes(problem, plan)
    assert lives.final[4] == lives.initial[1]
    assert set(lives.final) == {2, 4}
    grad = plan.sequence.index(("compute", 3))
    scratch = lives.workspace[grad]
    assert scratch is not None
    assert lives.buffers[scratch] == Buffer(scratch, grad, grad + 1, 2)


@pytest.mark.parametrize(
    ("rows", "alignment_bytes", "message"),
    [
        ([Buffer(3, 0, 1, 1), Buffer(3, 0, 1, 1)], 64, "buffer 3: the id is used twice"),
        ([Buffer(3, 1, 1, 1)], 64, "0 <= lower < upper, found lower 1, upper 1"),
        ([Buffer(3, -1, 1, 1)], 64, "0 <= lower < upper, found lower -1"),
        ([Buffer(3, 0, 1, -1)], 64, "buffer 3: size must be at least 0, found -1"),
        ([Buffer(3, 0, 1, 2**62)], 64, "must stay below 2^62"),
        ([Buffer(3, 0, 2**63, 1)], 64, "must stay below 2^62"),
        ([], 0, "alignment_bytes must be at least 1, found 0"),
    ],
)
def test_bad_buffers_are_refused(rows, alignment_bytes, message):
    with pytest.raises(LayoutError) as caught:
        lay_out(rows, alignment_bytes=alignment_bytes)
    assert message in str(caught.value)
