"""The fastest gear until the work is done, then sleep; near the skin limit it stops until the device is cool.

The state remembers whether it waits to cool down.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import (
    PAUSE,
    Action,
    Dimension,
    Observable,
    Observation,
    Parameter,
    Policy,
)
from daypack.runtime.policies.setting import Setting

RUNNING, COOLING = 0, 1
PARAMETERS = {
    "cool_k": Parameter(4.0, 0.5, 20.0, "how far below the temperature of the stop it begins again, K")
}


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    heat = setting.heat.overshoot_k_per_w() * setting.watts(setting.fastest)
    stop = setting.limits.skin_celsius - setting.limits.skin_margin_k - heat
    return (Dimension(Observable.SKIN, (stop - setting.parameters["cool_k"], stop)),)


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    again, stop = _dimensions(setting)[0].edges
    skin = observation[Observable.SKIN]
    if skin > stop or (state == COOLING and skin > again):
        return PAUSE, COOLING
    return Action(setting.fastest), RUNNING


RACE_TO_IDLE = Policy("race-to-idle", _dimensions, _decide, states=2, parameters=PARAMETERS)
