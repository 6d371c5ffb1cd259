"""Studies: policies x devices x recordings x workloads, each case simulated, one row a case.

A study is a TOML file; every case starts from the same job and limits:

    policies = ["lookahead", "pace", "mine.py:gentle", { name = "thermal-pid", set = { kp = 2.0 } }]
    devices = ["pixel8"]
    recordings = ["commuter:1", "day.csv"]
    workloads = ["gpt2-lora"]            # or bundles
    oracle = true                        # also the lower bound, and with it the regret

    [job]
    steps = 2000
    start_hour = 18
    deadline_hours = 8
    battery = 0.9

    [limits]
    reserve = 0.2

Relative paths start at the folder of the file. `study_workers` runs the cases.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, cast

from daypack.devices import load_profile
from daypack.errors import SpecError
from daypack.runtime.bundle import read_bundle
from daypack.runtime.days import plausible_days
from daypack.runtime.habits import free_shares
from daypack.runtime.limits import Limits
from daypack.runtime.policies import policy_named, setting_of, tabulate
from daypack.runtime.policies.oracle import OracleInfeasible, oracle
from daypack.runtime.recording import Recording, read_recording
from daypack.runtime.simulator import Job, Outcome, simulate
from daypack.runtime.workload import KNOWN, Workload, known_workload, workload_of

HOUR_S = 3600.0
PAST_SEEDS = range(1000, 1005)
"""Other days of a made-up owner, from which habits are learnt."""


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation, by names that any process can load."""

    device: str
    recording: str
    policy: str
    workload: Workload
    job: Job
    limits: Limits
    oracle: bool = False
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])  #: of the policy

    @property
    def label(self) -> str:
        """The policy with the parameters that were chosen."""
        return " ".join([self.policy, *(f"{name}={value:g}" for name, value in self.parameters.items())])


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a study's table. `bound_j` and `regret` are None without an oracle, or where it says that
    the work cannot be done within the limits.
    """

    device: str
    recording: str
    policy: str
    workload: str
    steps: float
    tokens: int
    joules: float
    finish_s: float | None
    met_deadline: bool
    peak_skin_celsius: float
    over_limit_s: float
    lowest_battery: float
    under_reserve_s: float
    pauses: int
    running_s: float
    bound_j: float | None
    regret: float | None
    source: str
    hours: tuple[float, ...]  #: of the day, at every tenth minute
    skin: tuple[float, ...]
    battery: tuple[float, ...]


_TRACES = ("hours", "skin", "battery")


def load_recording(name: str) -> Recording:
    """A CSV file, or OWNER:SEED."""
    owner, colon, seed = name.rpartition(":")
    if colon and seed.isdigit():
        return plausible_days(owner, int(seed))
    return read_recording(Path(name))


def load_workload(name: str) -> Workload:
    """A known step, or what the steps of a bundle ask."""
    if name in KNOWN:
        return known_workload(name)
    path = Path(name)
    if not path.is_dir():
        raise SpecError(f"unknown workload {name!r}; known: {', '.join(KNOWN)}; or the folder of a bundle")
    return workload_of(read_bundle(path).description, str(path))


def run_case(case: Case, *, traced: bool) -> Outcome:
    """Simulate one case; habits are those of the owner's other days, or that every hour is free."""
    setting = setting_of(load_profile(case.device), case.workload, case.limits)
    free = None
    owner, colon, seed = case.recording.rpartition(":")
    if colon and seed.isdigit():
        past = [plausible_days(owner, number) for number in PAST_SEEDS]
        free = free_shares(past, case.limits, case.workload.peak_bytes / 1e6)
    policy = policy_named(case.policy, case.parameters)
    table = tabulate(policy, setting, free if policy.obeys_limits else None)
    return simulate(setting, load_recording(case.recording), case.job, table, traced=traced)


def run_row(case: Case) -> Result:
    """Simulate one case, and bound it where that is asked for."""
    outcome = run_case(case, traced=True)
    bound = _bound(case) if case.oracle else None
    trace = outcome.trace
    every = slice(None, None, 10)
    return Result(
        case.device,
        case.recording,
        case.label,
        case.workload.name,
        outcome.steps,
        outcome.tokens,
        outcome.joules,
        outcome.finish_s,
        outcome.met_deadline,
        outcome.peak_skin_celsius,
        outcome.over_limit_s,
        outcome.lowest_battery,
        outcome.under_reserve_s,
        outcome.pauses,
        outcome.running_s,
        bound,
        outcome.joules / bound - 1 if bound and outcome.met_deadline else None,
        outcome.source,
        tuple(trace.t_s[every] / HOUR_S) if trace else (),
        tuple(trace.skin_celsius[every]) if trace else (),
        tuple(trace.battery[every]) if trace else (),
    )


def _bound(case: Case) -> float | None:
    setting = setting_of(load_profile(case.device), case.workload, case.limits)
    limited = policy_named(case.policy).obeys_limits
    try:
        return oracle(setting, load_recording(case.recording), case.job, limited=limited).joules
    except OracleInfeasible:
        return None


