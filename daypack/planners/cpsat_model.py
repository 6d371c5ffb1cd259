# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""The exact model of small problems for CP-SAT: loads with start and end, in free order.

After MOCCASIN (Bartan et al., ICML 2023): a value is loaded some times, each load is an optional interval
from its instruction to its last use, and one cumulative constraint keeps the memory. Deviation: the order is
free, so starts are variables over all instructions of the window and differ pairwise; and a load may be a
page-in.

How often a value may be loaded follows from the best cost known: loading it more often would cost more than
that. So where no limit had to be lowered the bound holds for every plan. What flash holds is relaxed: a value
is written at most once, so that the model's cost never exceeds a plan's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model

from daypack.planners.backward import Outcome
from daypack.planners.bounds import cost_bound
from daypack.planners.plan import Instruction, Op
from daypack.planners.problem import Problem
from daypack.planners.schedule import Schedule, origin

MOST_LOADS = 4
"""Of one value; a smaller number than the costs allow makes the bound void."""
SCALE = 1_000_000
"""Costs become integers: the cost of every node once is this many units."""


@dataclass(slots=True)
class _Load:
    """One possible load: when, until when, whether at all, and whether from flash."""

    start: Any
    end: Any
    present: Any
    page_in: Any


@dataclass(slots=True)
class _Model:
    problem: Problem
    memory_bytes: int
    best_cost: float
    steps: int = 0
    cap_cost: float = math.inf
    model: Any = field(default_factory=cp_model.CpModel)
    loads: dict[int, list[_Load]] = field(default_factory=dict[int, list[_Load]])
    costs: list[Any] = field(default_factory=list[Any])
    demands: list[tuple[Any, int]] = field(default_factory=list[tuple[Any, int]])


