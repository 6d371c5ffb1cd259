"""All cores at the highest clock until the work is done, whatever the device says."""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Observation, Policy
from daypack.runtime.policies.setting import Setting


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    return Action(setting.everything), state


ALWAYS = Policy("always", lambda setting: (), _decide, obeys_limits=False)