def read_study(path: Path) -> tuple[Case, ...]:
    """The cases of a study file. Raises `SpecError` that names file and key; nothing is simulated before all
    names are known to exist.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"cannot read the study {path}: {error}") from error
    known = {"policies", "devices", "recordings", "workloads", "oracle", "job", "limits"}
    for key in data:
        if key not in known:
            raise SpecError(f"{path}: {key}: unknown key; takes {', '.join(sorted(known))}")
    names = {
        key: _names(data, key, path.parent, f"{path}: ") for key in ("devices", "recordings", "workloads")
    }
    policies = _policies(data.get("policies"), path.parent, f"{path}: policies")
    job = _job(data.get("job", {}), f"{path}: job")
    limits = _limits(data.get("limits", {}), f"{path}: limits")
    if not isinstance(data.get("oracle", False), bool):
        raise SpecError(f"{path}: oracle: found {data['oracle']!r}, takes true or false")
    for policy, parameters in policies:
        policy_named(policy, parameters)
    for name in names["recordings"]:
        load_recording(name)
    works = [load_workload(name) for name in names["workloads"]]
    for device, work in product(names["devices"], works):
        setting_of(load_profile(device), work, limits)
    crossed = product(names["devices"], names["recordings"], works, policies)
    bounded = data.get("oracle", False)
    return tuple(Case(d, r, name, w, job, limits, bounded, given) for d, r, w, (name, given) in crossed)


def write_table(rows: Sequence[Result], path: Path) -> None:
    """A tidy CSV table: one row a case, empty cells for what is not known."""
    columns = [field.name for field in fields(Result) if field.name not in _TRACES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[getattr(row, column) for column in columns] for row in rows])


def _names(data: Mapping[str, Any], key: str, base: Path, where: str) -> list[str]:
    found: Any = data.get(key)
    if not isinstance(found, list) or not found:
        raise SpecError(f"{where}{key}: found {found!r}, takes a list of names, at least one")
    items = cast("list[Any]", found)
    if not all(isinstance(item, str) for item in items):
        raise SpecError(f"{where}{key}: found {found!r}, takes a list of names, at least one")
    return [_placed(item, base) for item in cast("list[str]", items)]


def _policies(found: Any, base: Path, where: str) -> list[tuple[str, Mapping[str, float]]]:
    """Names, and tables of a name and the parameters that are set."""
    if not isinstance(found, list) or not found:
        raise SpecError(f"{where}: found {found!r}, {_TAKES_POLICIES}")
    return [_policy(item, base, where) for item in cast("list[Any]", found)]


_TAKES_POLICIES = (
    "takes a list, at least one, of names and of tables { name = TEXT, set = { PARAMETER = NUMBER } }"
)


def _policy(item: Any, base: Path, where: str) -> tuple[str, Mapping[str, float]]:
    if isinstance(item, str):
        return _placed(item, base), {}
    entry: dict[str, Any] = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    name: Any = entry.get("name")
    if not isinstance(name, str) or entry.keys() - {"name", "set"}:
        raise SpecError(f"{where}: found {item!r}, {_TAKES_POLICIES}")
    chosen: Any = entry.get("set", {})
    if not isinstance(chosen, dict) or not all(map(_is_number, cast("dict[str, Any]", chosen).values())):
        raise SpecError(f"{where}: set: found {chosen!r}, {_TAKES_POLICIES}")
    return _placed(name, base), cast("dict[str, float]", chosen)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _placed(name: str, base: Path) -> str:
    """A path starts at the study's folder; other names are those of known things."""
    is_path = ".py:" in name or name.endswith((".csv", ".toml")) or (base / name).is_dir()
    return str(base / name) if is_path else name


_JOB = {"steps": 1000, "start_hour": 18.0, "deadline_hours": 12.0, "battery": 0.9}


def _job(data: Any, where: str) -> Job:
    values = _table(data, _JOB, where)
    start_s = float(values["start_hour"]) * HOUR_S
    deadline_s = start_s + float(values["deadline_hours"]) * HOUR_S
    return Job(int(values["steps"]), start_s, deadline_s, float(values["battery"]))


def _limits(data: Any, where: str) -> Limits:
    defaults = {field.name: field.default for field in fields(Limits)}
    values = _table(data, defaults, where)
    hours = values["quiet_hours"]
    if hours is not None and (not isinstance(hours, list | tuple) or len(cast("list[Any]", hours)) != 2):
        raise SpecError(f"{where}.quiet_hours: found {hours!r}, takes a list of two hours")
    made: dict[str, Any] = {**values, "quiet_hours": tuple(cast("list[float]", hours)) if hours else None}
    return Limits(**made)


def _table(data: Any, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise SpecError(f"{where}: found {data!r}, takes a table")
    given = cast("dict[str, Any]", data)
    for key, value in given.items():
        if key not in defaults:
            raise SpecError(f"{where}.{key}: unknown key; takes {', '.join(defaults)}")
        default = defaults[key]
        if isinstance(default, bool) is not isinstance(value, bool) or (
            isinstance(default, int | float) and not isinstance(value, int | float)
        ):
            raise SpecError(f"{where}.{key}: found {json.dumps(value)}, takes such as {default!r}")
    return {**defaults, **given}
