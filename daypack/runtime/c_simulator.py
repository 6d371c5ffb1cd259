"""The C structures of native/src/scheduler.h and native/simulator/simulator.h, field by field."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daypack.errors import DaypackError

NODES = 3
RUNNING_CAUSES = 4
CAUSES: tuple[str, ...] = ("cores", "uncore", "memory", "flash", "awake", "battery_loss")
REASONS: tuple[str, ...] = (
    "policy",
    "battery",
    "skin",
    "charger",
    "quiet_hours",
    "joules",
    "written_bytes",
    "screen",
    "memory",
    "garbage",
)


def _structure(name: str, fields: list[tuple[str, Any]]) -> type[Structure]:
    return type(name, (Structure,), {"_fields_": fields})


CLimits = _structure(
    "CLimits",
    [
        *((name, c_double) for name in ("reserve", "skin_celsius", "skin_margin_k", "joules_per_day")),
        *((name, c_double) for name in ("written_bytes", "memory_mb", "quiet_from_hour", "quiet_to_hour")),
        ("only_charging", c_uint32),
        ("only_screen_off", c_uint32),
    ],
)


CTable = _structure(
    "CTable",
    [
        ("dimension_count", c_uint32),
        ("state_count", c_uint32),
        ("action_count", c_uint32),
        ("gear_count", c_uint32),
        ("safest_gear", c_int32),
        *((name, c_void_p) for name in ("observables", "bin_counts", "edges", "actions", "next_state")),
        *((name, c_void_p) for name in ("gears", "rests_ms", "free_until")),
        ("limits", CLimits),
    ],
)


CDecision = _structure(
    "CDecision", [("gear", c_int32), ("rest_ms", c_uint32), ("state", c_uint32), ("reason", c_uint32)]
)


CDevice = _structure(
    "CDevice",
    [
        ("decay_per_s", c_double * NODES),
        ("modes", (c_double * NODES) * NODES),
        ("from_watts", (c_double * NODES) * NODES),
        ("from_air", c_double * NODES),
        *((name, c_double) for name in ("capacity_j", "voltage_v", "resistance_ohm", "charge_efficiency")),
        *((name, c_double) for name in ("awake_w", "owner_cpu_share", "control_celsius", "hysteresis_k")),
        ("period_s", c_double),
    ],
)


CRecording = _structure(
    "CRecording",
    [
        *((name, c_void_p) for name in ("t_s", "charge_w", "foreground_w", "ambient_c", "memory_mb")),
        ("charging", c_void_p),
        ("screen", c_void_p),
        ("rows", c_int64),
        ("end_s", c_double),
    ],
)


CJob = _structure(
    "CJob",
    [
        ("seconds", c_void_p),
        ("watts", c_void_p),
        ("capped", c_void_p),
        ("levels", c_int64),
        *((name, c_double) for name in ("steps", "written_bytes_per_step", "fastest_s", "start_s")),
        *((name, c_double) for name in ("deadline_s", "battery", "skin_celsius", "reserve", "period_s")),
        ("shard_s", c_void_p),
        ("shards", c_int64),
    ],
)


CTrace = _structure(
    "CTrace",
    [
        *((name, c_void_p) for name in ("t_s", "skin_c", "battery", "steps", "gear")),
        *((name, c_void_p) for name in ("decided_s", "decided_cell", "decided_gear")),
        *((name, c_int64) for name in ("samples", "sample_limit", "decisions", "decision_limit")),
    ],
)


COutcome = _structure(
    "COutcome",
    [
        ("steps", c_double),
        ("joules", c_double * len(CAUSES)),
        *((name, c_double) for name in ("finish_s", "peak_skin_c", "over_limit_s", "lowest_battery")),
        *((name, c_double) for name in ("under_reserve_s", "running_s", "throttled_s", "slowed_s", "off_s")),
        ("written_bytes", c_double),
        *((name, c_int64) for name in ("pauses", "consultations", "events")),
        ("paused_by_s", c_double * len(REASONS)),
    ],
)


_SIMULATE = (None, [POINTER(k) for k in (CDevice, CRecording, CJob, CTable, CTrace, COutcome)])
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "daypack_simulate": _SIMULATE,
    "daypack_simulate_by_shard": _SIMULATE,
    "daypack_decide": (CDecision, [POINTER(CTable), c_void_p, c_uint32]),
    "daypack_cell": (c_uint64, [POINTER(CTable), c_void_p, c_uint32]),
    "daypack_free_seconds": (c_double, [POINTER(CTable), c_double, c_double]),
}


def fill(made: Any, *, keep: list[NDArray[Any]], **values: Any) -> Any:
    """Set fields; an array's address is stored and the array kept alive in `keep`, a nested one is copied."""
    names = {field[0] for field in made._fields_}
    for name, value in values.items():
        if name not in names:
            raise DaypackError(f"simulator: {type(made).__name__} has no field {name}")
        if isinstance(value, np.ndarray) and isinstance(getattr(made, name), int | None):
            array: NDArray[Any] = np.ascontiguousarray(cast(Any, value))
            keep.append(array)
            setattr(made, name, array.ctypes.data)
        elif isinstance(value, np.ndarray):
            target: Any = getattr(made, name)
            np.ctypeslib.as_array(target)[...] = value
        else:
            setattr(made, name, value)
    return made
