"""Window → plan and places: the problem is priced, planned within every budget, judged and laid out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from daypack.compiler.apply import Applied, apply_plan
from daypack.compiler.cost import kernel_cost, kernel_joules, kernel_seconds
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.kernels.tuning import Tuning
from daypack.compiler.means import Means
from daypack.compiler.orders import eager_update, layer_major
from daypack.compiler.project import Projection, padded, project
from daypack.compiler.step import TrainStep
from daypack.compiler.suspends import Keeping
from daypack.compiler.window import CallKind, Origin, Window
from daypack.devices import Profile
from daypack.errors import BudgetInfeasible
from daypack.planners.auto import auto
from daypack.planners.bounds import infeasible
from daypack.planners.cost import CostModel, Objective, Saving, Transfers
from daypack.planners.exchange import named, problem_text
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.limits import LimitInfeasible, Limits, Priced, plan_within_limits
from daypack.planners.overlap import HEADSTART, settled
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.planners.restrict import restricted
from daypack.planners.validate import validate_plan
from daypack.runtime.budget import engine_overhead_bytes
from daypack.runtime.plan_file import Order

NO_BUDGET = 2**61
LAYOUT_TRIES, LAYOUT_MARGIN = 6, 0.01
"""How often a plan is made for less because its layout has gaps, and by how much more each time."""
SPREAD = 1.0
"""Share of the memory that a plan leaves free over which transfers spread to overlap with computing."""
DRAFT_SECONDS, PLAN_SECONDS, PLAN_SECONDS_A_NODE = 1.0, 10.0, 0.01
"""Most that a plan is searched for, and what each node of its problem is worth."""
PLAN_BYTES, PLAN_BYTES_A_CALL = 64_000, 250
ENGINE_BYTES, ENGINE_BYTES_A_PHASE = 128_000, 5_000
"""What plan.bin and the engine's executable are taken for before they exist (measured: 154 and 2,400)."""
SAVING_SHARE = 0.5
"""Of a limit on written bytes, what the saved state may take where it is written from memory."""
GOOD_ENOUGH = 1.01
"""A plan this near to the cost of keeping everything ends a search: no other way saves more than that."""
BLOCK_SHARES = (0.05, 0.15)
"""Weights of a block of the layer-major order, by the memory budget."""
SPARING = 0.97
"""A plan that reads no weight again is taken for this much cheaper: a longer search makes more of it."""
READ_BYTES_PER_S, WRITE_BYTES_PER_S = 1e9, 0.5e9
"""Flash of a profile that says nothing of it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Budgets and objective of a compilation.

    `memory_bytes` None: no budget. `limits` are of one step. The state is saved every `save_steps` steps, or
    as seldom as every `latest_save` where a limit on written bytes asks for it. `threads`: those the memory
    account counts. `dump_problem`: a file for the planning problem. `plan_seconds`: what a search may take.
    `means`: what may be used to keep the budgets. `cache`: whether compiled kernels are kept and reused.
    `tuning`: measured tilings of matrix products.
    `orders`: those that the bundle has a plan for; None: the cheapest. `smaller_bytes`: further budgets that
    it has plans for, below `memory_bytes` and descending.
    `policy_bytes`: room for the bundle's policy.
    """

    memory_bytes: int | None = None
    objective: Objective = Objective.TIME
    limits: Limits = field(default_factory=Limits)
    save_steps: int = 1
    latest_save: int = 1
    threads: int = 2
    dump_problem: Path | None = None
    plan_seconds: float = PLAN_SECONDS
    means: Means = field(default_factory=Means)
    cache: bool = True
    tuning: Tuning = field(default_factory=Tuning)
    orders: tuple[Order, ...] | None = None
    smaller_bytes: tuple[int, ...] = ()
    policy_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """A step planned but not yet compiled; `priced` has the plan with its modelled figures.

    `save_steps`: steps between two savings of the state; `target_bytes`: what the planner was given, less
    than the budget where the layout has gaps. `model` prices the projection; `listed` is the window in its
    listed order, which `window` has in `order`; `budget_bytes` is 0 for none; `reread` is that of its means.
    `evaluation`: the plan of the step's evaluation, or why there is none, where one was asked for.
    """

    step: TrainStep
    window: Window
    table: KernelTable
    projection: Projection
    priced: Priced
    applied: Applied
    save_steps: int
    target_bytes: int
    objective: Objective
    model: CostModel
    order: Order
    listed: Window
    budget_bytes: int
    reread: bool = True
    evaluation: Planned | str | None = None

    @property
    def plan(self) -> Plan:
        return self.priced.plan

    @property
    def price(self) -> float:
        """What plans are compared by: the objective, of which time is counted with transfers beside kernels.

        A search for one plan adds them up instead (`priced.cost`).
        """
        return self.priced.measure.seconds if self.objective is Objective.TIME else self.priced.cost

    @property
    def pays_nothing(self) -> bool:
        """Whether the plan costs hardly more than every node once, which no other goes below."""
        return self.priced.cost <= GOOD_ENOUGH * self.priced.nodes_cost

    @property
    def peak_bytes(self) -> int:
        """Of the process, with the sizes that the plan's file and the engine are taken for until they
        exist.
        """
        return self.applied.arena_bytes + _beside_arena(self.window, self.projection)

    @property
    def written_bytes(self) -> int:
        """To flash in a step, by its transfers and by saving the state."""
        first = [item for item, _ in self.window.state.values() if item in self.applied.offsets]
        saved = sum(self.window.items[item].size_bytes for item in first) // self.save_steps
        return self.applied.moved_bytes(fetch=False) + self.applied.kept_bytes + saved


