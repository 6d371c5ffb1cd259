# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Matrix products in float16 arithmetic, added up in float32: the law is in `reference/half.py`.

Structured as `gemm.py`, with both operands packed to float16 and a register tile of float16 vectors, eight
products an instruction. Every BLOCK steps of the reduction the register tile is added to one of float32 on
the stack. Depth blocks are multiples of BLOCK, so that tiles and threads leave the bits alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from daypack.compiler import ops
from daypack.compiler.graph import StepGraph
from daypack.compiler.kernels.contraction import Geometry, geometry
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.gemm import Product, Side
from daypack.compiler.kernels.half_operands import LANES, HalfOperand, ramp
from daypack.compiler.kernels.half_steps import held_dtype, multiply_add, widened
from daypack.compiler.kernels.index import Ix
from daypack.compiler.kernels.loops import KernelCode, Phase, PhaseCode, loop, scratch_buffer
from daypack.compiler.kernels.packing import Packer
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.tiling import MOST_BLOCKS, Size, Tiling, modelled
from daypack.compiler.reference.half import BLOCK

ROWS, VECTORS = 8, 3
"""The register tile: rows, and vectors of 8 a row."""
UNROLL = 8
STAGE = 2048
"""Steps of the reduction of the left operand that are packed before they are rounded."""


def is_half(body: StepGraph) -> bool:
    """Whether a body's main product is in float16."""
    return any(node.attrs.get("arithmetic") == "float16" for node in body.nodes)


