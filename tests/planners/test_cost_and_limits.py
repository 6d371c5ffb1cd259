"""A plan's figures in every unit, and limits on them."""

from __future__ import annotations

import pytest

from daypack.errors import ExitCode, SpecError
from daypack.planners.cost import OBJECTIVES, CostModel, Objective, Saving, Transfers, seconds
from daypack.planners.limits import LimitInfeasible, Limits, plan_within_limits
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.schedule import Schedule, complete, plan_cost

COMPUTE, PAGE_IN = Op.COMPUTE, Op.PAGE_IN
MEGABYTE = 1_000_000


def problem() -> Problem:
    """A value that is needed again after a big one: it is kept, computed again, or paged out and in."""
    nodes = (
        Node(0, "batch", 0.0, 1 * MEGABYTE, kind=NodeKind.SOURCE),
        Node(1, "early", 2.0, 100 * MEGABYTE, inputs=(0,)),
        Node(2, "first use", 1.0, 1 * MEGABYTE, inputs=(1,)),
        Node(3, "big", 4.0, 100 * MEGABYTE, inputs=(2,)),
        Node(4, "after big", 1.0, 1 * MEGABYTE, inputs=(3,)),
        Node(5, "second use", 1.0, 1 * MEGABYTE, inputs=(1, 4)),
    )
    return Problem(nodes, frozenset({5}), 0, Paging(100e6, 50e6, 0, frozenset({1}), frozenset()))


def model(*, energy: bool = True) -> CostModel:
    """Paging is 3 s (1 in, 2 out) and cheap in joules; recomputing is 2 s and dear."""
    joules = (0.0, 50.0, 1.0, 10.0, 1.0, 1.0)
    transfers = Transfers(100e6, 50e6, 1e-9, 2e-9) if energy else Transfers(100e6, 50e6)
    return CostModel(problem(), transfers, joules if energy else None)


def loads(*items: tuple[Op, int]) -> list[Instruction]:
    return [Instruction(op, value) for op, value in items]


KEPT = loads(*((COMPUTE, n) for n in (1, 2, 3, 4, 5)))
AGAIN = loads(*((COMPUTE, n) for n in (1, 2, 3, 4, 1, 5)))
PAGED = loads(*((COMPUTE, n) for n in (1, 2, 3, 4)), (PAGE_IN, 1), (COMPUTE, 5))


def schedules() -> list[Schedule]:
    return [complete(problem(), sequence) for sequence in (KEPT, AGAIN, PAGED)]


def cheapest(memory_bytes: int):
    """A planner that knows three plans."""

    def plan_for(weighed: Problem) -> Plan:
        fitting = [s for s in schedules() if s.peak_bytes <= memory_bytes]
        best = min(fitting, key=lambda s: plan_cost(weighed, s.sequence))
        cost = plan_cost(weighed, best.sequence)
        return Plan(best.sequence, best.peak_bytes, cost, 0.0, False, 0.0)

    return plan_for


TIGHT = 150 * MEGABYTE


def chosen(objective: Objective, limits: Limits, memory_bytes: int = TIGHT, *, energy: bool = True):
    return plan_within_limits(model(energy=energy), objective, limits, memory_bytes, cheapest(memory_bytes))


def test_a_measure_has_every_figure() -> None:
    kept, again, paged = (model().measure(s.sequence) for s in schedules())
    assert (kept.joules, kept.written_bytes, kept.read_bytes) == (63.0, 0, 0)
    assert (again.joules, again.written_bytes, again.read_bytes) == (113.0, 0, 0)
    assert paged.joules == pytest.approx(63.0 + 0.1 + 0.2)
    assert (paged.written_bytes, paged.read_bytes) == (100 * MEGABYTE, 100 * MEGABYTE)


