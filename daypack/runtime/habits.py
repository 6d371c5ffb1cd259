"""Habits: how much of every half hour of a day was free for training, from days that are past."""

from __future__ import annotations

from collections.abc import Sequence

from daypack.runtime.limits import Limits
from daypack.runtime.recording import DAY_S, Recording, Row

HALF_HOURS = 48
HALF_HOUR_S = DAY_S / HALF_HOURS


def always_free(limits: Limits) -> tuple[float, ...]:
    """The share of each half hour outside the quiet hours: all that is known without a recording."""
    return tuple(0.0 if limits.is_quiet(half / 2) else 1.0 for half in range(HALF_HOURS))


def free_shares(past: Sequence[Recording], limits: Limits, memory_mb: float) -> tuple[float, ...]:
    """The share of each half hour of the day in which the limits would have allowed to train.

    Charger, screen, quiet hours and memory count; battery and heat depend on what was trained and do not.
    """
    free, known = [0.0] * HALF_HOURS, [0.0] * HALF_HOURS
    for recording in past:
        ends = [*(row.t_s for row in recording.rows[1:]), recording.end_s]
        for row, end_s in zip(recording.rows, ends, strict=True):
            at = row.t_s
            while at < end_s:
                half = int(at / HALF_HOUR_S)
                until = min(end_s, (half + 1) * HALF_HOUR_S)
                known[half % HALF_HOURS] += until - at
                if _allows(limits, row, (half % HALF_HOURS) / 2, memory_mb):
                    free[half % HALF_HOURS] += until - at
                at = until
    return tuple(f / k if k else 1.0 for f, k in zip(free, known, strict=True))


def _allows(limits: Limits, row: Row, hour: float, memory_mb: float) -> bool:
    return (
        row.mem_available_mb >= memory_mb
        and (row.charging or not limits.only_charging)
        and not (row.screen and limits.only_screen_off)
        and not limits.is_quiet(hour)
    )