def half_gemm(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a group around one contraction in float16, and perhaps a shallow one in float32."""
    program = Program(body)
    for number, item in enumerate(body.inputs):
        program.argument(item.value, f"in{number}")
    outputs = [program.argument(out.value, f"out{number}") for number, out in enumerate(body.outputs)]
    contractions = [n for n in body.nodes if n.op in ops.CONTRACTIONS]
    (node, g), *rest = sorted(
        ((n, geometry(n, program.arithmetic)) for n in contractions), key=lambda pair: -pair[1].depth
    )
    t = _tiling(Size(g.batch, g.rows, g.columns, g.depth, direct=False), target)
    groups = g.batch * -(-g.rows // ROWS)
    packed = program.buffer("packed", groups * ROWS * g.depth, "float16")
    inverses = program.buffer("inverses", groups * ROWS, "float32")
    first, left_scratch = _pack_left(program, g, t, packed, inverses)
    side = Side(program, *rest[0], t) if rest else None
    product = HalfProduct(program, node, g, t, None, packed, outputs, side)
    product.native, product.inverses = target.half, inverses
    scratch = max(left_scratch, product.scratch_elements) * 4
    schedule = f"half gemm {g.batch}x{g.rows}x{g.columns}x{g.depth}, {t.name}"
    schedule += f", and depth {side.g.depth}" if side else ""
    workspace = (groups * ROWS * g.depth * 2, groups * ROWS * 4)
    return KernelCode((first, product.phase()), workspace, scratch, in_place=True, schedule=schedule)


def _tiling(size: Size, target: KernelTarget) -> Tiling:
    """As for float32, by the time of vectors of 8; the result's vectors are float32's, two for each."""
    vectors = min(VECTORS, -(-size.columns // LANES))
    most = max(BLOCK, target.l2_bytes * 3 // 4 // (6 * vectors * LANES) // BLOCK * BLOCK)
    blocks = -(-size.depth // most)
    depth = size.depth if blocks == 1 else -(-size.depth // (blocks * BLOCK)) * BLOCK
    groups = -(-size.rows // ROWS)
    cuts = sorted({-(-groups // n) for n in range(1, MOST_BLOCKS + 1)}, reverse=True)
    tilings = [Tiling(ROWS, vectors, LANES, depth, cut * ROWS, BLOCK, private=False) for cut in cuts]
    best = min(tilings, key=lambda tiling: modelled(size, tiling))
    return replace(best, vectors=2 * vectors, lanes=LANES // 2)


def _pack_left(program: Program, g: Geometry, t: Tiling, packed: Any, inverses: Any) -> tuple[PhaseCode, int]:
    """The left operand as (batch, group of rows, depth, rows of the group); the scratch's elements."""
    groups = -(-g.rows // ROWS)
    phase = Phase(program, g.batch * groups)
    scope, depth = phase.scope, min(g.depth, STAGE)
    scratch = scratch_buffer((depth + 1) * ROWS)
    b, group = program.arithmetic.div(phase.tile, groups), program.arithmetic.mod(phase.tile, groups)
    scale = (scratch[1], Ix(depth * ROWS))
    operand = HalfOperand(program, ROWS, (scratch[1], Ix(0)), scale, (inverses, phase.tile * ROWS))
    starts = range(0, g.depth, depth)

    def stage(start: int) -> int:
        def left(inner: Scope, batch: Ix, m: Ix, k: Ix) -> Any:
            return g.left(inner, batch, m, k + start)

        part = replace(g, depth=min(depth, g.depth - start), left=left)
        Packer(program, part, t).group(scope, scratch[1], (b, group * ROWS), Ix(0))
        return part.depth

    found = operand.maxima(scope)
    for start in starts:
        operand.measure(scope, found, stage(start))
    operand.set_scales(scope, found)
    for start in starts:
        count = stage(start) if len(starts) > 1 else g.depth
        operand.convert(scope, (packed, phase.tile * (ROWS * g.depth) + start * ROWS), count)
    return PhaseCode(phase.finish(scratch=scratch), phase.tiles), (depth + 1) * ROWS


@dataclass
class HalfProduct(Product):
    """Emits the phase that multiplies; `t` counts float32 vectors of 4."""

    native: bool = True
    inverses: Any = None

    @property
    def panel_elements(self) -> int:
        """The panel in float32, in float16, and two numbers a column."""
        return self.figures_base + 2 * self.t.nr

    @property
    def halves_base(self) -> int:
        """Where the float16 panel begins."""
        return self.t.depth * self.t.nr

    @property
    def figures_base(self) -> int:
        """Where the scales of the columns begin, and after them their inverses."""
        return self.halves_base + self.t.depth * self.t.nr // 2

    def _scratch(self) -> tuple[Any, ...]:
        pointer, wide = scratch_buffer(self.scratch_elements)
        halves = tirx.decl_buffer((2 * self.scratch_elements,), "float16", "halves", data=pointer)
        return pointer, wide, halves

    def _pack_right(self, scope: Scope, b: Ix, panel: Ix, start: int, depth: int) -> None:
        t, wide = self.t, self.scratch[1]
        figures = [(wide, Ix(self.figures_base + n * t.nr)) for n in range(2)]
        operand = HalfOperand(self.program, t.nr, (wide, Ix(0)), figures[0], figures[1])
        stage = super()._pack_right
        if start == 0:
            found = operand.maxima(scope)
            for first in range(0, self.g.depth, t.depth):
                count = min(t.depth, self.g.depth - first)
                stage(scope, b, panel, first, count)
                operand.measure(scope, found, count)
            operand.set_scales(scope, found)
        if self.blocks > 1:
            stage(scope, b, panel, start, depth)
        operand.convert(scope, (self.scratch[2], Ix(2 * self.halves_base)), depth)

    def _register_tile(
        self, phase: Phase, scope: Scope, b: Ix, panel: Ix, row: Ix, group: Ix, block: int, depth: int
    ) -> None:
        t, program = self.t, self.program
        total = phase.local(t.mr * t.nr)
        rest = (self.scratch[1], group * (t.mr * t.nr) + self.panel_elements)
        zero = tirx.Broadcast(tirx.const(0.0, "float32"), tirx.const(LANES, "int32"))
        for v in self._places():
            start = zero if block == 0 else tirx.BufferLoad(rest[0], [ramp(rest[1] + v)])
            scope.statements.append(tirx.BufferStore(total, start, [ramp(Ix(v))]))
        groups = -(-self.g.rows // t.mr)
        number = b * groups + program.arithmetic.div(row, t.mr)
        left = number * (t.mr * self.g.depth) + block * t.depth * t.mr
        whole, tail = divmod(depth, BLOCK)
        if whole:
            step = program.loop_variable("kb", whole)
            inner = scope.inside(step)
            self._block(inner, total, left, step * BLOCK, BLOCK)
            scope.statements.append(loop(step, whole, inner.statements))
        if tail:
            self._block(scope, total, left, Ix(whole * BLOCK), tail)
        if block + 1 < self.blocks:
            for v in self._places():
                held = tirx.BufferLoad(total, [ramp(Ix(v))])
                scope.statements.append(tirx.BufferStore(rest[0], held, [ramp(rest[1] + v)]))
        else:
            self._store_results(phase, scope, total, b, panel, row)

    def _places(self) -> range:
        """Where each vector of the register tile begins."""
        return range(0, self.t.mr * self.t.nr, LANES)

    def _block(self, scope: Scope, total: Any, left: Ix, start: Ix, depth: int) -> None:
        """At most BLOCK steps in float16, added to the float32 tile."""
        program = self.program
        dtype = held_dtype(self.native)
        accumulators = tirx.decl_buffer((self.t.mr * self.t.nr,), dtype, program.fresh("acc"), scope="local")
        scope.statements.append(tirx.AllocBuffer(accumulators))
        zero = tirx.Broadcast(tirx.const(0.0, dtype), tirx.const(LANES, "int32"))
        for v in self._places():
            scope.statements.append(tirx.BufferStore(accumulators, zero, [ramp(Ix(v))]))
        unroll = UNROLL if self.native else 1
        whole, tail = divmod(depth, unroll)
        if whole:
            k = program.loop_variable("k", whole)
            steps: list[Any] = []
            for u in range(unroll):
                steps += self._half_step(accumulators, left, start + k * unroll + u)
            scope.statements.append(loop(k, whole, steps))
        for u in range(tail):
            scope.statements += self._half_step(accumulators, left, start + (whole * unroll + u))
        for v in self._places():
            block = tirx.BufferLoad(accumulators, [ramp(Ix(v))])
            wide = tirx.Cast(f"float32x{LANES}", block) if self.native else block
            sums = tirx.BufferLoad(total, [ramp(Ix(v))]) + wide
            scope.statements.append(tirx.BufferStore(total, sums, [ramp(Ix(v))]))

    def _half_step(self, accumulators: Any, left: Ix, k: Ix) -> list[Any]:
        """One step of the reduction: a rank-one update of the float16 register tile."""
        t, program, vector = self.t, self.program, f"{held_dtype(self.native)}x{LANES}"
        statements: list[Any] = []

        def read(name: str, buffer: Any, offset: Ix) -> Any:
            var = tirx.Var(program.fresh(name), vector)
            statements.append(tirx.Bind(var, widened(tirx.BufferLoad(buffer, [ramp(offset)]), self.native)))
            return var

        rows = read("a", self.packed, left + k * t.mr)
        base = 2 * self.halves_base
        columns = [read("b", self.scratch[2], k * t.nr + (base + v)) for v in range(0, t.nr, LANES)]
        for i in range(t.mr):
            scalar = tirx.Shuffle([rows], [tirx.const(i, "int32")])
            for v, column in enumerate(columns):
                place = [ramp(Ix(i * t.nr + v * LANES))]
                row = tirx.Broadcast(scalar, tirx.const(LANES, "int32"))
                held = tirx.BufferLoad(accumulators, place)
                more, value = multiply_add(program, row, column, held, self.native)
                statements += [*more, tirx.BufferStore(accumulators, value, place)]
        return statements

    def _finished(self, element: Any, b: Ix, row: Ix, column: Ix) -> Any:
        groups = -(-self.g.rows // self.t.mr)
        of_row = tirx.BufferLoad(self.inverses, [(b * (groups * self.t.mr) + row).tir()])
        at = column + (self.figures_base + self.t.nr)
        return element * (of_row * tirx.BufferLoad(self.scratch[1], [at.tir()]))
