"""The compiler, read aloud: trace, optimize, fuse, schedule, plan, lay out, compile, emit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.accumulation import cheapest
from daypack.compiler.cost import bytes_touched, kernel_cost
from daypack.compiler.emit import Emission, emit, write_description
from daypack.compiler.fusion.fuse import fuse
from daypack.compiler.graph import StepGraph
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.kernels.cache import KernelCache, default_folder
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.tuning import Tuning
from daypack.compiler.means import Means
from daypack.compiler.passes.canonicalize import canonicalize
from daypack.compiler.passes.cse import cse
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.decoded_rows import decoded_rows
from daypack.compiler.passes.fold import fold
from daypack.compiler.passes.half_products import half_products
from daypack.compiler.passes.split_frozen import split_frozen
from daypack.compiler.passes.split_trained import split_trained
from daypack.compiler.planning import (
    Options,
    Planned,
    plan_evaluation,
    plan_window,
    polished,
    project_window,
    write_problem,
)
from daypack.compiler.step import (
    TrainStep,
    initial_optimizer_state,
    trace_evaluation,
    trace_micro,
    trace_update,
)
from daypack.compiler.storyboard import write_storyboard
from daypack.compiler.variants import Variants, feasible, plan_record, variants
from daypack.compiler.verify import Stage, verify
from daypack.compiler.window import Window, assemble, assemble_evaluation
from daypack.compiler.work import work_of
from daypack.devices import Profile
from daypack.errors import BudgetInfeasible
from daypack.planners.problem import Problem
from daypack.runtime.budget import engine_overhead_bytes
from daypack.runtime.build import engine_ahead
from daypack.runtime.bundle import new_bundle, plan_name

Pass = Callable[[StepGraph], StepGraph]
REWRITES: tuple[Pass, ...] = (
    fold,
    cse,
    canonicalize,
    fold,
    cse,
    canonicalize,
    dce,
)
PASSES = (*REWRITES, decoded_rows, dce, split_frozen)
"""What happens to a traced graph before fusion."""

OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was compiled; seconds and joules are modelled, `peak_bytes` is the account the engine keeps.

    `plans` has the figures of every plan of the bundle; the first is the one that the others are of.
    `source` is `modelled`, or says that the device's profile has an emulator's figures.
    """

    bundle: Path
    peak_bytes: int
    arena_bytes: int
    window: int
    step_seconds: float
    step_joules: float | None
    flash_read_bytes: int
    flash_written_bytes: int
    kernels: int
    shards: int
    compile_seconds: float
    plans: tuple[Mapping[str, Any], ...]
    source: str


NO_ROOM_FOR_EVALUATION = "the training fits this memory only without the kernels of an evaluation"


