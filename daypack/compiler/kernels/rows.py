# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""Row kernels: softmax, norms and their derivatives as one kernel a row.

The group's arrays are full (rows × columns) or one number a row. Reductions over the columns split the work
into stages: stage 0 needs only inputs, stage s+1 the reductions of stage s. Each stage is one loop over the
row, which is in cache after the first; a costly intermediate of one stage (an exponential) is kept in scratch
for the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx

from daypack.compiler import ops
from daypack.compiler.graph import Node, StepGraph, Value
from daypack.compiler.kernels.emit import Program, Scope
from daypack.compiler.kernels.index import Index, Ix, flatten
from daypack.compiler.kernels.loops import (
    KernelCode,
    Phase,
    PhaseCode,
    across,
    lanes_of,
    loop,
    scratch_buffer,
)
from daypack.compiler.kernels.partials import (
    PARTIALS,
    accumulate_dtype,
    across_partials,
    combine,
    fill,
    reduction_of,
)
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.types import rounded

TILE_ELEMENTS = 8192
COSTLY = frozenset(
    ("exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "sin", "cos", "pow", "sqrt", "rsqrt")
)
"""Operations whose float32 result is kept for a later stage instead of computed again."""


@dataclass(slots=True)
class _Stages:
    """Which loop computes what."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    level: dict[int, int] = field(default_factory=dict[int, int])  # value id → stage from which it is known

    @property
    def width(self) -> int:
        return math.prod(self.columns)


def row_domain(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(row shape, column shape) of a reduction over trailing axes; None for other reductions."""
    shape = node.inputs[0].shape
    kept = len(shape) - len(node.attrs["axes"])
    if tuple(sorted(node.attrs["axes"])) != tuple(range(kept, len(shape))):
        return None
    return shape[:kept], shape[kept:]


def rows(body: StepGraph, target: KernelTarget) -> KernelCode:
    """The kernel of a group whose reductions all run over the same trailing axes."""
    program = Program(body)
    buffers = {out.value.id: buffer for out, buffer in zip(body.outputs, program.arguments(), strict=True)}
    domain = next(d for node in body.nodes if node.op in ops.REDUCTIONS and (d := row_domain(node)))
    stages = _levels(body, *domain)
    cached = _cached(body, stages)
    total = math.prod(stages.rows)
    step = max(1, min(TILE_ELEMENTS // max(stages.width, 1), -(-total // 8)))
    phase = Phase(program, -(-total // step))
    scratch = scratch_buffer(max(len(cached), 1) * stages.width) if cached else None
    lanes = lanes_of(program, target)
    row_loop = program.loop_variable("r", step)
    row = phase.tile * step + row_loop if step > 1 else phase.tile
    scope = phase.scope.inside(row_loop) if step > 1 else phase.scope
    _Row(program, phase, stages, buffers, cached, scratch, lanes, row).emit(scope)
    if step > 1:
        left = tirx.const(total, "int32") - (phase.tile * step).tir()
        count = step if total % step == 0 else tirx.min(tirx.const(step, "int32"), left)
        phase.scope.statements.append(loop(row_loop, count, scope.statements))
    code = PhaseCode(phase.finish(scratch=scratch), phase.tiles)
    return KernelCode((code,), scratch_bytes=len(cached) * stages.width * 4, in_place=False)


def _levels(body: StepGraph, row_shape: tuple[int, ...], column_shape: tuple[int, ...]) -> _Stages:
    stages = _Stages(row_shape, column_shape)
    for item in body.inputs:
        stages.level[item.value.id] = 0
    for node in body.nodes:
        level = max((stages.level[v.id] for v in node.inputs), default=0)
        if node.op in ops.REDUCTIONS:
            level += 1
        stages.level.update((v.id, level) for v in node.outputs)
    return stages


def _is_full(value: Value, stages: _Stages) -> bool:
    return stages.width > 1 and value.elements == math.prod(stages.rows) * stages.width


def _targets(body: StepGraph, stages: _Stages, level: int) -> list[Value]:
    """The full values that the loop of a stage must have: operands of its reductions, its full outputs."""
    wanted = [
        n.inputs[0] for n in body.nodes if n.op in ops.REDUCTIONS and stages.level[n.output.id] == level + 1
    ]
    wanted += [
        o.value for o in body.outputs if _is_full(o.value, stages) and stages.level[o.value.id] == level
    ]
    return wanted


def _cached(body: StepGraph, stages: _Stages) -> dict[int, int]:
    """Costly full values that more than one stage needs → their place in scratch."""
    producers = body.producers()
    uses: dict[int, set[int]] = {}
    for level in range(max(stages.level.values()) + 1):
        pending = list(_targets(body, stages, level))
        seen: set[int] = set()
        while pending:
            value = pending.pop()
            node = producers.get(value.id)
            if node is None or value.id in seen or node.op in ops.REDUCTIONS:
                continue
            seen.add(value.id)
            uses.setdefault(value.id, set()).add(level)
            pending.extend(node.inputs)
    kept: dict[int, int] = {}
    for node in body.nodes:
        for value in node.outputs:
            costly = node.op in COSTLY and value.dtype == "float32" and _is_full(value, stages)
            if costly and len(uses.get(value.id, ())) > 1:
                kept[value.id] = len(kept)
    return kept


@dataclass(slots=True)
class _Row:
    """Emits the stages of one row."""

    program: Program
    phase: Phase
    stages: _Stages
    buffers: dict[int, Any]
    cached: dict[int, int]
    scratch: Any
    lanes: int
    row: Ix

    def emit(self, scope: Scope) -> None:
        for level in range(max(self.stages.level.values()) + 1):
            self._stage(scope, level)
        self._store_row_values(scope)

    def _stage(self, scope: Scope, level: int) -> None:
        body, stages = self.program.body, self.stages
        reductions = [
            n for n in body.nodes if n.op in ops.REDUCTIONS and stages.level[n.output.id] == level + 1
        ]
        outputs = [
            o.value for o in body.outputs if _is_full(o.value, stages) and stages.level[o.value.id] == level
        ]
        if not reductions and not outputs:
            return
        plans = [(n, reduction_of(n.op, n.inputs[0].dtype)) for n in reductions]
        partials = [self.phase.local(PARTIALS, plan.dtype) for _, plan in plans]
        for (_, plan), local in zip(plans, partials, strict=True):
            fill(scope, local, plan, self.lanes)

        def element(inner: Scope, column: Ix, partial: Ix | None) -> None:
            position = self.row * stages.width + column
            for (node, plan), local in zip(plans, partials, strict=True):
                expr = accumulate_dtype(
                    inner.value(node.inputs[0], self._index(node.inputs[0], column)), plan
                )
                at = [partial.tir()] if partial else []
                together = plan.combine(tirx.BufferLoad(local, at), expr)
                inner.statements.append(tirx.BufferStore(local, together, at))
            for value in outputs:
                expr = inner.value(value, self._index(value, column))
                inner.store(self.buffers[value.id], position, expr, value.dtype)
            self._keep(inner, column, level)

        if plans:
            across_partials(scope, stages.width, self.lanes, element, Ix(0))
        else:
            across(scope, stages.width, self.lanes, lambda s, c, _: element(s, c, None))
        for (node, plan), local in zip(plans, partials, strict=True):
            result = combine(scope, local, plan, self.lanes)
            if node.output.dtype == "bool":
                result = tirx.NE(result, tirx.const(0, "int32"))
            scope.bound[node.output.id] = _always(rounded(result, node.output.dtype))
        self._read_back(scope, level)

    def _index(self, value: Value, column: Ix) -> Index:
        arithmetic, stages = self.program.arithmetic, self.stages
        shape = (*stages.rows, *stages.columns)
        index = (*arithmetic.unflatten(self.row, stages.rows), *arithmetic.unflatten(column, stages.columns))
        return index if value.shape == shape else arithmetic.reshape(index, shape, value.shape)

    def _keep(self, inner: Scope, column: Ix, level: int) -> None:
        """Save costly values first computed in this stage's loop."""
        for value_id, place in self.cached.items():
            node = self.program.producers[value_id]
            value = next(v for v in node.outputs if v.id == value_id)
            known = self.stages.level[value_id]
            if known != level or value_id in inner.bound:
                continue
            expr = inner.value(value, self._index(value, column))
            inner.store(self.scratch[1], column + place * self.stages.width, expr, "float32")

    def _read_back(self, scope: Scope, level: int) -> None:
        """Later stages read the saved values instead of computing them again."""
        for value_id, place in self.cached.items():
            if self.stages.level[value_id] == level:
                scope.bound[value_id] = self._saved(value_id, place, scope)

    def _saved(self, value_id: int, place: int, scope: Scope) -> Callable[[Index], Any]:
        node = self.program.producers[value_id]
        value = next(v for v in node.outputs if v.id == value_id)
        rank = len(self.stages.rows)

        def access(index: Index) -> Any:
            full = self.program.arithmetic.reshape(
                index, value.shape, (*self.stages.rows, *self.stages.columns)
            )
            column = flatten(full[rank:], self.stages.columns)
            return tirx.BufferLoad(self.scratch[1], [(column + place * self.stages.width).tir()])

        return access

    def _store_row_values(self, scope: Scope) -> None:
        """Outputs that hold one number a row."""
        for out in self.program.body.outputs:
            value = out.value
            if _is_full(value, self.stages):
                continue
            shape = self.stages.rows
            index = self.program.arithmetic.reshape(
                self.program.arithmetic.unflatten(self.row, shape), shape, value.shape
            )
            scope.store(self.buffers[value.id], self.row, scope.value(value, index), value.dtype)


def _always(expr: Any) -> Callable[[Index], Any]:
    return lambda index: expr