def state_model(steps: int) -> CostModel:
    """Two weights that a window changes and that are saved every so many windows; both may be paged."""
    nodes = (
        Node(0, "batch", 0.0, 1, kind=NodeKind.SOURCE),
        Node(1, "v", 0.0, 60, kind=NodeKind.SOURCE),
        Node(2, "w", 0.0, 40, kind=NodeKind.SOURCE),
        Node(3, "new v", 1.0, 60, inputs=(0,), overwrites=1),
        Node(4, "new w", 1.0, 40, inputs=(0,), overwrites=2),
    )
    paging = Paging(10.0, 10.0, 0, frozenset({1, 2, 3, 4}), frozenset())
    base = Problem(nodes, frozenset({3, 4}), 0, paging)
    return CostModel(base, Transfers(10.0, 10.0), None, Saving({1: 60, 2: 40}, steps))


@pytest.mark.parametrize(
    ("steps", "paged", "written"),
    [
        (1, (), 100),
        (10, (), 10),
        (10, (2,), 100),  # 40 paged out, and the 60 that stay have to follow
        (1, (2,), 100),
        (10, (1, 2), 100),
    ],
)
def test_saved_state_is_written_once(steps: int, paged: tuple[int, ...], written: int) -> None:
    """By the saving from memory or by the page-out, never by both."""
    model = state_model(steps)
    sequence = loads(*((PAGE_IN, v) for v in paged), (COMPUTE, 3), (COMPUTE, 4))
    found = model.measure(complete(model.base, sequence).sequence)
    assert found.written_bytes == written


def test_transfers_overlap_with_computing_and_computes_wait_for_what_they_read() -> None:
    kept, again, paged = (seconds(problem(), s.sequence) for s in schedules())
    assert (kept, again) == (9.0, 11.0)
    # Written (2 s) while `big` (4 s) computes; read (1 s) after it, with nothing left to compute meanwhile.
    assert paged == 10.0
    late = plan_cost(problem(), schedules()[2].sequence)
    assert late == 12.0  # one after the other


def test_the_objective_decides_between_recomputing_and_paging() -> None:
    assert chosen(Objective.TIME, Limits()).measure.written_bytes == 0
    assert chosen(Objective.WEAR, Limits()).measure.written_bytes == 0
    assert chosen(Objective.ENERGY, Limits()).measure.written_bytes == 100 * MEGABYTE


def test_an_objective_of_wear_minds_time_last() -> None:
    assert OBJECTIVES[Objective.WEAR].per_written_byte > 0
    assert chosen(Objective.WEAR, Limits(), 10**9).measure.seconds == 9.0


@pytest.mark.parametrize(
    ("objective", "limits"),
    [
        (Objective.TIME, Limits(joules=70.0)),
        (Objective.ENERGY, Limits(written_bytes=50 * MEGABYTE)),
        (Objective.TIME, Limits(seconds=11.5)),
    ],
)
def test_limits_are_kept(objective: Objective, limits: Limits) -> None:
    found = chosen(objective, limits)
    assert not limits.broken(found.measure)


def test_a_limit_that_no_plan_keeps_is_refused_with_the_least_found() -> None:
    cases = {
        "seconds": (Limits(seconds=5.0), 10.0),
        "joules": (Limits(joules=60.0), 63.3),
        "written_bytes": (Limits(joules=70.0, written_bytes=10), 0.0),
    }
    for name in ("seconds", "joules"):
        limits, least = cases[name]
        with pytest.raises(LimitInfeasible) as caught:
            chosen(Objective.TIME, limits)
        assert caught.value.code is ExitCode.BUDGET_INFEASIBLE
        assert caught.value.details()["limit"] == name
        assert str(caught.value).startswith(
            f"limit of {getattr(limits, name):g} {name} a step: the least found"
        )
        assert caught.value.found >= least - 1.01


def test_two_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(LimitInfeasible, match="raise the limit or the memory budget"):
        chosen(Objective.TIME, Limits(joules=70.0, written_bytes=10))


def test_energy_needs_power_figures() -> None:
    for objective, limits in ((Objective.ENERGY, Limits()), (Objective.TIME, Limits(joules=1.0))):
        with pytest.raises(SpecError, match="the device's profile has no power figures"):
            chosen(objective, limits, energy=False)
    assert chosen(Objective.TIME, Limits(), energy=False).measure.joules is None
