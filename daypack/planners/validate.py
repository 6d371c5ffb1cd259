"""The independent judge of plans and layouts: it walks them without cleverness and without planner code.

It reads `Problem`, `Plan`, `Buffer` and `Layout` as data and computes every rule and figure again by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from daypack.errors import DaypackError
from daypack.planners.layout import Buffer, Layout
from daypack.planners.plan import Op, Plan
from daypack.planners.problem import NodeKind, Problem


class Reason(StrEnum):
    """Why a plan or a layout is not valid."""

    UNKNOWN_VALUE = "unknown value"
    SOURCE_COMPUTED = "source computed"
    OPERAND_ABSENT = "operand absent"
    ALREADY_RESIDENT = "already resident"
    NOT_RESIDENT = "not resident"
    NOT_PAGEABLE = "not pageable"
    NOT_ON_FLASH = "not on flash"
    NEVER_COMPUTED = "never computed"
    COMPUTED_AGAIN = "computed again"
    KEPT_VALUE_LOST = "kept value lost"
    OVER_BUDGET = "over budget"
    WRONG_PEAK = "wrong peak"
    WRONG_COST = "wrong cost"
    WRONG_BOUND = "wrong bound"
    OVERLAP = "overlap"
    MISALIGNED = "misaligned"
    WRONG_TOTAL = "wrong total"
    WRONG_COUNT = "wrong count"


class InvalidPlan(DaypackError):
    """A plan or layout that breaks a rule; ``reason`` says which, the message says where."""

    def __init__(self, reason: Reason, where: str) -> None:
        self.reason = reason
        super().__init__(f"invalid plan: {reason.value}: {where}")


def validate_plan(problem: Problem, plan: Plan, memory_bytes: int) -> None:
    """Raise `InvalidPlan` at the first broken rule: each step, the end state, budget, peak, cost, bound."""
    walk = _Walk(problem, plan)
    for position, (op, value) in enumerate(plan.sequence):
        walk.step(position, op, value)
    walk.end()
    if walk.peak_bytes > memory_bytes:
        raise InvalidPlan(
            Reason.OVER_BUDGET, f"it needs {walk.peak_bytes} bytes, the budget is {memory_bytes}"
        )
    if plan.peak_bytes != walk.peak_bytes:
        raise InvalidPlan(Reason.WRONG_PEAK, f"it says {plan.peak_bytes} bytes, counted {walk.peak_bytes}")
    if not math.isclose(plan.cost, walk.cost, rel_tol=1e-9, abs_tol=1e-12):
        raise InvalidPlan(Reason.WRONG_COST, f"it says {plan.cost}, counted {walk.cost}")
    slack = 1e-9 * max(1.0, plan.cost)
    if plan.lower_bound_cost > plan.cost + slack:
        raise InvalidPlan(
            Reason.WRONG_BOUND, f"its bound {plan.lower_bound_cost} is above its cost {plan.cost}"
        )
    if plan.proven_optimal and plan.lower_bound_cost < plan.cost - slack:
        raise InvalidPlan(
            Reason.WRONG_BOUND, f"called optimal at {plan.cost} with a bound of {plan.lower_bound_cost}"
        )


class _Walk:
    """The state of memory and flash while a plan is walked."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem = problem
        self.cost = 0.0
        self.computed: set[int] = set()
        self.began_on_flash: set[int] = set()
        self.resident: set[int] = set()
        self.on_flash: set[int] = set()
        self.live_bytes = problem.fixed_bytes
        self._begin(plan)
        self.peak_bytes = self.live_bytes

    def _begin(self, plan: Plan) -> None:
        mentioned: set[int] = set()
        for op, value in plan.sequence:
            if value not in mentioned and op is Op.PAGE_IN:
                self.began_on_flash.add(value)
            mentioned.add(value)
        needed = set(self.problem.keep)
        for node in self.problem.nodes:
            needed.update(node.inputs)
            if node.overwrites is not None:
                needed.add(node.overwrites)
        for node in self.problem.nodes:
            if node.kind is NodeKind.SOURCE:
                if self._pageable(node.id):
                    self.on_flash.add(node.id)
                if node.id not in self.began_on_flash and node.id in needed:
                    self._enter(node.id)

    def _pageable(self, value: int) -> bool:
        return self.problem.paging is not None and value in self.problem.paging.pageable

    def _enter(self, value: int) -> None:
        self.resident.add(value)
        self.live_bytes += self.problem.nodes[value].size_bytes

    def _remove(self, value: int) -> None:
        self.resident.remove(value)
        self.live_bytes -= self.problem.nodes[value].size_bytes

    def step(self, position: int, op: Op, value: int) -> None:
        where = f"instruction {position}, {op.value} {value}"
        if not 0 <= value < len(self.problem.nodes):
            raise InvalidPlan(Reason.UNKNOWN_VALUE, f"{where}: there are {len(self.problem.nodes)} nodes")
        if op is Op.COMPUTE:
            self._compute(where, value)
        elif op is Op.PAGE_IN:
            self._page_in(where, value)
        elif op is Op.PAGE_OUT:
            self._page_out(where, value)
        else:
            self._leave(where, value)

    def _compute(self, where: str, value: int) -> None:
        node = self.problem.nodes[value]
        if node.kind is NodeKind.SOURCE:
            raise InvalidPlan(Reason.SOURCE_COMPUTED, f"{where}: {node.name!r} is a source")
        if value in self.resident:
            raise InvalidPlan(Reason.ALREADY_RESIDENT, where)
        if value in self.computed and value in self.problem.once:
            raise InvalidPlan(Reason.COMPUTED_AGAIN, f"{where}: {node.name!r} may be computed once only")
        wanted = set(node.inputs) | ({node.overwrites} if node.overwrites is not None else set[int]())
        for operand in sorted(wanted):
            if operand not in self.resident:
                raise InvalidPlan(Reason.OPERAND_ABSENT, f"{where}: value {operand} is not in memory")
        if node.overwrites is not None:
            self._remove(node.overwrites)
            self.on_flash.discard(node.overwrites)
        self._enter(value)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes + node.workspace_bytes)
        self.cost += node.cost
        self.computed.add(value)
        self.on_flash.discard(value)
        paging = self.problem.paging
        for operand in wanted:
            changed = paging is not None and operand in paging.dirty
            if changed and self.problem.nodes[operand].kind is NodeKind.SOURCE:
                self.on_flash.discard(operand)

    def _page_in(self, where: str, value: int) -> None:
        self._need_pageable(where, value)
        if value in self.resident:
            raise InvalidPlan(Reason.ALREADY_RESIDENT, where)
        if value not in self.on_flash:
            raise InvalidPlan(Reason.NOT_ON_FLASH, where)
        self._enter(value)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        paging = self.problem.paging
        if paging is not None:
            bytes_read = max(self.problem.nodes[value].size_bytes, paging.min_read_bytes)
            self.cost += bytes_read / paging.read_bytes_per_s

    def _page_out(self, where: str, value: int) -> None:
        self._need_pageable(where, value)
        self._leave(where, value)
        paging = self.problem.paging
        if value not in self.on_flash and paging is not None:
            self.cost += self.problem.nodes[value].size_bytes / paging.write_bytes_per_s
        self.on_flash.add(value)

    def _need_pageable(self, where: str, value: int) -> None:
        if not self._pageable(value):
            raise InvalidPlan(Reason.NOT_PAGEABLE, where)

    def _leave(self, where: str, value: int) -> None:
        if value not in self.resident:
            raise InvalidPlan(Reason.NOT_RESIDENT, where)
        self._remove(value)

    def end(self) -> None:
        for node in self.problem.nodes:
            if node.kind is NodeKind.COMPUTE and node.id not in self.computed:
                raise InvalidPlan(Reason.NEVER_COMPUTED, f"node {node.id} ({node.name!r})")
        for value in sorted(self.problem.keep):
            if not self._kept(value):
                name = self.problem.nodes[value].name
                raise InvalidPlan(
                    Reason.KEPT_VALUE_LOST, f"value {value} ({name!r}) is not where it must be at the end"
                )

    def _kept(self, value: int) -> bool:
        root = value
        while (below := self.problem.nodes[root].overwrites) is not None:
            root = below
        if self.problem.nodes[root].kind is not NodeKind.SOURCE:
            return value in self.resident or value in self.on_flash
        return value in (self.on_flash if root in self.began_on_flash else self.resident)


