"""Tilings of matrix products that were measured, in a table for one device (daypack-tuning/1).

    {"format": "daypack-tuning/1", "device": "cortex-a76",
     "products": [{"product": "1x512x768x768 in place", "mr": 8, "vectors": 3, "depth": 768, "block": 512,
                   "seconds": 0.0026}, …]}

`product` is batch x rows x columns x depth and how the left operand is read. `vectors` are vector registers a
row of the register tile; the other sizes are elements. `seconds` are the measured seconds of all calls of a
step. What a table does not name is tiled by the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from daypack.errors import SpecError

FORMAT = "daypack-tuning/1"
LARGEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Tuned:
    """One product's tiling."""

    product: str
    mr: int
    vectors: int
    depth: int
    block: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What products are tiled by before the model is asked, and the place in the model's ranking that the
    others take: 0 but for a tuner, which tries them in turn.
    """

    products: tuple[Tuned, ...] = ()
    rank: int = 0

    def of(self, product: str) -> Tuned | None:
        return next((tuned for tuned in self.products if tuned.product == product), None)


def write_table(path: Path, device: str, products: Sequence[Tuned]) -> None:
    """Write a table; what was there is replaced when all is written."""
    record = {"format": FORMAT, "device": device, "products": [asdict(tuned) for tuned in products]}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)


def read_table(path: Path, device: str) -> Tuning:
    """The table of a device.

    Raises:
        SpecError: no such table, another device's, or a value that cannot be.
    """
    try:
        raw: Any = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: expected a tuning table, found none: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path}: expected a tuning table in JSON, found {error}") from None
    record = cast(dict[str, Any], raw) if isinstance(raw, dict) else {}
    if record.get("format") != FORMAT or not isinstance(record.get("products"), list):
        raise SpecError(f"{path}: expected a tuning table of format {FORMAT}, found another file")
    if record.get("device") != device:
        raise SpecError(
            f"{path}: expected tilings measured on {device}, found those of {record.get('device')!r}; "
            f"`daypack tune --target {device}` measures them"
        )
    return Tuning(tuple(_tuned(path, number, entry) for number, entry in enumerate(record["products"])))


def _tuned(path: Path, number: int, entry: Any) -> Tuned:
    names = [field.name for field in fields(Tuned)]
    if not isinstance(entry, dict) or sorted(cast(dict[str, Any], entry)) != sorted(names):
        raise SpecError(f"{path}: products[{number}]: expected {', '.join(names)}, found {entry!r}")
    known = cast(dict[str, Any], entry)
    for name in ("mr", "vectors", "depth", "block"):
        size = known[name]
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise SpecError(f"{path}: products[{number}].{name}: expected a positive integer, found {size!r}")
    if not isinstance(known["product"], str):
        raise SpecError(f"{path}: products[{number}].product: expected a text, found {known['product']!r}")
    if known["block"] % known["mr"]:
        raise SpecError(
            f"{path}: products[{number}].block: expected a multiple of mr = {known['mr']}, "
            f"found {known['block']}"
        )
    return Tuned(**known)