def plan_window(
    step: TrainStep, window: Window, table: KernelTable, profile: Profile, options: Options
) -> Planned:
    """A first plan, the cheapest over the orders of the window that may pay; `polished` betters it.

    Raises:
        BudgetInfeasible: a budget or limit is too small for every order.
    """
    refusal: BudgetInfeasible | None = None
    best: Planned | None = None
    draft = replace(options, plan_seconds=min(DRAFT_SECONDS, options.plan_seconds))
    for order, ordered, reread in _orders(window, options):
        tried = replace(draft, means=replace(draft.means, reread=reread))
        try:
            planned = _plan_order(step, (window, ordered, order), table, profile, tried)
        except BudgetInfeasible as error:
            refusal = refusal or error
            continue
        if best is None or (1.0 if reread else SPARING) * planned.price < best.price:
            best = planned
        if best.pays_nothing:
            break
    if best is None:
        raise refusal or ValueError("a window has at least one order")
    return best


def plan_evaluation(
    step: TrainStep, window: Window, table: KernelTable, profile: Profile, options: Options
) -> Planned:
    """A plan of an evaluation within the same memory: the quickest found in a short time.

    Weights and parameters may be read again and again; nothing is written, not even scratch.

    Raises:
        BudgetInfeasible: the memory is too little.
    """
    means = replace(options.means, swap=False)
    asked = Options(options.memory_bytes, threads=options.threads, means=means, plan_seconds=DRAFT_SECONDS)
    return _plan_order(step, (window, window, Order.MICRO_BATCH_MAJOR), table, profile, asked)


def polished(draft: Planned, profile: Profile, options: Options) -> Planned:
    """The same order planned again with all the time there is, and the cheaper of the two."""
    if draft.pays_nothing:
        return draft
    options = replace(options, means=replace(options.means, reread=draft.reread))
    try:
        ordered = (draft.listed, draft.window, draft.order)
        again = _plan_order(draft.step, ordered, draft.table, profile, options, draft.target_bytes)
    except BudgetInfeasible:
        return draft
    return min(draft, again, key=lambda planned: planned.price)


def _orders(window: Window, options: Options) -> Iterator[tuple[Order, Window, bool]]:
    """The orders asked for, and whether paged weights may be read again to recompute. None in particular: the
    listed one; where weights may be paged over several micro-steps, also layer-major ones.
    """
    several = len(window.batches) > 1
    asked = options.orders
    if asked is None:
        reorder = several and options.memory_bytes is not None and options.means.reorder
        asked = (Order.MICRO_BATCH_MAJOR, *((Order.LAYER_MAJOR,) if reorder else ()))
    for order in asked if several or asked != (Order.LAYER_MAJOR,) else (Order.MICRO_BATCH_MAJOR,):
        if order is Order.LAYER_MAJOR and several:
            for ordered, reread in _layer_major(window, options):
                yield order, ordered, reread
        elif order is Order.INTERLEAVED:
            yield order, eager_update(window), options.means.reread
        elif order is not Order.LAYER_MAJOR:
            yield order, window, options.means.reread


def _layer_major(window: Window, options: Options) -> Iterator[tuple[Window, bool]]:
    """Blocks of several sizes; the last of them also with every activation paged that would otherwise be
    computed again by reading a weight a third time. A search does not come upon this by itself.
    """
    means, memory = options.means, options.memory_bytes or _weights(window)
    for share in BLOCK_SHARES:
        yield layer_major(window, int(memory * share)), means.reread
    if options.memory_bytes and means.reread and means.swap and options.objective is not Objective.WEAR:
        yield layer_major(window, int(memory * BLOCK_SHARES[-1])), False


def _weights(window: Window) -> int:
    return sum(item.size_bytes for item in window.items if item.origin in (Origin.WEIGHTS, Origin.STATE))


