"""The energy rule of MobileFineTuner (arXiv 2512.08211), all cores at the highest clock between its sleeps.

Below 20 % of battery the wanted frequency f_b falls from 2.0 steps/s to 0.5, above 42 °C so does f_t. After
every step it sleeps `min(1000 / min(f_b, f_t), 5000)` ms on top of the step's own time. The rule is checked
every K steps; here whenever an observation passes a threshold, as for K = 1. It knows no other limit.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Policy
from daypack.runtime.policies.setting import Setting

LOW_BATTERY = 0.2
HOT_CELSIUS = 42.0
NORMAL_HZ, SLOW_HZ = 2.0, 0.5
LONGEST_REST_MS = 5000.0


def _dimensions(setting: Setting) -> tuple[Dimension, ...]:
    return (Dimension(Observable.BATTERY, (LOW_BATTERY,)), Dimension(Observable.SKIN, (HOT_CELSIUS,)))


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    for_battery = SLOW_HZ if observation[Observable.BATTERY] < LOW_BATTERY else NORMAL_HZ
    for_heat = SLOW_HZ if observation[Observable.SKIN] > HOT_CELSIUS else NORMAL_HZ
    rest_ms = min(1000.0 / min(for_battery, for_heat), LONGEST_REST_MS)
    return Action(setting.everything, rest_ms / 1000.0), state


MOBILEFINETUNER = Policy("mobilefinetuner", _dimensions, _decide, obeys_limits=False)
