"""The fastest gear while the charger is in, nothing otherwise."""

from __future__ import annotations

from daypack.runtime.policies.policy import CHARGING, PAUSE, Action, Observable, Observation, Policy
from daypack.runtime.policies.setting import Setting


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    return Action(setting.fastest) if observation[Observable.CHARGING] else PAUSE, state


CHARGE_ONLY = Policy("charge-only", lambda setting: (CHARGING,), _decide)