def _plan_order(
    step: TrainStep,
    ordered: tuple[Window, Window, Order],
    table: KernelTable,
    profile: Profile,
    options: Options,
    target_bytes: int | None = None,
) -> Planned:
    """Project, plan, judge and lay out one order of the listed window; `target_bytes` is a first try below
    the budget.

    The last two orders are what they are called only if the planner leaves nodes where they are.
    """
    listed, window, order = ordered
    if order in (Order.DEFERRED, Order.INTERLEAVED):
        options = replace(options, means=replace(options.means, reorder=False))
    headstart = math.inf if order is Order.DEFERRED else HEADSTART
    spaces = _spaces(window, table)
    save_steps = _save_steps(window, options)
    projection, model = _priced_problem(window, table, profile, options, spaces, save_steps)
    target = target_bytes or options.memory_bytes or NO_BUDGET
    keeping = _keeping(window, profile, options, save_steps) if window.state else None
    try:
        priced, applied, target = _plan_within(
            window, projection, model, spaces, options, target, headstart, keeping
        )
    except BudgetInfeasible:
        write_problem(projection, options)
        raise
    save_steps = 1 if applied.pages_state else save_steps
    return Planned(
        step,
        window,
        table,
        projection,
        priced,
        applied,
        save_steps,
        target,
        options.objective,
        model,
        order,
        listed,
        options.memory_bytes or 0,
        options.means.reread,
    )


def write_problem(projection: Projection, options: Options) -> None:
    """Write the planning problem where the options ask for it."""
    if options.dump_problem is not None:
        options.dump_problem.write_text(problem_text(named(projection.problem)))


def project_window(window: Window, table: KernelTable, profile: Profile, options: Options) -> Projection:
    """The problem of a window in its listed order, priced in seconds."""
    spaces, save_steps = _spaces(window, table), _save_steps(window, options)
    return _priced_problem(window, table, profile, options, spaces, save_steps)[0]


def _priced_problem(
    window: Window,
    table: KernelTable,
    profile: Profile,
    options: Options,
    spaces: Sequence[tuple[int, ...]],
    save_steps: int,
) -> tuple[Projection, CostModel]:
    calls = range(len(window.calls))
    seconds = [_seconds(window, table, n, profile) for n in calls]
    scratch = max((k.code.scratch_bytes for k in table.kernels), default=0)
    fixed = engine_overhead_bytes(
        threads=options.threads,
        scratch_bytes=scratch,
        plan_bytes=PLAN_BYTES + PLAN_BYTES_A_CALL * len(window.calls),
        engine_bytes=ENGINE_BYTES + ENGINE_BYTES_A_PHASE * sum(len(k.symbols) for k in table.kernels),
        policy_bytes=options.policy_bytes,
    )
    projection = project(window, seconds, [sum(s) for s in spaces], fixed, profile)
    energy = [_joules(window, table, n, seconds[n], profile) for n in calls]
    joules = None
    if None not in energy:
        by_call = {node: energy[call] or 0.0 for node, call in projection.call_of.items()}
        joules = tuple(by_call.get(node.id, 0.0) for node in projection.problem.nodes)
    saving = Saving(_state_bytes(window, projection), save_steps)
    return projection, CostModel(projection.problem, transfers(profile), joules, saving)


def _state_bytes(window: Window, projection: Projection) -> dict[int, int]:
    """Source → bytes of its arrays in the state's file."""
    saved: dict[int, int] = {}
    for first, _ in window.state.values():
        source = projection.node_of[first]
        saved[source] = saved.get(source, 0) + window.items[first].size_bytes
    return saved


def transfers(profile: Profile) -> Transfers:
    """What flash costs on a device; a page also crosses memory once."""
    flash = profile.flash
    memory = profile.memory.energy_j_per_byte
    through = memory.value if memory else 0.0
    return Transfers(
        flash.read_bytes_per_s.value if flash.read_bytes_per_s else READ_BYTES_PER_S,
        flash.write_bytes_per_s.value if flash.write_bytes_per_s else WRITE_BYTES_PER_S,
        flash.read_energy_j_per_byte.value + through if flash.read_energy_j_per_byte else None,
        flash.write_energy_j_per_byte.value + through if flash.write_energy_j_per_byte else None,
    )


def _keeping(window: Window, profile: Profile, options: Options, save_steps: int) -> Keeping:
    """What keeping a window that is under way costs, and how much of it the limits leave room for."""
    flash, limit = profile.flash, options.limits.written_bytes
    state_bytes = sum(window.items[first].size_bytes for first, _ in window.state.values())
    return Keeping(
        write_bytes_per_s=transfers(profile).write_bytes_per_s,
        endurance_bytes=flash.endurance_bytes.value if flash.endurance_bytes else 0.0,
        state_bytes=state_bytes,
        written_bytes=limit,
        saves_each=save_steps == 1,
    )


