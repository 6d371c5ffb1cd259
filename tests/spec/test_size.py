"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daypack.errors import SpecError
from daypack.spec import UNITS_BYTES, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("160MB", 160_000_000),
        ("160 MB", 160_000_000),
        (" 1.5GB ", 1_500_000_000),
        ("2MiB", 2_097_152),
        ("1GiB", 1_073_741_824),
        ("3KB", 3_000),
        ("3KiB", 3_072),
        ("7B", 7),
        ("0.1MB", 100_000),
    ],
)
def test_a_size_in_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "160", "160mb", "-1MB", "1e3MB", "1,5GB", "160 MB!", "١MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(
        SpecError, match=r'takes a size such as "160MB" \(units B, KB, MB, GB, KiB, MiB, GiB; '
    ):
        parse_size(text)


@pytest.mark.parametrize("text", ["0MB", "0.5B", "1.0001KB"])
def test_bytes_are_whole_and_above_0(text: str) -> None:
    with pytest.raises(SpecError, match="which is not a whole number of bytes above 0"):
        parse_size(text)


@given(st.integers(1, 10**15), st.sampled_from(sorted(UNITS_BYTES)))
def test_no_size_is_rounded(count: int, unit: str) -> None:
    assert parse_size(f"{count}{unit}") == count * UNITS_BYTES[unit]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (7, "7 B"),
        (160_000_000, "160 MB"),
        (1_234_567_890, "1.235 GB"),
        (2_500, "2.5 KB"),
        (999_999, "1000 KB"),
    ],
)
def test_a_size_for_people(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
