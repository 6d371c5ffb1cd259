"""The most frugal gear that meets the deadline, as if every second until then were free.

The edges of the demand are the speeds of the gears themselves, so quantizing loses nothing: a speed between
two gears is had by the faster one first and the slower one once it is enough.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Parameter, Policy
from daypack.runtime.policies.setting import Setting

PARAMETERS = {"margin": Parameter(0.0, 0.0, 3.0, "speed added, as a share, to be done before the deadline")}


def demand(setting: Setting) -> Dimension:
    """Bins that end at the speeds of the gears worth using."""
    edges = sorted({setting.share(gear) for gear in setting.frugal})
    return Dimension(Observable.DEMAND, tuple(edges))


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    share = observation[Observable.DEMAND] * (1 + setting.parameters["margin"])
    return Action(setting.frugal_for(share)), state


PACE = Policy("pace", lambda setting: (demand(setting),), _decide, parameters=PARAMETERS)
