"""The plans of one bundle: several orders of the same window, within several budgets.

Kernels, weights, the state's layout and the micro-batches are those of the first plan, so all compute the
same bits. Each is searched, judged and laid out by itself, and ships only if it keeps its budget and the
limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from daypack.compiler.planning import Options, Planned, plan_window, polished
from daypack.devices import Profile
from daypack.errors import BudgetInfeasible
from daypack.planners.cost import Weights, clock
from daypack.planners.schedule import instruction_costs
from daypack.runtime.plan_file import Order


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An order that was asked for and does not ship within a budget (0: none), and why."""

    order: Order
    budget_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Variants:
    """The plans of a bundle, by descending budget, the cheapest order of each first; and what is left out."""

    plans: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...]


def variants(first: Planned, profile: Profile, options: Options) -> Variants:
    """`first`, which was planned for `options`, and every other plan that they ask for.

    Raises:
        BudgetInfeasible: a budget has no plan in any of the orders.
    """
    plans: list[Planned] = []
    left_out: list[LeftOut] = []
    for memory in (options.memory_bytes, *options.smaller_bytes):
        found: list[Planned] = []
        for tried in _tried(first, profile, replace(options, memory_bytes=memory)):
            if isinstance(tried, LeftOut):
                left_out.append(tried)
            elif (twin := _twin(tried, found)) is not None:
                reason = f"its instructions are those of {twin.order.label}"
                left_out.append(LeftOut(tried.order, memory or 0, reason))
            else:
                found.append(tried)
        plans += sorted(found, key=lambda planned: planned.price)
    return Variants(tuple(plans), tuple(left_out))


def feasible(draft: Planned, profile: Profile, options: Options) -> Planned:
    """The draft, if every smaller budget has a plan too; raises BudgetInfeasible otherwise."""
    for memory in options.smaller_bytes:
        smaller = replace(options, memory_bytes=memory)
        plan_window(draft.step, draft.listed, draft.table, profile, smaller)
    return draft


def _tried(first: Planned, profile: Profile, options: Options) -> Iterator[Planned | LeftOut]:
    """A plan for each order within one budget, or why there is none."""
    own = (options.memory_bytes or 0) == first.budget_bytes
    if own:
        yield first
    refusals: list[BudgetInfeasible] = []
    orders = [None] if options.orders is None else list(options.orders)
    for order in orders:
        if own and order in (None, first.order):
            continue
        if order is Order.LAYER_MAJOR and len(first.window.batches) == 1:
            yield LeftOut(order, options.memory_bytes or 0, "a window of one micro-step has no other order")
            continue
        asked = options if order is None else replace(options, orders=(order,))
        try:
            draft = plan_window(first.step, first.listed, first.table, profile, asked)
            yield polished(draft, profile, asked)
        except BudgetInfeasible as refusal:
            refusals.append(refusal)
            if order is not None:
                yield LeftOut(order, options.memory_bytes or 0, refusal.message)
    if not own and len(refusals) == len(orders):
        raise refusals[0]


def _twin(planned: Planned, found: list[Planned]) -> Planned | None:
    """A plan that does the same instructions in the same places."""
    return next((other for other in found if other.applied.stream == planned.applied.stream), None)


@dataclass(frozen=True, slots=True)
class Watts:
    """Modelled power of a window: its mean, and that of the shard that takes most."""

    mean: float
    peak: float


def watts(planned: Planned) -> Watts | None:
    """None where the device's profile has no power figures."""
    if not planned.model.knows_energy:
        return None
    sequence = planned.plan.sequence
    energy = list(instruction_costs(planned.model.weighed(Weights(per_joule=1.0)), sequence))
    done = [max(lanes) for lanes in clock(planned.model.base, sequence)]
    ends = [0, *planned.applied.shard_ends]
    shards = [
        (sum(energy[begin:end]), (done[end - 1] if end else 0.0) - (done[begin - 1] if begin else 0.0))
        for begin, end in pairwise(ends)
    ]
    powers = [joules / seconds for joules, seconds in shards if seconds > 0]
    total = sum(seconds for _, seconds in shards)
    return Watts(sum(energy) / total, max(powers)) if powers and total > 0 else None


def plan_record(planned: Planned, file: str, peak_bytes: int, saved_bytes: int) -> dict[str, Any]:
    """What bundle.json says of a plan; every figure is of one step and modelled."""
    measure, power = planned.priced.measure, watts(planned)
    return {
        "file": file,
        "order": planned.order.label,
        "budget_bytes": planned.budget_bytes or None,
        "peak_bytes": peak_bytes,
        "arena_bytes": planned.applied.arena_bytes,
        "step_seconds": measure.seconds,
        "step_joules": measure.joules,
        "mean_watts": power and power.mean,
        "peak_watts": power and power.peak,
        "flash_read_bytes": planned.applied.moved_bytes(fetch=True),
        "flash_written_bytes": planned.applied.moved_bytes(fetch=False) + saved_bytes,
        "shards": len(planned.applied.shard_ends),
        "source": "modelled",
    }
