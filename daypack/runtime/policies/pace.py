"""The most frugal gear that meets the deadline, as if every second until then were free.

The edges of the demand are the speeds of the gears themselves, so quantizing loses nothing: a speed between
two gears is had by the faster one first and the slower one once it is enough.
"""

from __future__ import annotations

from daypack.runtime.policies.policy import Action, Dimension, Observable, Observation, Policy
from daypack.runtime.policies.setting import Setting


def demand(setting: Setting) -> Dimension:
    """Bins that end at the speeds of the gears worth using."""
    edges = sorted({setting.share(gear) for gear in setting.frugal})
    return Dimension(Observable.DEMAND, tuple(edges))


def _decide(observation: Observation, state: int, setting: Setting) -> tuple[Action, int]:
    return Action(setting.frugal_for(observation[Observable.DEMAND])), state


PACE = Policy("pace", lambda setting: (demand(setting),), _decide)
