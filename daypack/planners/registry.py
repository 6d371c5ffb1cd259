"""The planners by name. Each is imported when it is asked for: some bring a solver or a compiler along."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module

from daypack.errors import SpecError
from daypack.planners.plan import Planner


class PlannerName(StrEnum):
    """What ``--planner`` takes; the function has the name of its file."""

    AUTO = "auto"
    KEEP_ALL = "keep-all"
    EVICT = "evict"
    GREEDY = "greedy"
    SQRT_N = "sqrt-n"
    CHAIN = "chain"
    ANNEAL = "anneal"
    CPSAT = "cpsat"


def planner_named(name: str) -> Planner:
    """The planner of this name; `SpecError` lists the names there are."""
    if name not in list(PlannerName):
        raise SpecError(f"planner: {name!r} is not one of {', '.join(item.value for item in PlannerName)}")
    module = name.replace("-", "_")
    planner: Planner = getattr(import_module(f"daypack.planners.{module}"), module)
    return planner
