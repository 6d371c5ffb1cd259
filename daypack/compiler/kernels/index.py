# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Index arithmetic for kernels: an integer expression together with the loop variables it depends on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import sym, tirx
from tvm.ir import Range


@dataclass(frozen=True, slots=True, eq=False)
class Ix:
    """`expr` is an int or an int32 TIR expression; `deps` the names of the loop variables in it."""

    expr: Any
    deps: frozenset[str] = frozenset()

    @property
    def constant(self) -> int | None:
        return self.expr if isinstance(self.expr, int) else None

    def __add__(self, other: Ix | int) -> Ix:
        other = as_ix(other)
        if self.constant == 0:
            return other
        if other.constant == 0:
            return self
        return Ix(self.expr + other.expr, self.deps | other.deps)

    def __sub__(self, other: Ix | int) -> Ix:
        other = as_ix(other)
        return self if other.constant == 0 else Ix(self.expr - other.expr, self.deps | other.deps)

    def __mul__(self, other: int) -> Ix:
        if other == 1:
            return self
        return Ix(0) if other == 0 else Ix(self.expr * other, self.deps)

    def tir(self) -> Any:
        """The expression as TIR."""
        return tirx.const(self.expr, "int32") if isinstance(self.expr, int) else self.expr


def as_ix(value: Ix | int) -> Ix:
    return value if isinstance(value, Ix) else Ix(int(value))


def variable(var: Any) -> Ix:
    """A loop variable as an index."""
    return Ix(var, frozenset((str(var.name),)))


Index = tuple[Ix, ...]


class Arithmetic:
    """Division and remainder with the bounds of the loop variables, so that vector loads stay contiguous."""

    def __init__(self) -> None:
        self._analyzer = sym.Analyzer()

    def bound(self, var: Any, extent: Any) -> None:
        """Tell that 0 <= var < extent."""
        zero: Any = 0
        self._analyzer.bind(var, Range(zero, extent))

    def div(self, a: Ix, b: int) -> Ix:
        if b == 1:
            return a
        if a.constant is not None:
            return Ix(a.constant // b)
        return self._simple(tirx.floordiv(a.expr, b), a.deps)

    def mod(self, a: Ix, b: int) -> Ix:
        if b == 1:
            return Ix(0)
        if a.constant is not None:
            return Ix(a.constant % b)
        return self._simple(tirx.floormod(a.expr, b), a.deps)

    def _simple(self, expr: Any, deps: frozenset[str]) -> Ix:
        expr = self._analyzer.simplify(expr)
        if isinstance(expr, tirx.IntImm):
            return Ix(int(expr.value))
        return Ix(expr, deps)

    def unflatten(self, flat: Ix, shape: Sequence[int]) -> Index:
        """The multi-index of a row-major position."""
        result: list[Ix] = []
        for axis, size in enumerate(shape):
            inner = math.prod(shape[axis + 1 :])
            part = self.div(flat, inner)
            result.append(self.mod(part, size) if axis else part)
            if size == 1:
                result[-1] = Ix(0)
        return tuple(result)

    def reshape(self, index: Index, shape: Sequence[int], to: Sequence[int]) -> Index:
        """The index in an array of shape `to` of the element at `index` in the same data of shape `shape`.

        Dimensions are matched in the smallest groups of equal size, so that untouched ones pass through.
        """
        result: list[Ix] = []
        i = j = 0
        while j < len(to) or i < len(shape):
            first, second = i, j
            size_in = shape[i] if i < len(shape) else 1
            size_out = to[j] if j < len(to) else 1
            i, j = min(i + 1, len(shape)), min(j + 1, len(to))
            while size_in != size_out:
                if size_in < size_out:
                    size_in *= shape[i]
                    i += 1
                else:
                    size_out *= to[j]
                    j += 1
            group_in, group_out = shape[first:i], to[second:j]
            if len(group_in) == 1 and len(group_out) == 1:
                result.append(index[first])
            else:
                result.extend(self.unflatten(flatten(index[first:i], group_in), group_out))
        return tuple(result)


def flatten(index: Sequence[Ix], shape: Sequence[int]) -> Ix:
    """The row-major position of a multi-index."""
    flat = Ix(0)
    for ix, size, inner in zip(index, shape, suffix_products(shape), strict=True):
        if size != 1:
            flat = flat + ix * inner
    return flat


def suffix_products(shape: Sequence[int]) -> list[int]:
    """The row-major stride of each dimension, in elements."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
