"""A PI controller of the skin temperature over the gears, in velocity form: as kernel governors, without a
deadline.

Every seven seconds the gear moves by `kp` times the change of the error plus `ki` times the error (Åström
and Hägglund, Advanced PID Control, section 13.4; no derivative, as in Linux's power allocator). Velocity
form needs no integral: the state is the gear in use and the error before, one byte.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Parameter, Policy
from daypack.runtime.policies.setting import Setting

PARAMETERS = {
    "kp": Parameter(1.0, 0.0, 20.0, "gears a kelvin that the error changes by"),
    "ki": Parameter(0.12, 0.0, 20.0, "gears a kelvin of error, every 7 s"),
    "below_k": Parameter(2.0, 0.0, 15.0, "how far the set point is below where limits pause, K"),
}
STEP_K = 0.5
BINS, GEARS = 16, 16
PERIOD_S = 7.0


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    target = setting.limits.skin_celsius - setting.limits.skin_margin_k - setting.parameters["below_k"]
    return (Dimension(Observable.SKIN, tuple(target + STEP_K * (n - 10) for n in range(BINS - 1))),)


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    edges = _dimensions(setting)[0].edges
    bin_now = sum(observation[Observable.SKIN] > edge for edge in edges)
    place, bin_before = divmod(state, BINS)
    gears = setting.frugal[-GEARS:]
    place = min(place, len(gears) - 1)
    error, before = (10 - bin_now) * STEP_K, (10 - bin_before) * STEP_K
    moved = setting.parameters["kp"] * (error - before) + setting.parameters["ki"] * error
    whole = int(moved) if abs(moved) >= 1 else (moved > 0.4) - (moved < -0.4)
    place = min(max(place + whole, 0), len(gears) - 1)
    return Action(gears[place]), place * BINS + bin_now


THERMAL_PID = Policy(
    "thermal-pid",
    _dimensions,
    _decide,
    states=BINS * GEARS,
    period_s=PERIOD_S,
    parameters=PARAMETERS,
)
