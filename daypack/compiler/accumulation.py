"""How many micro-steps a batch is cut into, where the user leaves it open: the cheapest of those that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daypack.compiler.planning import Planned
from daypack.compiler.step import TrainStep
from daypack.errors import BudgetInfeasible


def windows_of(batch: int) -> list[int]:
    """The window lengths that divide a batch, shortest first."""
    return [k for k in range(1, batch + 1) if batch % k == 0]


def cheapest(candidates: Sequence[TrainStep], plan: Callable[[TrainStep], Planned]) -> Planned:
    """Plan the candidates in turn, shortest window first, and take the one of least objective.

    A window twice as long halves activations, and reads paged weights twice as often, so costs fall and then
    rise: the search ends at the first candidate that pays nothing for the budget, or at the first that fits
    and is dearer than the best so far.

    Raises:
        BudgetInfeasible: that of the candidate that came nearest to fitting.
    """
    best: Planned | None = None
    refusals: list[BudgetInfeasible] = []
    for step in candidates:
        try:
            planned = plan(step)
        except BudgetInfeasible as refusal:
            refusals.append(refusal)
            continue
        if best is not None and planned.price >= best.price:
            break
        best = planned
        if planned.pays_nothing:
            break
    if best is None:
        raise min(refusals, key=_needed)
    return best


def _needed(refusal: BudgetInfeasible) -> float:
    """Bytes that would do; a limit other than memory comes last."""
    needed = refusal.details().get("smallest_feasible_bytes")
    return float(needed) if isinstance(needed, int) else float("inf")
