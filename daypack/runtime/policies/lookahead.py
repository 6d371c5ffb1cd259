"""Model-predictive over the forecast: the first gear of the cheapest plan for the free time that is expected.

For constant prices the cheapest plan that does the work left in the free time left runs at one speed, the
demand, as a mixture of two neighbouring gears (watts over speed are convex along `Setting.frugal`); its
first gear is the faster of the two. The demand counts the free seconds that the owner's habits let expect
until the deadline, so the plan is made anew at every observation. A forecast that says that little of the
time is free is less certain; `hedge` makes up for that while there is time left. Heat is a bound on the
watts: what the processor has stored must still fit under the skin limit after a stop
(`HeatModel.overshoot_k_per_w`).
"""

from __future__ import annotations

from daypack.runtime.policies.pace import demand
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

FORECASTS = (0.25, 0.5, 0.75, 0.95)
PARAMETERS = {
    "hedge": Parameter(0.1, 0.0, 3.0, "speed added, as a share, for a forecast of which nothing is free")
}
"""More of it saves few deadlines and costs many joules."""
STEP_K = 0.25
SKIN_BINS = 60


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    top = setting.limits.skin_celsius - setting.limits.skin_margin_k
    skin = tuple(top - STEP_K * (SKIN_BINS - 1 - n) for n in range(SKIN_BINS))
    return (
        Dimension(Observable.FORECAST, FORECASTS),
        demand(setting),
        Dimension(Observable.SKIN, skin),
    )


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    forecast = observation[Observable.FORECAST]
    hedge = setting.parameters["hedge"] * (1 - forecast) if forecast < FORECASTS[-1] else 0.0
    share = observation[Observable.DEMAND] * (1 + hedge)
    top = setting.limits.skin_celsius - setting.limits.skin_margin_k
    watts = (top - observation[Observable.SKIN]) / setting.heat.overshoot_k_per_w()
    gear = setting.frugal_within(share, watts)
    return PAUSE if gear is None else Action(gear), state


LOOKAHEAD = Policy("lookahead", _dimensions, _decide, parameters=PARAMETERS)
