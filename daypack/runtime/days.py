"""Plausible days of made-up owners: seeded, so that a name and a number are a recording.

Nothing here was measured. Times, watts and temperatures are drawn around habits that each function states;
they exist to exercise policies until real recordings stand in (`recording.py` has the format).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daypack.errors import SpecError
from daypack.runtime.recording import DAY_S, Recording, Row, recording

HOUR_S = 3600.0
MINUTE_S = 60.0
CHARGER_W = 15.0
LIGHT_W, MEDIA_W, GAME_W = 1.1, 1.8, 3.6
FREE_MB, BUSY_MB, GAME_MB = 2600.0, 1500.0, 700.0


@dataclass(slots=True)
class Timeline:
    """Intervals laid over a quiet indoor day; later ones win. Times are seconds, at whole minutes."""

    chance: random.Random
    days: int
    ambient_c: float
    uses: list[tuple[float, float, float, float]] = field(
        default_factory=list[tuple[float, float, float, float]]
    )
    charges: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    airs: list[tuple[float, float, float]] = field(default_factory=list[tuple[float, float, float]])

    def use(self, day: int, hour: float, minutes: float, watts: float, memory_mb: float = BUSY_MB) -> None:
        """The screen is on for about `minutes`, from about `hour`."""
        begin = self._at(day, hour, 20)
        length = max(MINUTE_S, self._rounded(minutes * MINUTE_S * self.chance.uniform(0.6, 1.4)))
        self.uses.append((begin, begin + length, watts * self.chance.uniform(0.85, 1.15), memory_mb))

    def charge(self, day: int, hour: float, hours: float) -> None:
        """The charger is in for about `hours`, from about `hour`."""
        begin = self._at(day, hour, 30)
        self.charges.append((begin, begin + self._rounded(hours * HOUR_S * self.chance.uniform(0.85, 1.15))))

    def air(self, day: int, hour: float, hours: float, celsius: float) -> None:
        """The device is in other air for about `hours`, from about `hour`."""
        begin = self._at(day, hour, 20)
        warmth = celsius + self.chance.uniform(-2, 2)
        self.airs.append((begin, begin + self._rounded(hours * HOUR_S), warmth))

    def recording(self, name: str) -> Recording:
        """What the intervals come to; a row at every change."""
        end = self.days * DAY_S
        intervals = [*self.uses, *self.charges, *self.airs]
        times = sorted({0.0, *(t for interval in intervals for t in interval[:2] if 0 < t < end)})
        return recording(name, (self._row(t) for t in times), where=name)

    def _row(self, t_s: float) -> Row:
        used = [u for u in self.uses if u[0] <= t_s < u[1]]
        air = [a[2] for a in self.airs if a[0] <= t_s < a[1]]
        charging = any(begin <= t_s < stop for begin, stop in self.charges)
        return Row(
            t_s=t_s,
            charging=charging,
            charge_w=CHARGER_W if charging else 0.0,
            screen=bool(used),
            foreground_w=round(used[-1][2] if used else 0.03, 3),
            ambient_c=round(air[-1] if air else self.ambient_c, 1),
            mem_available_mb=used[-1][3] if used else FREE_MB,
        )

    def _at(self, day: int, hour: float, spread_minutes: float) -> float:
        shifted = hour * HOUR_S + self.chance.gauss(0, spread_minutes * MINUTE_S)
        return max(0.0, self._rounded(day * DAY_S + shifted))

    @staticmethod
    def _rounded(seconds: float) -> float:
        return MINUTE_S * round(seconds / MINUTE_S)


def _commuter(day: Timeline, number: int) -> None:
    """Two rides with media, glances at work, an evening with media, the charger from 23 to 7."""
    day.use(number, 7.0, 15, LIGHT_W)
    day.use(number, 8.0, 35, MEDIA_W)
    day.air(number, 7.8, 0.8, 16)
    for hour in (10, 11.5, 12.5, 14, 15.5, 16.5):
        day.use(number, hour, 6, LIGHT_W)
    day.use(number, 18.0, 35, MEDIA_W)
    day.air(number, 17.8, 0.8, 15)
    day.use(number, 20.5, 60, MEDIA_W)
    day.charge(number, 23.0, 8)


def _night_charger(day: Timeline, number: int) -> None:
    """Little use, the charger from 22 on for nine hours."""
    for hour in (8, 12, 17, 20):
        day.use(number, hour, 12, LIGHT_W)
    day.charge(number, 22.0, 9)


def _heavy_gamer(day: Timeline, number: int) -> None:
    """Four long games, the charger in between and at night."""
    for hour, minutes in ((9.5, 40), (13.5, 60), (17.5, 90), (21.0, 100)):
        day.use(number, hour, minutes, GAME_W, GAME_MB)
    day.use(number, 11.5, 20, LIGHT_W)
    day.charge(number, 15.0, 1.5)
    day.charge(number, 24.0, 7)


def _tablet_at_home(day: Timeline, number: int) -> None:
    """Media in the evening, on the charger since noon."""
    day.use(number, 10.0, 25, MEDIA_W)
    day.use(number, 16.0, 40, MEDIA_W)
    day.use(number, 20.0, 110, MEDIA_W)
    day.charge(number, 12.0, 9)


def _cold_outdoors(day: Timeline, number: int) -> None:
    """Out at 2 °C from 8 to 17 with glances, the charger for two hours in the evening."""
    day.air(number, 8.0, 9, 2)
    for hour in (9, 10.5, 12, 13.5, 15, 16.5):
        day.use(number, hour, 8, LIGHT_W)
    day.use(number, 19.0, 45, MEDIA_W)
    day.charge(number, 20.5, 2)


OWNERS: Mapping[str, Callable[[Timeline, int], None]] = {
    "commuter": _commuter,
    "night-charger": _night_charger,
    "heavy-gamer": _heavy_gamer,
    "tablet-at-home": _tablet_at_home,
    "cold-outdoors": _cold_outdoors,
}


def plausible_days(owner: str, seed: int, days: int = 2) -> Recording:
    """`days` days of an owner; the same seed gives the same recording. `SpecError` names the owners."""
    if owner not in OWNERS:
        raise SpecError(f"unknown owner {owner!r}; known: {', '.join(OWNERS)}")
    if days < 1:
        raise SpecError(f"days: got {days}, takes a whole number of at least 1")
    chance = random.Random(f"{owner}:{seed}")
    line = Timeline(chance, days, ambient_c=chance.uniform(20, 25))
    for number in range(-1, days):
        OWNERS[owner](line, number)
    return line.recording(f"{owner}:{seed}")
