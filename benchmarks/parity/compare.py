"""Two trainings from one start, compared: every loss, and every array's change since the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parity.reference import Array, Trained

Slice = tuple[slice, str]


@dataclass(frozen=True, slots=True)
class ArrayFigure:
    """‖Δours − Δreference‖ / ‖Δreference‖ of one array, by its published name."""

    name: str
    relative: float


@dataclass(frozen=True, slots=True)
class ZeroFigure:
    """An array or a slice of one whose gradient is analytically zero: what moves it is rounding.

    `difference` is the largest |Δours − Δreference|, `reference` the largest |Δreference|.
    """

    name: str
    part: str
    difference: float
    reference: float


@dataclass(frozen=True)
class Parity:
    """The figures. `losses` are relative differences by step; `unchanged` names arrays that training left."""

    losses: tuple[float, ...]
    arrays: tuple[ArrayFigure, ...]
    zero: tuple[ZeroFigure, ...]
    unchanged: tuple[str, ...]

    @property
    def worst_loss(self) -> float:
        return max(self.losses)

    @property
    def worst_array(self) -> ArrayFigure:
        return max(self.arrays, key=lambda figure: figure.relative)

    @property
    def worst_zero(self) -> float:
        return max((figure.difference for figure in self.zero), default=0.0)

    def line(self) -> str:
        """One line for people."""
        worst = self.worst_array
        text = (
            f"{len(self.losses)} steps: loss {self.worst_loss:.1e} relative at most; "
            f"{len(self.arrays)} arrays, change {worst.relative:.1e} at most ({worst.name})"
        )
        if self.zero:
            moved = max(figure.reference for figure in self.zero)
            text += (
                f"; {len(self.zero)} slices of zero gradient differ by {self.worst_zero:.1e} at most, "
                f"the reference moves them by {moved:.1e}"
            )
        return text + (f"; unchanged: {', '.join(self.unchanged)}" if self.unchanged else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def gpt2_zero_gradient(name: str, array: Array) -> Slice | None:
    """The part of a GPT-2 array that no loss depends on: a key bias adds the same to every score of a row."""
    if name.endswith("attn.c_attn.bias"):
        width = array.shape[0] // 3
        return slice(width, 2 * width), f"keys [{width}, {2 * width})"
    return None


def compare(
    initial: Mapping[str, Array],
    ours: Trained,
    reference: Trained,
    zero_gradient: Callable[[str, Array], Slice | None] = gpt2_zero_gradient,
) -> Parity:
    """The figures of two trainings that began with `initial`."""
    arrays: list[ArrayFigure] = []
    zero: list[ZeroFigure] = []
    unchanged: list[str] = []
    for name, start in initial.items():
        change, wanted = (_change(trained.arrays[name], start) for trained in (ours, reference))
        if not change.any():
            unchanged.append(name)
        part = zero_gradient(name, start)
        if part is not None:
            rows, label = part
            difference = float(np.abs(change[rows] - wanted[rows]).max())
            zero.append(ZeroFigure(name, label, difference, float(np.abs(wanted[rows]).max())))
            change, wanted = np.delete(change, rows, axis=0), np.delete(wanted, rows, axis=0)
        arrays.append(ArrayFigure(name, _relative(change, wanted)))
    return Parity(
        relative_losses(ours.losses, reference.losses), tuple(arrays), tuple(zero), tuple(unchanged)
    )


def relative_losses(ours: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """|ours − reference| / |reference| by step."""
    if len(ours) != len(reference):
        raise ValueError(f"expected as many losses as the reference's {len(reference)}, found {len(ours)}")
    return tuple(abs(a - b) / abs(b) for a, b in zip(ours, reference, strict=True))


def _change(array: Array, start: Array) -> Array:
    return array.astype(np.float64) - start.astype(np.float64)


def _relative(change: Array, wanted: Array) -> float:
    """Infinite where the reference did not move and we did."""
    difference, norm = float(np.linalg.norm(change - wanted)), float(np.linalg.norm(wanted))
    return difference / norm if norm else (0.0 if difference == 0.0 else float("inf"))
