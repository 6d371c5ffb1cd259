"""A phone, a workload and a quiet day that the scheduler's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from daypack.devices import load_profile
from daypack.runtime.limits import Limits
from daypack.runtime.policies import Setting, setting_of
from daypack.runtime.recording import Recording, Row, recording
from daypack.runtime.workload import known_workload

MakeSetting = Callable[..., Setting]
MakeDay = Callable[..., Recording]


@pytest.fixture(scope="session")
def make_setting() -> MakeSetting:
    def make(device: str = "snapdragon-8gen2", workload: str = "gpt2-lora", **limits: object) -> Setting:
        return setting_of(load_profile(device), known_workload(workload), Limits(**limits))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_day() -> MakeDay:
    """A day of constant load; `changes` are (time, field, value), in order."""

    def make(changes: Iterable[tuple[float, dict[str, object]]] = (), **fields: object) -> Recording:
        state: dict[str, object] = {
            "charging": False,
            "charge_w": 0.0,
            "screen": False,
            "foreground_w": 0.03,
            "ambient_c": 22.0,
            "mem_available_mb": 3000.0,
            **fields,
        }
        rows = [Row(t_s=0.0, **state)]  # type: ignore[arg-type]
        for t_s, change in changes:
            state = {**state, **change}
            rows.append(Row(t_s=t_s, **state))  # type: ignore[arg-type]
        return recording("day", rows, where="day")

    return make