def solve(
    problem: Problem, memory_bytes: int, best: Schedule | None, seconds: float, threads: int, seed: int
) -> Outcome:
    """Search for a plan cheaper than ``best`` and for the bound."""
    base = cost_bound(problem, memory_bytes)
    m = _Model(problem, memory_bytes, math.inf if best is None else best.cost)
    unit = max(base, 1e-300) / SCALE
    _add_loads(m, unit)
    _add_reads(m)
    _add_memory(m)
    m.model.Minimize(sum(m.costs))
    if best is not None:
        _hint(m, best)
    solver: Any = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(seconds, 0.01)
    solver.parameters.num_workers = threads
    solver.parameters.random_seed = seed
    status = solver.Solve(m.model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    loads = _extract(m, solver) if found else None
    refuted = status == cp_model.INFEASIBLE
    # Costs were rounded to units, and a node once costs at least its own: what is left is what the bound
    # says.
    bound = min(m.cap_cost, float(solver.BestObjectiveBound()) * unit) if not refuted else base
    return Outcome(loads, max(base, bound), refuted and math.isinf(m.cap_cost))


def _limits(m: _Model) -> dict[int, int]:
    """How often each value may be loaded: once for each use at most, and what the best known cost leaves.

    Where `MOST_LOADS` is less than that, a plan beyond it costs `MOST_LOADS` times the value's price on top
    of every node once: the bound is capped there.
    """
    problem = m.problem
    base = cost_bound(problem, m.memory_bytes)
    spare = max(0.0, m.best_cost - base)
    limits: dict[int, int] = {}
    for node in reversed(problem.nodes):
        value = node.id
        uses = sum(limits.get(user, 0) for user in problem.users[value]) + (value in problem.keep)
        if problem.is_source(value) and not uses:
            continue
        price = _least_price(problem, value)
        if node.size_bytes == 0 or price == math.inf:
            limits[value] = 1
            continue
        unlimited = price <= 0 or math.isinf(spare)
        wanted = math.inf if unlimited else math.floor(spare / price * (1 + 1e-9))
        if wanted > MOST_LOADS - 1 and uses > MOST_LOADS:
            m.cap_cost = min(m.cap_cost, base + MOST_LOADS * price)
        limits[value] = max(1, min(uses, int(min(wanted, MOST_LOADS - 1)) + 1))
    return limits


def _least_price(problem: Problem, value: int) -> float:
    """What having a value a second time costs at least."""
    node = problem.nodes[value]
    prices = [math.inf]
    if not problem.is_source(value) and value not in problem.once:
        prices.append(node.cost)
    if problem.paging is not None and problem.pageable(value):
        prices.append(problem.paging.page_in_cost(node.size_bytes))
    return min(prices)


def _add_loads(m: _Model, unit: float) -> None:
    limits = _limits(m)
    needed = sorted(limits)
    m.steps = 1 + sum(limits.values())
    starts: list[Any] = []
    for value in needed:
        m.loads[value] = [_load(m, value, number, unit, starts) for number in range(limits[value])]
        for before, after in zip(m.loads[value], m.loads[value][1:], strict=False):
            m.model.AddImplication(after.present, before.present)
            m.model.Add(after.start > before.end).OnlyEnforceIf(after.present)
    m.model.AddNoOverlap(starts)
    for value in needed:
        _price_writes(m, value, unit)


def _load(m: _Model, value: int, number: int, unit: float, starts: list[Any]) -> _Load:
    problem, model = m.problem, m.model
    node = problem.nodes[value]
    source = problem.is_source(value)
    pageable = problem.pageable(value)
    name = f"{value}.{number}"
    present = model.NewBoolVar(f"p{name}") if number else model.NewConstant(1)
    first_of_source = source and number == 0
    if source:
        # A source that begins in memory has its first load before everything; otherwise it is a page-in.
        page_in = (
            model.NewBoolVar(f"f{name}") if pageable and first_of_source else model.NewConstant(pageable)
        )
    else:
        choice = pageable and number > 0 and value not in problem.once
        page_in = model.NewBoolVar(f"f{name}") if choice else model.NewConstant(pageable and number > 0)
    start = model.NewIntVar(0, m.steps - 1, f"s{name}")
    end = model.NewIntVar(0, m.steps - 1, f"e{name}")
    model.Add(start <= end)
    length = model.NewIntVar(1, m.steps, f"l{name}")
    model.Add(length == end - start + 1)
    m.demands.append(
        (model.NewOptionalIntervalVar(start, length, end + 1, present, f"i{name}"), node.size_bytes)
    )
    if first_of_source:
        model.Add(start == 0).OnlyEnforceIf(page_in.Not())
        model.Add(start >= 1).OnlyEnforceIf(page_in)
        place = model.NewOptionalIntervalVar(start, 1, start + 1, page_in, f"t{name}")
    else:
        model.Add(start >= 1)
        place = model.NewOptionalIntervalVar(start, 1, start + 1, present, f"t{name}")
    starts.append(place)
    if node.workspace_bytes and not source:
        runs = model.NewBoolVar(f"r{name}")
        model.AddBoolAnd([present, page_in.Not()]).OnlyEnforceIf(runs)
        model.AddBoolOr([present.Not(), page_in, runs])
        m.demands.append(
            (model.NewOptionalIntervalVar(start, 1, start + 1, runs, f"x{name}"), node.workspace_bytes)
        )
    _price(m, value, number, page_in, present, unit)
    return _Load(start, end, present, page_in)


def _units(cost: float, unit: float) -> int:
    """Rounded down, so that the model is never dearer than the plan."""
    return math.floor(cost / unit)


def _price(m: _Model, value: int, number: int, page_in: Any, present: Any, unit: float) -> None:
    problem, node = m.problem, m.problem.nodes[value]
    read = 0
    if problem.paging is not None and problem.pageable(value):
        read = _units(problem.paging.page_in_cost(node.size_bytes), unit)
    if problem.is_source(value):
        m.costs.append(read * (page_in if number == 0 else present))
    elif number == 0:
        m.costs.append(_units(node.cost, unit))
    else:
        loaded = m.model.NewBoolVar(f"c{value}.{number}")
        m.model.AddBoolAnd([present, page_in]).OnlyEnforceIf(loaded)
        m.model.AddBoolOr([present.Not(), page_in.Not(), loaded])
        computed = _units(node.cost, unit)
        m.costs.append(computed * present + (read - computed) * loaded)


def _price_writes(m: _Model, value: int, unit: float) -> None:
    """A computed value that is paged in was written once; a source that begins on flash ends there, written
    if changed.
    """
    problem = m.problem
    paging = problem.paging
    if paging is None or not problem.pageable(value):
        return
    write = _units(paging.page_out_cost(problem.nodes[value].size_bytes), unit)
    root = origin(problem, value)
    written = m.model.NewBoolVar(f"w{value}")
    changed = value in paging.dirty and bool(problem.users[value]) if value == root else True
    if problem.is_source(root) and value in problem.keep and changed and root in m.loads:
        m.model.AddImplication(m.loads[root][0].page_in, written)
    if not problem.is_source(value):
        for load in m.loads[value][1:]:
            m.model.AddBoolOr([load.present.Not(), load.page_in.Not(), written])
    m.costs.append(write * written)


def _add_reads(m: _Model) -> None:
    """Every compute finds each operand in memory, in the stay of one of its loads; what is kept stays to the
    end.
    """
    problem = m.problem
    for value, loads in m.loads.items():
        node = problem.nodes[value]
        if problem.is_source(value):
            continue
        for operand in node.operands:
            m.model.Add(m.loads[operand][0].start < loads[0].start)
        for number, load in enumerate(loads):
            runs = [load.present] if number == 0 else [load.present, load.page_in.Not()]
            for operand in node.operands:
                _add_read(m, load, runs, operand, node.overwrites == operand)
    for value in problem.keep & m.loads.keys():
        _add_keep(m, value)


def _add_read(m: _Model, load: _Load, runs: list[Any], operand: int, taken_over: bool) -> None:
    model = m.model
    choices: list[Any] = []
    for source in m.loads[operand]:
        chosen = model.NewBoolVar("")
        model.AddImplication(chosen, source.present)
        model.Add(source.start < load.start).OnlyEnforceIf(chosen)
        if taken_over:
            # The new value has the place from the instruction on; nothing of the old is there afterwards.
            model.Add(source.end == load.start - 1).OnlyEnforceIf(chosen)
        else:
            model.Add(source.end >= load.start).OnlyEnforceIf(chosen)
        choices.append(chosen)
    model.AddBoolOr(choices + [run.Not() for run in runs])


def _add_keep(m: _Model, value: int) -> None:
    """In memory at the end; a pageable one may be on flash instead if its origin allows."""
    problem, model = m.problem, m.model
    stays: list[Any] = []
    for load in m.loads[value]:
        last = model.NewBoolVar("")
        model.AddImplication(last, load.present)
        model.Add(load.end == m.steps - 1).OnlyEnforceIf(last)
        stays.append(last)
    root = origin(problem, value)
    if problem.is_source(root):
        if problem.pageable(value) and root in m.loads:
            stays.append(m.loads[root][0].page_in)
    elif problem.pageable(value):
        # A relaxation: a computed value may end on flash, and the write is not counted.
        stays.append(model.NewBoolVar(""))
    model.AddBoolOr(stays)


def _add_memory(m: _Model) -> None:
    room = m.memory_bytes - m.problem.fixed_bytes
    divisor = math.gcd(*(size for _, size in m.demands)) or 1
    sized = [(interval, size // divisor) for interval, size in m.demands if size]
    m.model.AddCumulative(
        [interval for interval, _ in sized], [size for _, size in sized], max(0, room // divisor)
    )


def _hint(m: _Model, best: Schedule) -> None:
    loads = [step for step in best.sequence if step.op in (Op.COMPUTE, Op.PAGE_IN)]
    count: dict[int, int] = {}
    for place, (_, value) in enumerate(loads):
        number = count.get(value, 0)
        count[value] = number + 1
        if number < len(m.loads.get(value, ())):
            load = m.loads[value][number]
            m.model.AddHint(load.start, place + 1)
            if number:
                m.model.AddHint(load.present, 1)
    for value, held in m.loads.items():
        for load in held[max(1, count.get(value, 0)) :]:
            m.model.AddHint(load.present, 0)


def _extract(m: _Model, solver: Any) -> tuple[Instruction, ...]:
    rows: list[tuple[int, Instruction]] = []
    for value, loads in m.loads.items():
        source = m.problem.is_source(value)
        for load in loads:
            if not solver.Value(load.present) or (source and not solver.Value(load.page_in)):
                continue
            op = Op.PAGE_IN if solver.Value(load.page_in) else Op.COMPUTE
            rows.append((int(solver.Value(load.start)), Instruction(op, value)))
    return tuple(instruction for _, instruction in sorted(rows, key=lambda row: row[0]))
