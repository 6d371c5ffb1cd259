"""The planners by name. Each is imported when it is asked for: some bring a solver or a compiler along."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from daypack.errors import SpecError
from daypack.planners.plan import Planner


class PlannerName(StrEnum):
    """What ``--planner`` takes."""

    KEEP_ALL = "keep-all"
    AUTO = "auto"


def planner_named(name: str) -> Planner:
    """The planner of this name; `SpecError` lists the names there are."""
    if name not in list(PlannerName):
        raise SpecError(f"planner: {name!r} is not one of {', '.join(item.value for item in PlannerName)}")
    return _LOADERS[PlannerName(name)]()


def _keep_all() -> Planner:
    from daypack.planners.keep_all import keep_all

    return keep_all


_LOADERS: dict[PlannerName, Callable[[], Planner]] = {
    PlannerName.KEEP_ALL: _keep_all,
    PlannerName.AUTO: _keep_all,
}
