"""The answer of a planner to a budget that nothing fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daypack.errors import BudgetInfeasible


@dataclass(frozen=True, slots=True)
class ForcedBy:
    """One value that is resident in the moment that forces the bound."""

    id: int | str
    name: str
    size_bytes: int


class PlanInfeasible(BudgetInfeasible):
    """No plan fits: the smallest budget known to do, a proven lower bound, and what forces it.

    ``smallest_feasible_bytes`` is the peak of a real plan; ``bound_bytes`` holds for every plan.
    """

    def __init__(
        self, memory_bytes: int, smallest_feasible_bytes: int, bound_bytes: int, forced_by: Sequence[ForcedBy]
    ) -> None:
        self.memory_bytes = memory_bytes
        self.smallest_feasible_bytes = smallest_feasible_bytes
        self.bound_bytes = bound_bytes
        self.forced_by = tuple(forced_by)
        super().__init__(self._text())

    def _text(self) -> str:
        largest = sorted(self.forced_by, key=lambda value: -value.size_bytes)[:5]
        names = ", ".join(f"{value.name} ({value.size_bytes} bytes)" for value in largest)
        if self.memory_bytes < self.bound_bytes:
            verdict = "no plan can fit it"
        else:
            verdict = "no plan was found that fits it"
        return (
            f"budget of {self.memory_bytes} bytes: {verdict}; "
            f"every plan needs at least {self.bound_bytes} bytes, "
            f"forced by {names or 'fixed_bytes'}; "
            f"the smallest budget found to do is {self.smallest_feasible_bytes} bytes"
        )

    def details(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "error": "budget-infeasible",
            "memory_bytes": self.memory_bytes,
            "smallest_feasible_bytes": self.smallest_feasible_bytes,
            "bound_bytes": self.bound_bytes,
            "forced_by": [
                {"id": value.id, "name": value.name, "size_bytes": value.size_bytes}
                for value in self.forced_by
            ],
        }


class LayoutInfeasible(BudgetInfeasible):
    """No layout within the capacity: the smallest arena found, and the load that no arena goes below."""

    def __init__(self, capacity_bytes: int, smallest_feasible_bytes: int, bound_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.smallest_feasible_bytes = smallest_feasible_bytes
        self.bound_bytes = bound_bytes
        verdict = (
            "no layout can fit it" if capacity_bytes < bound_bytes else "no layout was found that fits it"
        )
        super().__init__(
            f"capacity of {capacity_bytes} bytes: {verdict}; the buffers alive together at one moment need "
            f"{bound_bytes} bytes, the smallest arena found has {smallest_feasible_bytes} bytes"
        )

    def details(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "error": "layout-infeasible",
            "capacity_bytes": self.capacity_bytes,
            "smallest_feasible_bytes": self.smallest_feasible_bytes,
            "bound_bytes": self.bound_bytes,
        }
