"""The policies that can be named."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daypack.errors import SpecError
from daypack.runtime.policies.always import ALWAYS
from daypack.runtime.policies.charge_only import CHARGE_ONLY
from daypack.runtime.policies.lookahead import LOOKAHEAD
from daypack.runtime.policies.mobilefinetuner import MOBILEFINETUNER
from daypack.runtime.policies.pace import PACE
from daypack.runtime.policies.policy import Policy
from daypack.runtime.policies.race_to_idle import RACE_TO_IDLE
from daypack.runtime.policies.thermal_pid import THERMAL_PID

POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (ALWAYS, MOBILEFINETUNER, CHARGE_ONLY, RACE_TO_IDLE, PACE, THERMAL_PID, LOOKAHEAD)
}


def policy_named(name: str, chosen: Mapping[str, float] | None = None) -> Policy:
    """A known policy, or `FILE.py:NAME`, a `Policy` of the user's own, with values chosen for some of its
    parameters. Raises `SpecError`.
    """
    return _found(name).with_values(chosen or {})


def _found(name: str) -> Policy:
    if name in POLICIES:
        return POLICIES[name]
    path, colon, attribute = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise SpecError(f"unknown policy {name!r}; known: {', '.join(POLICIES)}, or FILE.py:NAME")
    return _of_file(Path(path), attribute)


def _of_file(path: Path, attribute: str) -> Policy:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SpecError(f"policy {path}:{attribute}: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpecError(
            f"policy {path}:{attribute}: the file raised {type(error).__name__}: {error}"
        ) from error
    found: Any = getattr(module, attribute, None)
    if not isinstance(found, Policy):
        raise SpecError(f"policy {path}:{attribute}: found {found!r} under that name, takes a Policy")
    return found