def _quiet(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""


def optimize(graph: StepGraph, passes: Sequence[Pass] = PASSES) -> StepGraph:
    """The traced graph after every pass, fused; verified at every stage."""
    verify(graph, Stage.TRACED)
    for apply in passes:
        graph = apply(graph)
    verify(graph, Stage.OPTIMIZED)
    fused = fuse(graph)
    verify(fused, Stage.FUSED)
    return fused


def optimize_step(
    micro: StepGraph, update: StepGraph, *, cut_rows: bool = True, half: bool = False
) -> tuple[StepGraph, StepGraph]:
    """Both traced graphs of a step after every pass, fused; what is trained in parts is cut alike in both.

    Without `cut_rows` every matrix stays whole. `half`: the micro-step's products are in float16.
    """
    last = (half_products,) if half else ()
    if not cut_rows:
        return optimize(micro, (*REWRITES, *last)), optimize(update, REWRITES)
    graphs = [micro, update]
    for number, graph in enumerate(graphs):
        verify(graph, Stage.TRACED)
        for apply in REWRITES:
            graph = apply(graph)
        graphs[number] = graph
    micro, update = split_trained(graphs[0], graphs[1])
    return optimize(micro, (*PASSES, *last)), optimize(update)


def optimize_evaluation(graph: StepGraph, *, cut_rows: bool = True, half: bool = False) -> StepGraph:
    """A traced evaluation after every pass, fused; trained matrices are cut as it reads them."""
    last = (half_products,) if half else ()
    if not cut_rows:
        return optimize(graph, (*REWRITES, *last))
    verify(graph, Stage.TRACED)
    for apply in REWRITES:
        graph = apply(graph)
    return optimize(split_trained(graph, StepGraph("no update", (), (), ()))[0], (*PASSES, *last))


def kernel_target(profile: Profile, tuning: Tuning | None = None) -> KernelTarget:
    """What the schedules need of a profile."""
    return KernelTarget(
        profile.llvm_triple,
        profile.llvm_cpu,
        profile.llvm_features,
        profile.vector_bits,
        profile.vector_registers,
        profile.l1d_bytes,
        profile.l2_bytes,
        tuning or Tuning(),
        profile.half_arithmetic,
    )


def assemble_step(
    step: TrainStep,
    profile: Profile,
    means: Means,
    tell: OnStage = _quiet,
    tuning: Tuning | None = None,
) -> tuple[Window, KernelTable]:
    """Trace to what is planned: the window, and the kernels that its calls name."""
    tell("trace", 0.0)
    micro, update = trace_micro(step), trace_update(step)
    tell("optimize", 0.1)
    micro, update = optimize_step(micro, update, cut_rows=means.cut_rows, half=step.half)
    tell("schedule", 0.2)
    table = KernelTable(kernel_target(profile, tuning))
    return assemble(step, micro, update, table), table


def problem_of_step(
    step: TrainStep, profile: Profile, options: Options, on_stage: OnStage | None = None
) -> Problem:
    """What a planner sees of a step, in seconds: trace to projection, from shapes alone."""
    window, table = assemble_step(step, profile, options.means, on_stage or _quiet, options.tuning)
    return project_window(window, table, profile, options).problem


def plan_step(
    step: TrainStep, profile: Profile, options: Options, on_stage: OnStage | None = None
) -> Planned:
    """Trace to layout, without the evaluation where only its kernels are too much beside the training.

    Raises BudgetInfeasible where a budget is too small.
    """
    tell = on_stage or _quiet
    window, table = assemble_step(step, profile, options.means, tell, options.tuning)
    tell("plan", 0.3)
    kernels = len(table.kernels)
    evaluation = _evaluation(step, table, profile, options)
    try:
        planned = plan_window(step, window, table, profile, options)
        return replace(feasible(planned, profile, options), evaluation=evaluation)
    except BudgetInfeasible:
        if not isinstance(evaluation, Planned):
            raise
    table.forget(kernels)
    planned = plan_window(step, window, table, profile, options)
    return replace(feasible(planned, profile, options), evaluation=NO_ROOM_FOR_EVALUATION)


def _evaluation(
    step: TrainStep, table: KernelTable, profile: Profile, options: Options
) -> Planned | str | None:
    """The plan of a step's evaluation, its kernels added to the table; or why there is none, or None.

    It comes before the step's own plan, which counts the kernels of both.
    """
    if step.score is None:
        return None
    kernels = len(table.kernels)
    traced = trace_evaluation(step, step.score)
    graph = optimize_evaluation(traced, cut_rows=options.means.cut_rows, half=step.half)
    window = assemble_evaluation(step, graph, table)
    try:
        return plan_evaluation(step, window, table, profile, options)
    except BudgetInfeasible as refusal:
        table.forget(kernels)
        return refusal.message


def plan_steps(
    candidates: Sequence[TrainStep], profile: Profile, options: Options, on_stage: OnStage | None = None
) -> Planned:
    """The cheapest of one step's window lengths, planned with all the time there is. No array is read.

    Raises:
        BudgetInfeasible: no plan fits.
    """
    draft = cheapest(candidates, lambda step: plan_step(step, profile, options, on_stage))
    planned = replace(polished(draft, profile, options), evaluation=draft.evaluation)
    write_problem(planned.projection, options)  # over that of a candidate that was refused
    return planned


def compile_step(
    candidates: TrainStep | Sequence[TrainStep],
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
    """Compile a step, or the cheapest of one step's window lengths, into the bundle `out`.

    `read(name)` gives the initial array of a trainable or frozen name; `fill` may add files (data, a
    tokenizer) to the bundle before it is sealed. Nothing is left behind on failure.

    Raises:
        SpecError, TraceError: the step or its arrays cannot be used.
        BudgetInfeasible: no plan fits.
    """
    began = time.monotonic()
    tell = on_stage or _quiet
    steps = [candidates] if isinstance(candidates, TrainStep) else candidates
    with (
        new_bundle(out) as folder,  # first, so that a folder that cannot be written is said at once
        engine_ahead(profile.llvm_triple) as engine_ready,
    ):
        planned = plan_steps(steps, profile, options, on_stage)
        evaluation = planned.evaluation
        found = variants(planned, profile, options)
        planned = found.plans[0]
        tell("compile kernels", 0.4)
        code = planned.table.object_code(KernelCache(default_folder()) if options.cache else None)
        engine_ready()
        tell("write bundle", 0.8)
        emission = emit(
            folder,
            found.plans,
            profile,
            read=read,
            optimizer=initial_optimizer_state(planned.step, read),
            mutable=mutable,
            ranges=planned.step.ranges or {},
            object_code=code,
            evaluation=evaluation if isinstance(evaluation, Planned) else None,
        )
        compiled = _compiled(out, found, emission, options, time.monotonic() - began, profile.prediction)
        account = _account(compiled, planned, emission, profile)
        told = _evaluation_account(evaluation, emission, options.threads)
        left_out = {"orders_left_out": _left_out(found), "evaluation": told}
        write_description(folder, {**description, **account, **left_out})
        write_storyboard(folder, planned, compiled.peak_bytes)
        if fill:
            fill(folder, emission)
    tell("done", 1.0)
    return replace(compiled, compile_seconds=time.monotonic() - began)


def _left_out(found: Variants) -> list[dict[str, Any]]:
    return [
        {"order": left.order.label, "budget_bytes": left.budget_bytes or None, "reason": left.reason}
        for left in found.left_out
    ]


def _compiled(
    out: Path, found: Variants, emission: Emission, options: Options, seconds: float, source: str
) -> Compiled:
    planned = found.plans[0]
    overhead = engine_overhead_bytes(
        threads=options.threads,
        scratch_bytes=emission.plan.scratch_bytes,
        plan_bytes=emission.plan_bytes,
        engine_bytes=emission.engine_bytes,
        policy_bytes=options.policy_bytes,
    )
    measure = planned.priced.measure
    return Compiled(
        bundle=out,
        peak_bytes=planned.applied.arena_bytes + overhead,
        arena_bytes=planned.applied.arena_bytes,
        window=len(planned.window.batches),
        step_seconds=measure.seconds,
        step_joules=measure.joules,
        flash_read_bytes=planned.applied.moved_bytes(fetch=True),
        flash_written_bytes=planned.applied.moved_bytes(fetch=False) + emission.saved_bytes(),
        kernels=len(planned.table.kernels),
        shards=len(planned.applied.shard_ends),
        compile_seconds=seconds,
        plans=tuple(
            plan_record(
                each, plan_name(number), each.applied.arena_bytes + overhead, emission.saved_bytes(number)
            )
            for number, each in enumerate(found.plans)
        ),
        source=source,
    )


def _tokens(emission: Emission) -> int:
    """Ids that a window reads, or its micro-steps where a user's batch has none."""
    ids = [entry.size_bytes // 4 for entry in emission.plan.inputs if entry.name == "ids"]
    return emission.plan.window * (ids[0] if ids else 1)


def _evaluation_account(
    planned: Planned | str | None, emission: Emission, threads: int
) -> dict[str, Any] | None:
    """The part of bundle.json about the evaluation: figures, or why there is none."""
    if not isinstance(planned, Planned) or emission.evaluation is None:
        return None if planned is None else {"none": planned}
    return {
        "source": "modelled",
        "rows": emission.evaluation.rows,
        "peak_bytes": planned.applied.arena_bytes
        + engine_overhead_bytes(
            threads=threads,
            scratch_bytes=emission.plan.scratch_bytes,
            plan_bytes=emission.evaluation_bytes,
            engine_bytes=emission.engine_bytes,
        ),
        "arena_bytes": planned.applied.arena_bytes,
        "batch_seconds": planned.priced.measure.seconds,
        "flash_read_bytes": planned.applied.moved_bytes(fetch=True),
    }


def _account(compiled: Compiled, planned: Planned, emission: Emission, profile: Profile) -> dict[str, Any]:
    """The part of bundle.json that the compiler writes."""
    return {
        "device": profile.name,
        "predicted": {
            "source": compiled.source,
            "peak_bytes": compiled.peak_bytes,
            "arena_bytes": compiled.arena_bytes,
            "max_load_bytes": planned.applied.max_load_bytes,
            "step_seconds": compiled.step_seconds,
            "step_joules": compiled.step_joules,
            "flash_read_bytes": compiled.flash_read_bytes,
            "flash_written_bytes": compiled.flash_written_bytes,
        },
        "plans": list(compiled.plans),
        "work": work_of(
            planned,
            profile,
            tokens=_tokens(emission),
            peak_bytes=compiled.peak_bytes,
            saved_bytes=emission.saved_bytes(),
        ),
        "calls": len(planned.window.calls),
        "shards": compiled.shards,
        "kernels": [
            {
                "name": k.name,
                "schedule": k.code.schedule or k.kind,
                "source": k.source,
                "phases": len(k.code.phases),
                "flops": kernel_cost(k.body).flops,
                "bytes": bytes_touched(k.body),
            }
            for k in planned.table.kernels
        ],
    }
