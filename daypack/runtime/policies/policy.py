"""What a policy is: a pure function of a quantized observation and a small state.

A policy declares at most six dimensions, the edges of their bins, and how many states it has. It is
evaluated once for every cell when it is tabulated; afterwards only the table exists. In each bin it is
shown the edge that is the more cautious one: the warmest skin, the emptiest battery, the largest demand,
the least time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from daypack.errors import SpecError
from daypack.runtime.policies.setting import Setting

MAX_DIMENSIONS = 6
MAX_TABLE_BYTES = 1_000_000
MAX_REST_S = 3600.0


class PolicyError(SpecError):
    """A policy cannot be tabulated: it raised, or gave what nobody can do; the message names the cell."""


class Observable(IntEnum):
    """What a policy may look at; the numbers are those of native/src/scheduler.h."""

    BATTERY = 0  #: charge left, share of capacity
    SKIN = 1  #: °C
    CHARGING = 2  #: 0 or 1
    SCREEN = 3  #: 0 or 1
    DEMAND = 4  #: work left / what the fastest gear does in the free time that is expected
    TIME_LEFT = 5  #: seconds until the deadline
    FORECAST = 6  #: share of the time left that is expected to be free
    WORK_LEFT = 7  #: share of the job
    AMBIENT = 8  #: °C
    HOUR = 9  #: of the day
    SPENT_J = 10  #: joules of training since midnight
    WRITTEN_BYTES = 11  #: to flash by the job
    MEMORY_MB = 12  #: MB that the system could give


_SHOWS_UPPER = {
    Observable.SKIN,
    Observable.DEMAND,
    Observable.WORK_LEFT,
    Observable.AMBIENT,
    Observable.SPENT_J,
    Observable.WRITTEN_BYTES,
}
_FLAGS = {Observable.CHARGING, Observable.SCREEN}
_LEAST = {Observable.SKIN: -math.inf, Observable.AMBIENT: -math.inf}


@dataclass(frozen=True, slots=True)
class Dimension:
    """One observable and its bins: value v is in bin i where `edges[i-1] <= v < edges[i]`."""

    observable: Observable
    edges: tuple[float, ...]

    @property
    def bins(self) -> int:
        return len(self.edges) + 1

    def shown(self, bin_: int) -> float:
        """The value that the policy sees for a bin."""
        if self.observable in _FLAGS:
            return float(bin_)
        if self.observable in _SHOWS_UPPER:
            return self.edges[bin_] if bin_ < len(self.edges) else math.inf
        return self.edges[bin_ - 1] if bin_ else _LEAST.get(self.observable, 0.0)


CHARGING = Dimension(Observable.CHARGING, (0.5,))
SCREEN = Dimension(Observable.SCREEN, (0.5,))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy is shown: the values of its dimensions, by observable."""

    values: Mapping[Observable, float]

    def __getitem__(self, observable: Observable) -> float:
        if observable not in self.values:
            raise KeyError(f"{observable.name} is not among the policy's dimensions")
        return self.values[observable]


@dataclass(frozen=True, slots=True)
class Action:
    """Run in a gear (an index of the setting's gears), resting after every step; or pause (None)."""

    gear: int | None
    rest_s: float = 0.0


PAUSE = Action(None)

Decide = Callable[[Observation, int, Setting], tuple[Action, int]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a user may choose for a policy."""

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A name, what it looks at on a device, and its function `(observation, state, setting)` → (action,
    state).

    `setting.parameters` has the value of each of `parameters`: that in `chosen`, else its default.

    States are numbered from 0, where it begins. With a `period_s` it is also asked after that long without a
    change. `obeys_limits` is False only for published systems that know none.
    """

    name: str
    dimensions: Callable[[Setting], tuple[Dimension, ...]]
    decide: Decide
    states: int = 1
    period_s: float = 0.0
    obeys_limits: bool = True
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    chosen: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def values(self) -> dict[str, float]:
        """Of every parameter."""
        return {name: self.chosen.get(name, known.default) for name, known in self.parameters.items()}

    def with_values(self, chosen: Mapping[str, float]) -> Policy:
        """The policy with values for some of its parameters; `SpecError` names one that it cannot have."""
        for name, value in chosen.items():
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise SpecError(f"policy {self.name}: {name}: unknown parameter; takes {known}")
            known = self.parameters[name]
            if not known.low <= value <= known.high:
                raise SpecError(
                    f"policy {self.name}: {name}: found {value:g}, takes a number from {known.low:g} to "
                    f"{known.high:g}"
                )
        return replace(self, chosen=dict(chosen))
