"""The energy rule of MobileFineTuner (arXiv 2512.08211), all cores at the highest clock between its sleeps.

Below 20 % of battery the wanted frequency f_b falls from 2.0 steps/s to 0.5, above 42 °C so does f_t. After
every step it sleeps `min(1000 / min(f_b, f_t), 5000)` ms on top of the step's own time. The rule is checked
every K steps; here whenever an observation passes a threshold, as for K = 1. It knows no other limit. The
defaults of its parameters are the published values.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Parameter, Policy
from daypack.runtime.policies.setting import Setting

PARAMETERS = {
    "low_battery": Parameter(0.2, 0.0, 1.0, "charge below which it slows down"),
    "hot_celsius": Parameter(42.0, 20.0, 60.0, "temperature above which it slows down"),
    "normal_hz": Parameter(2.0, 0.01, 100.0, "steps a second that its sleep is made for"),
    "slow_hz": Parameter(0.5, 0.01, 100.0, "the same, slowed down"),
}
LONGEST_REST_MS = 5000.0


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    given = setting.parameters
    return (
        Dimension(Observable.BATTERY, (given["low_battery"],)),
        Dimension(Observable.SKIN, (given["hot_celsius"],)),
    )


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    given = setting.parameters
    low, hot = (
        observation[Observable.BATTERY] < given["low_battery"],
        observation[Observable.SKIN] > given["hot_celsius"],
    )
    for_battery = given["slow_hz"] if low else given["normal_hz"]
    for_heat = given["slow_hz"] if hot else given["normal_hz"]
    rest_ms = min(1000.0 / min(for_battery, for_heat), LONGEST_REST_MS)
    return Action(setting.everything, rest_ms / 1000.0), state


MOBILEFINETUNER = Policy("mobilefinetuner", _dimensions, _decide, obeys_limits=False, parameters=PARAMETERS)
