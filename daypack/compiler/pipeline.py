"""The compiler, read aloud: trace, optimize, fuse, schedule, plan, lay out, compile, emit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.apply import Applied, Page, apply_plan
from daypack.compiler.cost import kernel_cost, kernel_seconds
from daypack.compiler.emit import Emission, emit, write_description
from daypack.compiler.fusion.fuse import fuse
from daypack.compiler.graph import StepGraph
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.passes.canonicalize import canonicalize
from daypack.compiler.passes.cse import cse
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.fold import fold
from daypack.compiler.passes.split_frozen import split_frozen
from daypack.compiler.project import Projection, computed_once, project
from daypack.compiler.step import TrainStep, initial_optimizer_state, trace_micro, trace_update
from daypack.compiler.verify import Stage, verify
from daypack.compiler.window import CallKind, Window, assemble
from daypack.devices import Profile
from daypack.planners.bounds import infeasible
from daypack.planners.evict import evict
from daypack.planners.exchange import named, problem_text
from daypack.planners.plan import Op, Plan, PlanOptions
from daypack.planners.validate import validate_plan
from daypack.runtime.budget import engine_overhead_bytes
from daypack.runtime.bundle import new_bundle

PASSES: tuple[Callable[[StepGraph], StepGraph], ...] = (
    fold,
    cse,
    canonicalize,
    fold,
    cse,
    canonicalize,
    dce,
    split_frozen,
)
"""What happens to a traced graph before fusion."""

NO_BUDGET = 2**61
LAYOUT_TRIES = 6
PLAN_BYTES, PLAN_BYTES_A_CALL = 64_000, 250
ENGINE_BYTES, ENGINE_BYTES_A_PHASE = 128_000, 5_000
"""What plan.bin and the engine's executable are taken for before they exist (measured: 154 and 2,400
bytes).
"""
OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Options:
    """`memory_bytes` None: no budget. `threads`: those the memory account counts.

    `dump_problem`: a file for the planning problem.
    """

    memory_bytes: int | None = None
    save_steps: int = 1
    threads: int = 2
    dump_problem: Path | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was compiled; seconds and joules are modelled, `peak_bytes` is the account the engine keeps."""

    bundle: Path
    peak_bytes: int
    arena_bytes: int
    step_seconds: float
    flash_read_bytes: int
    flash_written_bytes: int
    kernels: int
    shards: int
    compile_seconds: float


