"""A policy, evaluated once for every cell of its grid: the table that engine and simulator look up."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daypack.runtime.habits import HALF_HOUR_S, always_free
from daypack.runtime.limits import UNLIMITED, Limits
from daypack.runtime.policies.policy import (
    MAX_DIMENSIONS,
    MAX_REST_S,
    MAX_TABLE_BYTES,
    Action,
    Dimension,
    Observation,
    Policy,
    PolicyError,
)
from daypack.runtime.policies.setting import Setting

MAX_CODES = 256
"""Actions and states are bytes."""


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """What `daypack_decide` looks up. Cells are state-major, then dimensions in their order.

    `actions` and `next_states` have one byte a cell; `gears` (-1: pause) and `rests_ms` one entry an action;
    `free_until` the expected free seconds from midnight to each half hour, 49 of them.
    """

    policy: str
    dimensions: tuple[Dimension, ...]
    states: int
    period_s: float
    gears: NDArray[np.int32]
    rests_ms: NDArray[np.uint32]
    actions: NDArray[np.uint8]
    next_states: NDArray[np.uint8]
    free_until: NDArray[np.float64]
    limits: Limits

    @property
    def size_bytes(self) -> int:
        """Of the two arrays of cells."""
        return self.actions.nbytes + self.next_states.nbytes


def tabulate(policy: Policy, setting: Setting, free: tuple[float, ...] | None = None) -> PolicyTable:
    """Evaluate a policy, with the values of its parameters, for a device, a workload and limits.

    `free` is the expected free share of each half hour (`habits`); without it all but the quiet hours are.

    Raises:
        PolicyError: it raises, gives what is no action or an action that the device cannot do, a state that
        it
            has not, or its table would be larger than `MAX_TABLE_BYTES`.
    """
    setting = replace(setting, parameters=policy.values)
    dimensions = _dimensions(policy, setting)
    shape = (policy.states, *(dimension.bins for dimension in dimensions))
    cells = math.prod(shape)
    if 2 * cells > MAX_TABLE_BYTES:
        raise PolicyError(
            f"policy {policy.name}: its table of {' x '.join(map(str, shape))} cells takes "
            f"{2 * cells} bytes, at most {MAX_TABLE_BYTES} are allowed; use fewer bins or states"
        )
    codes: dict[tuple[int, int], int] = {}
    actions, states = np.zeros(cells, np.uint8), np.zeros(cells, np.uint8)
    grid = itertools.product(*(range(size) for size in shape))
    for cell, (state, *bins) in enumerate(grid):
        shown = {d.observable: d.shown(b) for d, b in zip(dimensions, bins, strict=True)}
        action, states[cell] = _evaluate(policy, setting, Observation(shown), state)
        code = codes.setdefault(action, len(codes))
        if code >= MAX_CODES:
            raise PolicyError(
                f"policy {policy.name}: uses more than {MAX_CODES} different actions; use fewer"
            )
        actions[cell] = code
    limits = setting.limits if policy.obeys_limits else UNLIMITED
    shares = always_free(limits) if free is None else free
    return PolicyTable(
        policy.name,
        dimensions,
        policy.states,
        policy.period_s,
        np.array([gear for gear, _ in codes], np.int32),
        np.array([rest_ms for _, rest_ms in codes], np.uint32),
        actions,
        states,
        np.concatenate([[0.0], np.cumsum(np.asarray(shares) * HALF_HOUR_S)]),
        limits,
    )


def _dimensions(policy: Policy, setting: Setting) -> tuple[Dimension, ...]:
    try:
        dimensions = policy.dimensions(setting)
    except Exception as error:
        raise PolicyError(f"policy {policy.name}: its dimensions raised {error!r}") from error
    observables = [dimension.observable for dimension in dimensions]
    if len(observables) > MAX_DIMENSIONS or len(set(observables)) != len(observables):
        raise PolicyError(
            f"policy {policy.name}: found {len(observables)} dimensions, "
            f"takes at most {MAX_DIMENSIONS} different ones"
        )
    for dimension in dimensions:
        if any(not a < b for a, b in itertools.pairwise((-math.inf, *dimension.edges, math.inf))):
            raise PolicyError(
                f"policy {policy.name}: {dimension.observable.name}: found edges {dimension.edges}, takes "
                "finite numbers in ascending order"
            )
    if not 1 <= policy.states <= MAX_CODES or not 0 <= policy.period_s < math.inf or 0 < policy.period_s < 1:
        raise PolicyError(
            f"policy {policy.name}: found {policy.states} states and a period of {policy.period_s:g} s, "
            f"takes 1 to {MAX_CODES} states and 0 or at least 1 s"
        )
    return dimensions


def _evaluate(
    policy: Policy, setting: Setting, observation: Observation, state: int
) -> tuple[tuple[int, int], int]:
    """The action as (gear or -1, rest in ms) and the next state, both checked."""
    seen = ", ".join(f"{key.name} {value:g}" for key, value in observation.values.items())
    where = f"policy {policy.name}: at {seen or 'its only cell'}, state {state}"
    try:
        answer: Any = policy.decide(observation, state, setting)
    except Exception as error:
        raise PolicyError(f"{where}: raised {type(error).__name__}: {error}") from error
    items = cast("tuple[Any, ...]", answer) if isinstance(answer, tuple) else ()
    if len(items) != 2 or not isinstance(items[0], Action) or type(items[1]) is not int:
        raise PolicyError(f"{where}: gave {answer!r}, takes (Action, state)")
    action, then = items[0], int(items[1])
    if not 0 <= then < policy.states:
        raise PolicyError(f"{where}: gave state {then}, takes 0 to {policy.states - 1}")
    if action.gear is not None and not (type(action.gear) is int and 0 <= action.gear < len(setting.gears)):
        raise PolicyError(
            f"{where}: asks for gear {action.gear!r}; "
            f"{setting.profile.name} has gears 0 to {len(setting.gears) - 1}"
        )
    rest_s: Any = action.rest_s
    if not (isinstance(rest_s, int | float) and 0 <= rest_s <= MAX_REST_S):
        raise PolicyError(f"{where}: asks for a rest of {action.rest_s!r} s, takes 0 to {MAX_REST_S:g}")
    return (-1 if action.gear is None else action.gear, round(action.rest_s * 1000)), then
