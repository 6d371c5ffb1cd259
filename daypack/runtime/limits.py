"""What the owner of a device allows: limits that the scheduler keeps whatever a policy says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from daypack.errors import SpecError


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares are from 0 to 1, temperatures °C, hours of the day from 0 to 24; infinity is no limit.

    `quiet_hours` is half-open and may pass midnight; `reserve` is the share of the battery below which
    nothing is trained; work pauses `skin_margin_k` below `skin_celsius`, for heat still on its way, and
    `reserve_margin` above the reserve, for what is drawn until the next look.
    """

    reserve: float = 0.2
    skin_celsius: float = 42.0
    skin_margin_k: float = 0.5
    joules_per_day: float = math.inf
    written_bytes: float = math.inf
    only_charging: bool = False
    only_screen_off: bool = False
    reserve_margin: float = 0.002
    quiet_hours: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _within("reserve", self.reserve, 0.0, 1.0)
        _within("skin_celsius", self.skin_celsius, 0.0, math.inf)
        _within("skin_margin_k", self.skin_margin_k, 0.0, 20.0)
        _within("joules_per_day", self.joules_per_day, 0.0, math.inf)
        _within("written_bytes", self.written_bytes, 0.0, math.inf)
        for hour in self.quiet_hours or ():
            _within("quiet_hours", hour, 0.0, 24.0)

    def is_quiet(self, hour: float) -> bool:
        """Whether an hour of the day is one of the quiet ones."""
        if self.quiet_hours is None:
            return False
        begin, end = self.quiet_hours
        return begin <= hour < end if begin <= end else hour >= begin or hour < end


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SpecError(f"limits.{name}: got {value:g}, takes a number from {low:g} to {high:g}")


UNLIMITED = Limits(reserve=0.0, reserve_margin=0.0, skin_celsius=math.inf, skin_margin_k=0.0)
"""For the policies of systems that know no limits."""
