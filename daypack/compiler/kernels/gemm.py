# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownLambdaType=false, reportArgumentType=false
"""Matrix products: one register-tiled schedule for every contraction of a step.

A tile of the grid is (batch, block of rows, panel of columns). It packs its panel of the right operand
into scratch (depth × width, contiguous), then for each group of `mr` rows accumulates a register tile over
the whole depth and stores it through the epilogue. The left operand is read in place where its rows are
affine in (m, k); else it is packed first. Each output has one accumulator that adds products in ascending k:
depth blocks only decide when it rests in memory, never the order, so blocking, tiles and threads leave the
bits alone.

Structure after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008), without
their packing of the left operand where it is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph
from daypack.compiler.kernels.contraction import Geometry, geometry
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Ix, flatten
from daypack.compiler.kernels.loops import (
    KernelCode,
    Phase,
    PhaseCode,
    across,
    loop,
    scratch_buffer,
    sequence,
)
from daypack.compiler.kernels.packing import Packer, Probe
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.tiling import Size, Tiling, choose_tiling
from daypack.errors import NoKernel

ACCUMULATORS = 24
"""Vector registers that a register tile takes at most."""


def gemm(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a group around one contraction, and perhaps a shallow one of the same result's shape.

    Raises:
        NoKernel: operands that are not float32.
    """
    program = Program(body)
    contractions = [n for n in body.nodes if n.op in ops.CONTRACTIONS]
    for node in contractions:
        if any(v.dtype != "float32" for v in (*node.inputs, node.output)):
            kinds = ", ".join(v.dtype for v in node.inputs)
            raise NoKernel(f"{node.op} of {kinds} has no kernel: only float32 products do")
    for number, item in enumerate(body.inputs):
        program.argument(item.value, f"in{number}")
    outputs = [program.argument(out.value, f"out{number}") for number, out in enumerate(body.outputs)]
    (node, g), *rest = sorted(
        ((n, geometry(n, program.arithmetic)) for n in contractions), key=lambda pair: -pair[1].depth
    )
    strides = affine_left(program, g)
    size = Size(g.batch, g.rows, g.columns, g.depth, strides is not None)
    tiling = choose_tiling(size, target)
    phases: list[PhaseCode] = []
    workspace: tuple[int, ...] = ()
    packed = None
    if strides is None and not tiling.private:
        groups = -(-g.rows // tiling.mr)
        elements = g.batch * groups * tiling.mr * g.depth
        packed = program.buffer("packed", elements, "float32")
        workspace = (elements * 4,)
        phases.append(_pack_left(program, g, tiling, packed))
    side = Side(program, *rest[0], tiling) if rest else None
    product = Product(program, node, g, tiling, strides, packed, outputs, side)
    phases.append(product.phase())
    schedule = f"gemm {size.name}, {tiling.name}" + (f", and depth {side.g.depth}" if side else "")
    return KernelCode(
        tuple(phases), workspace, product.scratch_elements * 4, in_place=True, schedule=schedule
    )


def affine_left(program: Program, g: Geometry) -> tuple[Any, int, int] | None:
    """(buffer, row stride, depth stride) when the left operand is one load, affine in m and k; else None."""
    from tvm import sym
    from tvm.ir import Range

    analyzer = sym.Analyzer()
    b, m, k = (program.loop_variable(n, e) for n, e in (("b", g.batch), ("m", g.rows), ("k", g.depth)))
    for var, extent in ((b, g.batch), (m, g.rows), (k, g.depth)):
        analyzer.bind(var.expr, Range(0, extent))
    general = _left_load(program, g, b, m, k)
    if general is None:
        return None
    buffer, flat = general
    origin = left_offset(program, g, b, Ix(0), Ix(0))
    strides: list[int] = []
    for extent, one in ((g.rows, (Ix(1), Ix(0))), (g.depth, (Ix(0), Ix(1)))):
        if extent == 1:
            strides.append(0)
            continue
        step = analyzer.canonical_simplify(left_offset(program, g, b, *one).tir() - origin.tir())
        if not isinstance(step, tirx.IntImm):
            return None
        strides.append(int(step.value))
    affine = origin.tir() + m.expr * strides[0] + k.expr * strides[1]
    if not analyzer.can_prove_equal(flat.tir(), affine):
        return None
    return buffer, strides[0], strides[1]


def _left_load(program: Program, g: Geometry, b: Ix, m: Ix, k: Ix) -> tuple[Any, Ix] | None:
    """(buffer, offset) when an element of the left operand is one plain load."""
    probe = Probe(program)
    g.left(probe, b, m, k)
    return probe.loads[0] if len(probe.loads) == 1 and len(probe.statements) == 1 else None


def left_offset(program: Program, g: Geometry, b: Ix, m: Ix, k: Ix) -> Ix:
    found = _left_load(program, g, b, m, k)
    return found[1] if found else Ix(0)


def _pack_left(program: Program, g: Geometry, t: Tiling, packed: Any) -> PhaseCode:
    """The left operand as (batch, group of rows, depth, rows of the group)."""
    groups = -(-g.rows // t.mr)
    phase = Phase(program, g.batch * groups)
    b = program.arithmetic.div(phase.tile, groups)
    group = program.arithmetic.mod(phase.tile, groups)
    base = phase.tile * (t.mr * g.depth)
    Packer(program, g, t).group(phase.scope, packed, (b, group * t.mr), base)
    return PhaseCode(phase.finish(), phase.tiles)


@dataclass(frozen=True, slots=True)
class Side:
    """A shallow product with the result's shape (a low-rank adapter): a second register tile, made when the
    first is done, for the epilogue to read.
    """

    program: Program
    node: Node
    g: Geometry
    t: Tiling

    def tile(self, phase: Phase, scope: Scope, at: tuple[Ix, Ix], panel: Any, base: int) -> Any:
        """The product at (batch, row) `at` of the panel packed at `base`, on the stack."""
        t = self.t
        tile = phase.local(t.mr * t.nr)
        parts = -(-t.mr * t.vectors // ACCUMULATORS)
        rows = -(-t.mr // parts)
        for first in range(0, t.mr, rows):
            self._rows(scope, tile, at, panel, base, range(first, min(first + rows, t.mr)))
        return tile

    def _rows(self, scope: Scope, tile: Any, at: tuple[Ix, Ix], panel: Any, base: int, rows: range) -> None:
        g, t, program = self.g, self.t, self.program
        b, row = at
        accumulators = tirx.decl_buffer((len(rows) * t.nr,), "float32", program.fresh("acc"), scope="local")
        scope.statements.append(tirx.AllocBuffer(accumulators))
        vectors = [n * t.lanes for n in range(len(rows) * t.vectors)]

        def each(
            outer: Scope, to: Any, value: Callable[[Ix], Any], places: Iterable[int], shift: int
        ) -> None:
            for place in places:
                lane = program.loop_variable("l", t.lanes)
                store = tirx.BufferStore(to, value(lane + place), [(lane + (place + shift)).tir()])
                outer.statements.append(loop(lane, t.lanes, [store], tirx.ForKind.VECTORIZED))

        each(scope, accumulators, lambda _: tirx.const(0.0, "float32"), vectors, 0)
        k = program.loop_variable("k", g.depth)
        inner = scope.inside(k)
        for i, offset in enumerate(rows):
            at_row = row + offset
            if g.rows % t.mr:
                at_row = Ix(tirx.min(at_row.tir(), tirx.const(g.rows - 1, "int32")), at_row.deps)
            scalar = g.left(inner, b, at_row, k)

            def added(place: Ix, scalar: Any = scalar, first: int = i * t.nr) -> Any:
                right = tirx.BufferLoad(panel, [(k * t.nr + place + (base - first)).tir()])
                return tirx.BufferLoad(accumulators, [place.tir()]) + scalar * right

            each(inner, accumulators, added, vectors[i * t.vectors : (i + 1) * t.vectors], 0)
        scope.statements.append(loop(k, g.depth, inner.statements))
        done = rows.start * t.nr
        each(scope, tile, lambda place: tirx.BufferLoad(accumulators, [place.tir()]), vectors, done)


@dataclass(slots=True)
class Product:
    """Emits the phase that multiplies."""

    program: Program
    node: Node
    g: Geometry
    t: Tiling
    strides: tuple[Any, int, int] | None
    packed: Any
    outputs: list[Any]
    side: Side | None
    scratch: tuple[Any, ...] = ()

    @property
    def blocks(self) -> int:
        """How many blocks the depth is cut into."""
        return -(-self.g.depth // self.t.depth)

    @property
    def panel_elements(self) -> int:
        return self.t.depth * self.t.nr

    @property
    def left_elements(self) -> int:
        return self.t.block * self.g.depth if self.t.private else 0

    @property
    def rest_elements(self) -> int:
        """Accumulators at rest between depth blocks."""
        return self.t.block * self.t.nr if self.blocks > 1 else 0

    @property
    def scratch_elements(self) -> int:
        side = self.side.g.depth * self.t.nr if self.side else 0
        return self.side_base + side

    @property
    def side_base(self) -> int:
        """Where the panel of the shallow product begins."""
        return self.panel_elements + self.left_elements + self.rest_elements

    def phase(self) -> PhaseCode:
        g, t, program = self.g, self.t, self.program
        panels = -(-g.columns // t.nr)
        row_blocks = -(-g.rows // t.block)
        phase = Phase(program, g.batch * panels * row_blocks)
        self.scratch = self._scratch()
        arithmetic = program.arithmetic
        b = arithmetic.div(phase.tile, panels * row_blocks)
        panel = arithmetic.mod(arithmetic.div(phase.tile, row_blocks), panels)
        first_row = arithmetic.mod(phase.tile, row_blocks) * t.block
        scope = phase.scope
        groups = -(-min(t.block, g.rows) // t.mr)
        if self.t.private:
            self._pack_private(scope, b, first_row, groups)
        if self.side:
            side, to = self.side, self.scratch[1]
            pack = Packer(program, side.g, t).panel
            self._full_or_last(
                scope,
                panel,
                g.columns % t.nr,
                lambda outer, width: pack(outer, to, (b, panel), 0, side.g.depth, width, self.side_base),
            )
        for block in range(self.blocks):
            depth = min(t.depth, g.depth - block * t.depth)
            self._pack_right(scope, b, panel, block * t.depth, depth)
            group = program.loop_variable("g", groups)
            inner = scope.inside(group)
            row = first_row + group * t.mr
            self._register_tile(phase, inner, b, panel, row, group, block, depth)
            count: Any = groups
            if g.rows % t.block:
                left = tirx.const(g.rows, "int32") - first_row.tir()
                available = tirx.floordiv(left + tirx.const(t.mr - 1, "int32"), tirx.const(t.mr, "int32"))
                count = tirx.min(tirx.const(groups, "int32"), available)
            scope.statements.append(loop(group, count, inner.statements))
        return PhaseCode(phase.finish(scratch=self.scratch), phase.tiles)

    def _scratch(self) -> tuple[Any, ...]:
        """(pointer, views of it) of the memory private to a thread."""
        return scratch_buffer(self.scratch_elements)

    def _pack_private(self, scope: Scope, b: Ix, first_row: Ix, groups: int) -> None:
        group = self.program.loop_variable("p", groups)
        inner = scope.inside(group)
        base = group * (self.t.mr * self.g.depth) + self.panel_elements
        row = first_row + group * self.t.mr
        Packer(self.program, self.g, self.t).group(inner, self.scratch[1], (b, row), base)
        scope.statements.append(loop(group, groups, inner.statements))

    def _pack_right(self, scope: Scope, b: Ix, panel: Ix, start: int, depth: int) -> None:
        packer, to = Packer(self.program, self.g, self.t), self.scratch[1]
        self._full_or_last(
            scope,
            panel,
            self.g.columns % self.t.nr,
            lambda outer, width: packer.panel(outer, to, (b, panel), start, depth, width),
        )

    def _full_or_last(self, scope: Scope, panel: Ix, rest: int, emit: Any) -> None:
        """`emit(scope, width)` for whole panels and, where the last is narrower, for it."""
        panels = -(-self.g.columns // self.t.nr)
        if rest == 0:
            emit(scope, self.t.nr)
        elif panels == 1:
            emit(scope, rest)
        else:
            full, last = scope.inside(), scope.inside()
            emit(full, self.t.nr)
            emit(last, rest)
            whole = tirx.LT(panel.tir(), tirx.const(panels - 1, "int32"))
            scope.statements.append(
                tirx.IfThenElse(whole, sequence(full.statements), sequence(last.statements))
            )

    def _register_tile(
        self, phase: Phase, scope: Scope, b: Ix, panel: Ix, row: Ix, group: Ix, block: int, depth: int
    ) -> None:
        t = self.t
        accumulators = tirx.decl_buffer((t.mr * t.nr,), "float32", self.program.fresh("acc"), scope="local")
        scope.statements.append(tirx.AllocBuffer(accumulators))
        rest_base = group * (t.mr * t.nr) + (self.panel_elements + self.left_elements)
        self._each_vector(scope, lambda at: self._start(accumulators, at, rest_base, block))
        offsets = self._left_offsets(scope, b, row, group, block * t.depth)
        whole, tail = divmod(depth, t.unroll)
        if whole:
            k = self.program.loop_variable("k", whole)
            steps: list[Any] = []
            for u in range(t.unroll):
                steps += self._step(accumulators, offsets, k * t.unroll + u)
            scope.statements.append(loop(k, whole, steps))
        for u in range(tail):
            scope.statements += self._step(accumulators, offsets, Ix(whole * t.unroll + u))
        if block + 1 < self.blocks:
            self._each_vector(scope, lambda at: self._rest(accumulators, at, rest_base))
        else:
            self._store_tile(phase, scope, accumulators, b, panel, row)

    def _each_vector(self, scope: Scope, statement: Any) -> None:
        """One vector statement for each vector of the register tile."""
        t = self.t
        for number in range(t.mr * t.vectors):
            lane = self.program.loop_variable("l", t.lanes)
            scope.statements.append(self._vector(lane, [statement(lane + number * t.lanes)]))

    def _vector(self, lane: Ix, statements: list[Any]) -> Any:
        kind = tirx.ForKind.VECTORIZED if self.t.lanes > 1 else tirx.ForKind.SERIAL
        return loop(lane, self.t.lanes, statements, kind)

    def _start(self, accumulators: Any, at: Ix, base: Ix, block: int) -> Any:
        value = (
            tirx.const(0.0, "float32")
            if block == 0
            else tirx.BufferLoad(self.scratch[1], [(base + at).tir()])
        )
        return tirx.BufferStore(accumulators, value, [at.tir()])

    def _rest(self, accumulators: Any, at: Ix, base: Ix) -> Any:
        return tirx.BufferStore(
            self.scratch[1], tirx.BufferLoad(accumulators, [at.tir()]), [(base + at).tir()]
        )

    def _left_offsets(self, scope: Scope, b: Ix, row: Ix, group: Ix, start: int) -> tuple[Any, list[Ix], int]:
        """(buffer, position of each row at k = 0, step per k) of the left operand."""
        t, g = self.t, self.g
        if self.strides is None:
            if t.private:
                base = group * (t.mr * g.depth) + self.panel_elements
                buffer = self.scratch[1]
            else:
                groups = -(-g.rows // t.mr)
                number = b * groups + self.program.arithmetic.div(row, t.mr)
                base, buffer = number * (t.mr * g.depth), self.packed
            return buffer, [base + (start * t.mr + i) for i in range(t.mr)], t.mr
        buffer, row_stride, depth_stride = self.strides
        origin = left_offset(self.program, g, b, Ix(0), Ix(0))
        offsets: list[Ix] = []
        for i in range(t.mr):
            at = row + i
            if g.rows % t.mr:
                at = Ix(tirx.min(at.tir(), tirx.const(g.rows - 1, "int32")), at.deps)
            offset = origin + at * row_stride + start * depth_stride
            offsets.append(Ix(scope.name(offset.tir()), offset.deps))
        return buffer, offsets, depth_stride

    def _step(self, accumulators: Any, left: tuple[Any, list[Ix], int], k: Ix) -> list[Any]:
        """One step of the reduction: a rank-one update of the register tile."""
        t, program = self.t, self.program
        buffer, offsets, stride = left
        statements: list[Any] = []
        panel: list[Any] = []
        for v in range(t.vectors):
            lane = program.loop_variable("l", t.lanes)
            at = k * t.nr + lane + v * t.lanes
            panel.append((lane, at))
        for i in range(t.mr):
            scalar = tirx.Var(program.fresh("a"), "float32")
            position = offsets[i] + k * stride
            statements.append(tirx.Bind(scalar, tirx.BufferLoad(buffer, [position.tir()])))
            for v in range(t.vectors):
                lane = program.loop_variable("l", t.lanes)
                right = tirx.BufferLoad(self.scratch[1], [(k * t.nr + lane + v * t.lanes).tir()])
                at = [(lane + (i * t.nr + v * t.lanes)).tir()]
                total = tirx.BufferLoad(accumulators, at) + scalar * right
                statements.append(self._vector(lane, [tirx.BufferStore(accumulators, total, at)]))
        return statements

    def _store_tile(self, phase: Phase, scope: Scope, accumulators: Any, b: Ix, panel: Ix, row: Ix) -> None:
        """Copy the registers to the stack, then run the epilogue over the rows and columns that exist."""
        t = self.t
        tile = phase.local(t.mr * t.nr)
        self._each_vector(
            scope, lambda at: tirx.BufferStore(tile, tirx.BufferLoad(accumulators, [at.tir()]), [at.tir()])
        )
        self._store_results(phase, scope, tile, b, panel, row)

    def _finished(self, element: Any, b: Ix, row: Ix, column: Ix) -> Any:
        """An element of the result from that of its tile; `column` counts within the panel."""
        return element

    def _store_results(self, phase: Phase, scope: Scope, tile: Any, b: Ix, panel: Ix, row: Ix) -> None:
        """Run the epilogue over a tile on the stack."""
        g, t, program = self.g, self.t, self.program
        tiles = {self.node.output.id: tile}
        if self.side:
            tiles[self.side.node.output.id] = self.side.tile(
                phase, scope, (b, row), self.scratch[1], self.side_base
            )

        def store(outer: Scope, width: int) -> None:
            i = program.loop_variable("i", t.mr)
            over_rows = outer.inside(i)

            def element(inner: Scope, column: Ix, _: Any) -> None:
                for value, held in tiles.items():
                    element = tirx.BufferLoad(held, [(i * t.nr + column).tir()])
                    if value == self.node.output.id:
                        element = self._finished(element, b, row + i, column)
                    name = inner.name(element)
                    inner.bound[value] = lambda index, name=name: name
                index = g.result(b, row + i, panel * t.nr + column)
                shape = self.node.output.shape
                results: list[Any] = []
                for (
                    out
                ) in program.body.outputs:  # all read before any is written: an output may lie on an input
                    same = out.value.shape == shape
                    own = index if same else program.arithmetic.reshape(index, shape, out.value.shape)
                    results.append(inner.value(out.value, own))
                for out, buffer, result in zip(program.body.outputs, self.outputs, results, strict=True):
                    inner.store(buffer, flatten(index, shape), result, out.value.dtype)

            across(over_rows, width, t.lanes, element)
            count: Any = t.mr
            if g.rows % t.mr:
                left = tirx.const(g.rows, "int32") - row.tir()
                count = tirx.min(tirx.const(t.mr, "int32"), left)
            outer.statements.append(loop(i, count, over_rows.statements))

        self._full_or_last(scope, panel, g.columns % t.nr, store)