def _save_steps(window: Window, options: Options) -> int:
    """Steps between two savings of the state, as long as none of it is paged."""
    state_bytes = sum(window.items[first].size_bytes for first, _ in window.state.values())
    limit = options.limits.written_bytes
    steps = options.save_steps
    if limit is not None and options.latest_save > steps:
        wanted = math.ceil(state_bytes / (SAVING_SHARE * limit)) if limit else options.latest_save
        steps = min(options.latest_save, max(steps, wanted))
    saved = math.ceil(state_bytes / steps)
    if limit is not None and saved > limit:
        raise LimitInfeasible("written_bytes", limit, saved, options.memory_bytes or NO_BUDGET)
    return steps


def _plan_within(
    window: Window,
    projection: Projection,
    model: CostModel,
    spaces: list[tuple[int, ...]],
    options: Options,
    target: int,
    store_headstart: float,
    keeping: Keeping | None,
) -> tuple[Priced, Applied, int]:
    """A judged plan whose arena, gaps of the layout included, keeps the budget.

    Transfers are spread over the memory that plan and layout leave free. Where a layout is larger than its
    plan said, the plan is made again for less by that factor.
    """
    problem = projection.problem
    budget_bytes = options.memory_bytes or NO_BUDGET
    beside = _beside_arena(window, projection)
    capacity = budget_bytes - beside
    total = NO_BUDGET
    for tries in range(1, LAYOUT_TRIES + 1):
        planner = _Planner(target, options.plan_seconds, options.means)
        try:
            priced = plan_within_limits(model, options.objective, options.limits, target, planner)
        except PlanInfeasible:
            if target == budget_bytes:
                raise
            break  # the layout's gaps are what does not fit: `target` is not what the user asked for
        free_bytes = budget_bytes - priced.plan.peak_bytes
        memory_bytes = priced.plan.peak_bytes + round(SPREAD * free_bytes)
        applied = apply_plan(
            window, projection, priced.plan, spaces, capacity, memory_bytes, store_headstart, keeping
        )
        if applied.arena_bytes <= capacity:
            measure = model.measure(applied.plan.sequence)
            return replace(priced, plan=applied.plan, measure=measure), applied, target
        total = min(total, applied.arena_bytes + beside)
        less = capacity / applied.arena_bytes * (1 - LAYOUT_MARGIN * (tries - 1))
        target = beside + int((target - beside) * less)
    raise infeasible(problem, budget_bytes, total)


def _beside_arena(window: Window, projection: Projection) -> int:
    """Bytes of the process outside the arena; small results are fixed in the problem and lie in the arena."""
    small = sum(padded(window.items[item].size_bytes) for item in projection.satellites)
    return projection.problem.fixed_bytes - small


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans a weighed problem within the memory, and has every plan judged."""

    memory_bytes: int
    seconds: float
    means: Means

    def __call__(self, problem: Problem) -> Plan:
        limit = min(self.seconds, PLAN_SECONDS_A_NODE * len(problem.nodes))
        means = self.means
        allowed = restricted(
            problem,
            recompute=means.recompute,
            reread=means.reread,
            paging=means.paging,
            swap=means.swap,
            reorder=means.reorder,
        )
        found = auto(allowed.problem, self.memory_bytes, PlanOptions(time_limit_s=limit))
        plan = settled(problem, allowed.unrestricted(found))
        validate_plan(problem, plan, self.memory_bytes)
        return plan


def _seconds(window: Window, table: KernelTable, call: int, profile: Profile) -> float:
    entry = window.calls[call]
    if entry.kind is not CallKind.KERNEL:
        return 0.0
    kernel = table.kernels[entry.kernel]
    return kernel_seconds(kernel.kind, kernel_cost(kernel.body), profile)


def _joules(window: Window, table: KernelTable, call: int, seconds: float, profile: Profile) -> float | None:
    entry = window.calls[call]
    if entry.kind is not CallKind.KERNEL:
        return 0.0
    return kernel_joules(seconds, kernel_cost(table.kernels[entry.kernel].body), profile)


def _spaces(window: Window, table: KernelTable) -> list[tuple[int, ...]]:
    """Sizes of the workspaces of every call, in bytes."""
    return [_workspaces(window, table, n) for n in range(len(window.calls))]


def _workspaces(window: Window, table: KernelTable, call: int) -> tuple[int, ...]:
    entry = window.calls[call]
    return table.kernels[entry.kernel].code.workspace_bytes if entry.kind is CallKind.KERNEL else ()
