"""docs/operations.md says what the compiler does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daypack.compiler.graph import DTYPE_BYTES
from daypack.compiler.kernels.mathematics import FARTHEST_ANGLE, ULP_BOUNDS
from daypack.compiler.kernels.rules import LIBM
from daypack.compiler.trace import supported_primitives
from daypack.compiler.tracing.control import UNROLL_LIMIT


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "operations.md").read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """The first cell of every row of every table, heads and rules left out."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [str(row) for row in rows]


def test_it_lists_exactly_the_supported_primitives(page: str) -> None:
    tables = page.split("## Accuracy")[0]
    listed = [name for cell in first_cells(tables) for name in re.findall(r"`(.*?)`", cell)]
    assert sorted(set(listed)) == sorted(listed), "listed twice"
    assert set(listed) == supported_primitives()


def test_it_states_the_tested_error_bounds(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|$", page.split("## Accuracy")[1], re.MULTILINE)
    assert {name: float(bound) for name, bound in rows} == ULP_BOUNDS


def test_it_names_what_calls_the_c_library(page: str) -> None:
    (row,) = [line for line in page.split("\n") if "| a call of the C library |" in line]
    assert set(re.findall(r"`(.*?)`", row.split(" | ")[0])) == set(LIBM)


def test_it_states_the_limits_and_types(page: str) -> None:
    assert f"{UNROLL_LIMIT:,} equations" in page
    assert FARTHEST_ANGLE == 2**20
    assert "angles of 2^20 and more" in page
    types = page.split("## Element types")[1].split("##")[0].split("are refused")[0]
    named = set(re.findall(r"`(\w+)`", types)) - {"float64", "int64", "int16"}
    assert named == set(DTYPE_BYTES)
