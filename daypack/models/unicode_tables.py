# pyright: reportUnknownMemberType=false
"""What the `tokenizers` library holds about characters, asked of the library itself.

Its Unicode version is its own, so classes, decompositions and compositions are found by trying every
character, not taken from Python's tables; those only say which characters are worth trying.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.uint32]

LETTER, NUMBER, SPACE = 1, 2, 3
_SURROGATES = range(0xD800, 0xE000)
_HANGUL = range(0xAC00, 0xD7A4)
_LATE, _EARLY = "\u0345", "\u0334"  # of combining classes 240 and 1


@cache
def character_classes() -> Points:
    """Ranges (n, 2) of (first point, class): \\p{L} 1, \\p{N} 2, \\s 3, anything else 0."""
    from tokenizers import Regex, normalizers

    everything = "".join(map(chr, _points()))
    classes = np.zeros(sys.maxunicode + 1, np.uint32)
    for value, pattern in ((LETTER, r"[^\p{L}]+"), (NUMBER, r"[^\p{N}]+"), (SPACE, r"[^\s]+")):
        kept: str = normalizers.Replace(Regex(pattern), "").normalize_str(everything)
        classes[[ord(character) for character in kept]] = value
    return _ranges(classes)


@cache
def combining_classes() -> Points:
    """Ranges (n, 2) of (first point, canonical combining class) as the library orders characters."""
    from tokenizers import normalizers

    decompose = normalizers.NFD()
    orders = np.zeros(sys.maxunicode + 1, np.uint32)
    for point in _points():
        order = unicodedata.combining(chr(point))
        if order and _is_ordered(decompose, chr(point), order):
            orders[point] = order
    return _ranges(orders)


def _is_ordered(decompose: Any, character: str, order: int) -> bool:
    """Whether the library knows the character as a combining one: it moves it, or others past it."""
    if order < unicodedata.combining(_LATE):
        given, expected = _LATE + character, character + _LATE
    else:
        given, expected = character + _EARLY, _EARLY + character
    return decompose.normalize_str("a" + given) == unicodedata.normalize("NFD", "a" + expected)


@cache
def decompositions() -> tuple[Points, Points, Points]:
    """Points that decompose, ascending; where the result of each starts; the results end to end.

    Results are whole (nothing in them decomposes) and in canonical order. Hangul syllables are left out.
    """
    from tokenizers import normalizers

    decompose = normalizers.NFD()
    points: list[int] = []
    starts = [0]
    parts: list[int] = []
    for point in _points():
        kind = unicodedata.decomposition(chr(point))
        if not kind or kind.startswith("<") or point in _HANGUL:
            continue
        result: str = decompose.normalize_str(chr(point))
        if result != chr(point):
            points.append(point)
            parts.extend(map(ord, result))
            starts.append(len(parts))
    return np.array(points, np.uint32), np.array(starts, np.uint32), np.array(parts, np.uint32)


@cache
def compositions() -> Points:
    """Rows (n, 3) of (second, first, composed), ascending: what the library joins. Hangul is left out."""
    from tokenizers import normalizers

    compose = normalizers.NFC()
    rows: list[tuple[int, int, int]] = []
    for point in decompositions()[0].tolist():
        pair = [int(part, 16) for part in unicodedata.decomposition(chr(point)).split()]
        if len(pair) == 2 and compose.normalize_str("".join(map(chr, pair))) == chr(point):
            rows.append((pair[1], pair[0], point))
    return np.array(sorted(rows), np.uint32)


def _points() -> list[int]:
    return [point for point in range(sys.maxunicode + 1) if point not in _SURROGATES]


def _ranges(values: Points) -> Points:
    first = np.flatnonzero(np.diff(values, prepend=values[0] + 1))
    return np.stack([first, values[first]], 1).astype(np.uint32)