def _quiet(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""


def optimize(graph: StepGraph) -> StepGraph:
    """The traced graph after every pass, fused; verified at every stage."""
    verify(graph, Stage.TRACED)
    for apply in PASSES:
        graph = apply(graph)
    verify(graph, Stage.OPTIMIZED)
    fused = fuse(graph)
    verify(fused, Stage.FUSED)
    return fused


def kernel_target(profile: Profile) -> KernelTarget:
    """What the schedules need of a profile."""
    return KernelTarget(
        profile.llvm_triple,
        profile.llvm_cpu,
        profile.llvm_features,
        profile.vector_bits,
        profile.vector_registers,
        profile.l1d_bytes,
        profile.l2_bytes,
    )


def _plan_within(
    window: Window, projection: Projection, spaces: list[tuple[int, ...]], budget_bytes: int
) -> tuple[Plan, Applied]:
    """A judged plan whose arena, gaps of the layout included, keeps the budget.

    Where a layout is larger than its plan said, the plan is made again for that much less.
    """
    problem = projection.problem
    target = total = budget_bytes
    for _ in range(LAYOUT_TRIES):
        plan = evict(problem, target, PlanOptions())
        validate_plan(problem, plan, target)
        twice = computed_once(projection, [i.id for i in plan.sequence if i.op is Op.COMPUTE])
        if twice is not None:
            raise ValueError(f"the plan computes {problem.nodes[twice].name} twice, which changes in place")
        applied = apply_plan(window, projection, plan, spaces)
        total = applied.arena_bytes + problem.fixed_bytes
        if total <= budget_bytes:
            return plan, applied
        target -= total - budget_bytes
    raise infeasible(problem, budget_bytes, total)


@dataclass(frozen=True, slots=True)
class Planned:
    """A step planned but not yet compiled."""

    window: Window
    table: KernelTable
    projection: Projection
    plan: Plan
    applied: Applied
    seconds: float


def plan_step(
    step: TrainStep, profile: Profile, options: Options, on_stage: OnStage | None = None
) -> Planned:
    """Trace to layout. Raises BudgetInfeasible where the budget is too small."""
    tell = on_stage or _quiet
    tell("trace", 0.0)
    micro, update = trace_micro(step), trace_update(step)
    tell("optimize", 0.1)
    micro, update = optimize(micro), optimize(update)
    tell("schedule", 0.2)
    table = KernelTable(kernel_target(profile))
    window = assemble(step, micro, update, table)
    tell("plan", 0.3)
    costs = [_seconds(window, table, n, profile) for n in range(len(window.calls))]
    spaces = [_workspaces(window, table, n) for n in range(len(window.calls))]
    scratch = max((k.code.scratch_bytes for k in table.kernels), default=0)
    fixed = engine_overhead_bytes(
        threads=options.threads,
        scratch_bytes=scratch,
        plan_bytes=PLAN_BYTES + PLAN_BYTES_A_CALL * len(window.calls),
        engine_bytes=ENGINE_BYTES + ENGINE_BYTES_A_PHASE * sum(len(k.symbols) for k in table.kernels),
    )
    projection = project(window, costs, [sum(s) for s in spaces], fixed, profile)
    if options.dump_problem is not None:
        options.dump_problem.write_text(problem_text(named(projection.problem)))
    plan, applied = _plan_within(window, projection, spaces, options.memory_bytes or NO_BUDGET)
    return Planned(window, table, projection, plan, applied, plan.cost)


def compile_step(
    step: TrainStep,
    profile: Profile,
    *,
    read: Callable[[str], np.ndarray[Any, Any]],
    mutable: Mapping[str, np.ndarray[Any, Any]],
    out: Path,
    options: Options,
    description: Mapping[str, Any],
    fill: Callable[[Path, Emission], None] | None = None,
    on_stage: OnStage | None = None,
) -> Compiled:
    """Compile a step into the bundle `out`.

    `read(name)` gives the initial array of a trainable or frozen name; `fill` may add files (data, a
    tokenizer) to the bundle before it is sealed. Nothing is left behind on failure.

    Raises:
        SpecError, TraceError: the step or its arrays cannot be used.
        BudgetInfeasible: no plan fits.
    """
    began = time.monotonic()
    tell = on_stage or _quiet
    with new_bundle(out) as folder:  # first, so that a folder that cannot be written is said at once
        planned = plan_step(step, profile, options, on_stage)
        tell("compile kernels", 0.4)
        code = planned.table.object_code()
        tell("write bundle", 0.8)
        emission = emit(
            folder,
            planned.window,
            planned.applied,
            planned.table,
            profile,
            read=read,
            optimizer=initial_optimizer_state(step, read),
            mutable=mutable,
            ranges=step.ranges or {},
            budget_bytes=options.memory_bytes or 0,
            save_steps=options.save_steps,
            object_code=code,
        )
        compiled = _compiled(out, planned, emission, options, time.monotonic() - began)
        write_description(folder, {**description, **_account(compiled, planned, profile)})
        if fill:
            fill(folder, emission)
    tell("done", 1.0)
    return replace(compiled, compile_seconds=time.monotonic() - began)


def _seconds(window: Window, table: KernelTable, call: int, profile: Profile) -> float:
    entry = window.calls[call]
    if entry.kind is not CallKind.KERNEL:
        return 0.0
    kernel = table.kernels[entry.kernel]
    return kernel_seconds(kernel.kind, kernel_cost(kernel.body), profile)


def _workspaces(window: Window, table: KernelTable, call: int) -> tuple[int, ...]:
    entry = window.calls[call]
    return table.kernels[entry.kernel].code.workspace_bytes if entry.kind is CallKind.KERNEL else ()


def _compiled(out: Path, planned: Planned, emission: Emission, options: Options, seconds: float) -> Compiled:
    overhead = engine_overhead_bytes(
        threads=options.threads,
        scratch_bytes=emission.plan.scratch_bytes,
        plan_bytes=emission.plan_bytes,
        engine_bytes=emission.engine_bytes,
    )
    saved = sum(t.size_bytes for t in emission.plan.state)
    return Compiled(
        bundle=out,
        peak_bytes=planned.applied.arena_bytes + overhead,
        arena_bytes=planned.applied.arena_bytes,
        step_seconds=planned.seconds,
        flash_read_bytes=sum(i.size_bytes for i in planned.applied.stream if isinstance(i, Page)),
        flash_written_bytes=saved // options.save_steps,
        kernels=len(planned.table.kernels),
        shards=sum(type(i).__name__ == "EndShard" for i in planned.applied.stream),
        compile_seconds=seconds,
    )


def _account(compiled: Compiled, planned: Planned, profile: Profile) -> dict[str, Any]:
    """The part of bundle.json that the compiler writes."""
    return {
        "device": profile.name,
        "predicted": {
            "source": "modelled",
            "peak_bytes": compiled.peak_bytes,
            "arena_bytes": compiled.arena_bytes,
            "max_load_bytes": planned.applied.max_load_bytes,
            "step_seconds": compiled.step_seconds,
            "step_joules": None,
            "flash_read_bytes": compiled.flash_read_bytes,
            "flash_written_bytes": compiled.flash_written_bytes,
        },
        "calls": len(planned.window.calls),
        "shards": compiled.shards,
        "kernels": [
            {
                "name": k.name,
                "schedule": k.code.schedule or k.kind,
                "source": k.source,
                "phases": len(k.code.phases),
            }
            for k in planned.table.kernels
        ],
    }
