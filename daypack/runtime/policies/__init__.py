"""Policies: pure functions that choose a gear, one a file; tabulated, simulated, and looked up by the
engine.
"""

from daypack.runtime.policies.policy import (
    CHARGING,
    PAUSE,
    SCREEN,
    Action,
    Dimension,
    Observable,
    Observation,
    Parameter,
    Policy,
    PolicyError,
)
from daypack.runtime.policies.registry import POLICIES, policy_named
from daypack.runtime.policies.setting import Setting, setting_of
from daypack.runtime.policies.tabulate import PolicyTable, tabulate

__all__ = [
    "CHARGING",
    "PAUSE",
    "POLICIES",
    "SCREEN",
    "Action",
    "Dimension",
    "Observable",
    "Observation",
    "Parameter",
    "Policy",
    "PolicyError",
    "PolicyTable",
    "Setting",
    "policy_named",
    "setting_of",
    "tabulate",
]
