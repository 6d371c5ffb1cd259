"""Sizes as people write them. 1 MB is 10^6 bytes, 1 MiB is 2^20."""

from __future__ import annotations

import re

from daypack.errors import SpecError

UNITS_BYTES: dict[str, int] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
TAKES = f'a size such as "160MB" (units {", ".join(UNITS_BYTES)}; 1 MB is 10^6 bytes)'

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def parse_size(text: str) -> int:
    """`"160MB"` -> 160_000_000.

    Raises `SpecError`, which names no key, for what is not a whole number of bytes above 0.
    """
    found = _SIZE.fullmatch(text)
    scale = UNITS_BYTES.get(found[2]) if found else None
    if found is None or scale is None:
        raise SpecError(f"got {text!r}, takes {TAKES}")
    whole, _, part = found[1].partition(".")
    size_bytes, rest = divmod(int(whole + part) * scale, 10 ** len(part))
    if rest or size_bytes < 1:
        raise SpecError(f"got {text!r}, which is not a whole number of bytes above 0")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """For people, rounded to four figures: `160 MB`, `1.234 GB`."""
    for unit in ("GB", "MB", "KB"):
        if size_bytes >= UNITS_BYTES[unit]:
            return f"{size_bytes / UNITS_BYTES[unit]:.4g} {unit}"
    return f"{size_bytes} B"
