# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Packing: the operands of a matrix product as the register tile reads them.

The right operand's panel lies as (depth, columns of the panel), a group of the left operand's rows as (depth,
rows of the group). What runs along the depth in memory is transposed in registers, block by block; what runs
along the other axis is copied by vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from daypack.compiler.kernels.contraction import Geometry
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import across, loop, sequence
from daypack.compiler.kernels.tiling import Tiling
from daypack.compiler.kernels.transpose import transpose_block

Load = tuple[Any, Ix]
SMALLEST_BLOCK = 4
"""Elements of a vector below which a block is not worth transposing."""


class Probe(Scope):
    """A scope that notes the loads an element needs instead of emitting code for them."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.loads: list[Load] = []

    def load(self, buffer: Any, offset: Ix, dtype: str) -> Any:
        self.loads.append((buffer, offset))
        return super().load(buffer, offset, dtype)


def runs_along_depth(program: Program, element: Callable[[Scope, Ix, Ix], Any]) -> bool:
    """Whether what `element(scope, k, other)` reads follows in memory as k grows, and not as the other does.

    Of several arrays the largest decides.
    """
    spots: list[list[Load]] = []
    for k, other in ((0, 0), (1, 0), (0, 1)):
        probe = Probe(program)
        element(probe, Ix(k), Ix(other))
        spots.append(probe.loads)
    if not spots[0] or len({len(loads) for loads in spots}) > 1:
        return False
    number = max(range(len(spots[0])), key=lambda n: int(spots[0][n][0].shape[0]))
    origin, deeper, beside = (_number(loads[number][1]) for loads in spots)
    if origin is None or deeper is None or beside is None:
        return False
    return deeper - origin == 1 and beside - origin != 1


def _number(offset: Ix) -> int | None:
    expr = offset.tir()
    return int(expr.value) if isinstance(expr, tirx.IntImm) else None


@dataclass(frozen=True, slots=True)
class Packer:
    """Emits the packing of one product."""

    program: Program
    g: Geometry
    t: Tiling

    def panel(
        self, outer: Scope, to: Any, at: tuple[Ix, Ix], start: int, depth: int, width: int, base: int = 0
    ) -> None:
        """to[base + k·nr + j] = right[start + k, panel·nr + j] for the (batch, panel) `at`; columns past
        `width` are zero.
        """
        g, t, program, lanes = self.g, self.t, self.program, self.t.lanes
        b, panel = at
        blocks = (depth // lanes, width // lanes)
        along = lanes >= SMALLEST_BLOCK and all(blocks)
        along = along and runs_along_depth(program, lambda s, k, n: g.right(s, Ix(0), k, n))
        if along:
            row, column = (program.loop_variable(n, e) for n, e in zip("kj", blocks, strict=True))
            inner = outer.inside(row, column)
            transpose_block(
                inner,
                lanes,
                lambda scope, j, lane: g.right(
                    scope, b, row * lanes + lane + start, column * lanes + panel * t.nr + j
                ),
                lambda k: (to, row * (lanes * t.nr) + column * lanes + (base + k * t.nr)),
            )
            outer.statements.append(loop(row, blocks[0], [loop(column, blocks[1], inner.statements)]))

        def rest(first_k: int, count: int, first_column: int) -> None:
            k = program.loop_variable("k", count)
            over_k = outer.inside(k)

            def element(inner: Scope, column: Ix, _: Any) -> None:
                expr = g.right(inner, b, k + (start + first_k), panel * t.nr + column)
                inner.store(to, k * t.nr + (base + first_k * t.nr) + column, expr, "float32")

            across(over_k, width - first_column, lanes, element, start=Ix(first_column))
            if width < t.nr:
                self._zero(over_k, to, (k + first_k) * t.nr + base, width)
            if over_k.statements:
                outer.statements.append(loop(k, count, over_k.statements))

        copied = blocks[0] * lanes if along else 0
        if copied and (width % lanes or width < t.nr):
            rest(0, copied, blocks[1] * lanes)
        if copied < depth:
            rest(copied, depth - copied, 0)

    def _zero(self, scope: Scope, to: Any, row: Ix, width: int) -> None:
        j = self.program.loop_variable("z", self.t.nr - width)
        inner = scope.inside(j)
        inner.store(to, row + j + width, tirx.const(0.0, "float32"), "float32")
        scope.statements.append(loop(j, self.t.nr - width, inner.statements))

    def group(self, scope: Scope, to: Any, at: tuple[Ix, Ix], base: Ix) -> None:
        """to[base + k·mr + i] = left[row + i, k] for the (batch, row) `at`; rows past the end repeat the
        last.
        """
        g, t = self.g, self.t
        _, row = at
        if g.rows % t.mr == 0:
            self._whole_group(scope, to, at, base)
        elif g.rows < t.mr:
            self._last_group(scope, to, at, base)
        else:
            whole, last = scope.inside(), scope.inside()
            self._whole_group(whole, to, at, base)
            self._last_group(last, to, at, base)
            fits = tirx.LE(row.tir(), tirx.const(g.rows - t.mr, "int32"))
            scope.statements.append(
                tirx.IfThenElse(fits, sequence(whole.statements), sequence(last.statements))
            )

    def _whole_group(self, scope: Scope, to: Any, at: tuple[Ix, Ix], base: Ix) -> None:
        g, t, program = self.g, self.t, self.program
        b, row = at
        size = _power_of_two(t.mr, t.lanes)
        whole = g.depth // size * size
        along = size >= SMALLEST_BLOCK and whole > 0
        along = along and runs_along_depth(program, lambda s, k, m: g.left(s, Ix(0), m, k))
        if along:
            k, i = program.loop_variable("k", whole // size), program.loop_variable("i", t.mr // size)
            inner = scope.inside(k, i)
            transpose_block(
                inner,
                size,
                lambda block, m, lane: g.left(block, b, row + i * size + m, k * size + lane),
                lambda n: (to, base + k * (size * t.mr) + i * size + n * t.mr),
            )
            scope.statements.append(loop(k, whole // size, [loop(i, t.mr // size, inner.statements)]))
        first = whole if along else 0
        if first < g.depth:
            k = program.loop_variable("k", g.depth - first)
            over_k = scope.inside(k)

            def element(inner: Scope, i: Ix, _: Any) -> None:
                expr = g.left(inner, b, row + i, k + first)
                inner.store(to, base + k * t.mr + first * t.mr + i, expr, "float32")

            across(over_k, t.mr, size if size > 1 else t.mr, element)
            scope.statements.append(loop(k, g.depth - first, over_k.statements))

    def _last_group(self, scope: Scope, to: Any, at: tuple[Ix, Ix], base: Ix) -> None:
        g, t, program = self.g, self.t, self.program
        b, row = at
        k, i = program.loop_variable("k", g.depth), program.loop_variable("i", t.mr)
        over_k = scope.inside(k)
        inner = over_k.inside(i)
        last = tirx.min((row + i).tir(), tirx.const(g.rows - 1, "int32"))
        inner.store(to, base + k * t.mr + i, g.left(inner, b, Ix(last, (row + i).deps), k), "float32")
        over_k.statements.append(loop(i, t.mr, inner.statements))
        scope.statements.append(loop(k, g.depth, over_k.statements))


def _power_of_two(number: int, most: int) -> int:
    """The largest power of two, at most `most`, that divides a number."""
    return min(number & -number, most)
