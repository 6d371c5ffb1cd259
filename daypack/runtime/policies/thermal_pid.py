"""A PI controller of the skin temperature over the gears, in velocity form: as kernel governors, without a
deadline.

Every seven seconds the gear moves by `KP` times the change of the error plus `KI` times the error (Åström
and Hägglund, Advanced PID Control, section 13.4; no derivative, as in Linux's power allocator). Velocity
form needs no integral: the state is the gear in use and the error before, one byte.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Policy
from daypack.runtime.policies.setting import Setting

KP, KI = 1.0, 0.12  #: gears a kelvin, and a kelvin and period
BELOW_K = 2.0  #: the set point is this far below where limits pause
STEP_K = 0.5
BINS, GEARS = 16, 16
PERIOD_S = 7.0


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    target = setting.limits.skin_celsius - setting.limits.skin_margin_k - BELOW_K
    return (Dimension(Observable.SKIN, tuple(target + STEP_K * (n - 10) for n in range(BINS - 1))),)


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    edges = _dimensions(setting)[0].edges
    bin_now = sum(observation[Observable.SKIN] > edge for edge in edges)
    place, bin_before = divmod(state, BINS)
    gears = setting.frugal[-GEARS:]
    place = min(place, len(gears) - 1)
    error, before = (10 - bin_now) * STEP_K, (10 - bin_before) * STEP_K
    moved = KP * (error - before) + KI * error
    whole = int(moved) if abs(moved) >= 1 else (moved > 0.4) - (moved < -0.4)
    place = min(max(place + whole, 0), len(gears) - 1)
    return Action(gears[place]), place * BINS + bin_now


THERMAL_PID = Policy("thermal-pid", _dimensions, _decide, states=BINS * GEARS, period_s=PERIOD_S)