def validate_layout(buffers: Sequence[Buffer], layout: Layout, alignment_bytes: int = 64) -> None:
    """Raise `InvalidPlan` unless every pair of buffers alive together is apart and the figures are true."""
    if len(layout.offsets) != len(buffers):
        raise InvalidPlan(Reason.WRONG_COUNT, f"{len(layout.offsets)} offsets for {len(buffers)} buffers")
    for buffer, offset in zip(buffers, layout.offsets, strict=True):
        if offset < 0 or offset % alignment_bytes:
            raise InvalidPlan(
                Reason.MISALIGNED, f"buffer {buffer.id} at {offset}, alignment {alignment_bytes}"
            )
    _check_pairs(buffers, layout)
    ends = [offset + buffer.size_bytes for buffer, offset in zip(buffers, layout.offsets, strict=True)]
    if layout.total_bytes != max(ends, default=0):
        raise InvalidPlan(
            Reason.WRONG_TOTAL, f"it says {layout.total_bytes} bytes, counted {max(ends, default=0)}"
        )
    if layout.max_load_bytes > layout.total_bytes:
        raise InvalidPlan(
            Reason.WRONG_BOUND, f"load {layout.max_load_bytes} above the total {layout.total_bytes}"
        )


def _check_pairs(buffers: Sequence[Buffer], layout: Layout) -> None:
    lower = np.array([buffer.lower for buffer in buffers], dtype=np.int64)
    upper = np.array([buffer.upper for buffer in buffers], dtype=np.int64)
    begin = np.array(layout.offsets, dtype=np.int64)
    end = begin + np.array([buffer.size_bytes for buffer in buffers], dtype=np.int64)
    for index in range(len(buffers)):
        rest = slice(index + 1, None)
        together = (lower[rest] < upper[index]) & (lower[index] < upper[rest])
        touching = (begin[rest] < end[index]) & (begin[index] < end[rest])
        clash = np.flatnonzero(together & touching)
        if len(clash):
            other = buffers[index + 1 + int(clash[0])]
            raise InvalidPlan(
                Reason.OVERLAP, f"buffers {buffers[index].id} and {other.id} share bytes while both live"
            )
