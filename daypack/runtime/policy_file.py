"""A policy as it ships <-> the file `policy.bin`: a header and flat tables, checked whole when read.

It holds what the engine needs to decide and to act: the table, the limits, the habits, the job, the device's
gears priced for this plan, and its thermal network for when no sensor can be read. `policy_records` declares
the bytes, FORMAT.md is the normative text. A file that has another length than its counts say, an index out
of range, edges out of order or a figure that is no number is a BundleError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError, SpecError
from daypack.runtime.gears import at_highest_clocks, needed, shard_seconds
from daypack.runtime.limits import Limits
from daypack.runtime.policies.policy import MAX_DIMENSIONS, MAX_TABLE_BYTES, Dimension, Observable
from daypack.runtime.policies.setting import Setting
from daypack.runtime.policies.tabulate import MAX_CODES, PolicyTable
from daypack.runtime.policy_records import (
    CLUSTER,
    DIMENSION,
    GEAR,
    HEADER,
    MAGIC,
    NAME_BYTES,
    SECTIONS,
    VERSION,
    counts_of,
)

NAME = "policy.bin"
MAX_GEARS, MAX_CLUSTERS, MAX_SHARDS = 4096, 8, 1 << 20

_LIMITS = ("reserve", "reserve_margin", "skin_celsius", "skin_margin_k", "joules_per_day", "written_bytes")
_AMOUNTS = ("steps", "fastest_s", "memory_mb", "voltage_v", "resistance_ohm", "awake_w")
_NETWORK = ("decay_per_s", "modes", "from_watts", "from_air")


@dataclass(frozen=True, slots=True)
class ShippedPolicy:
    """A table and where it is used: `gears`, `clusters` and `shares` as `policy_records` declares them.

    `deadline_s` counts from the job's first start, infinity is none; `figures` are the header's other numbers
    of the job and the device.
    """

    table: PolicyTable
    steps: int
    deadline_s: float
    shards: int
    safest: int
    gears: NDArray[np.void]
    clusters: NDArray[np.void]
    shares: NDArray[np.float64]
    figures: Mapping[str, Any]


def shipped_policy(
    table: PolicyTable, setting: Setting, steps: int, deadline_s: float = math.inf
) -> ShippedPolicy:
    """A policy tabulated for `setting`, for a job of so many steps that ends `deadline_s` after it began."""
    profile, heat, cells = setting.profile, setting.heat, setting.profile.battery
    gears = np.zeros(len(setting.gears), GEAR)
    shares = np.zeros((len(setting.gears), len(profile.clusters)))
    for place, (gear, cost) in enumerate(zip(setting.gears, setting.costs, strict=True)):
        causes = (cost.cores_j, cost.uncore_j, cost.memory_j, cost.flash_j)
        free_s = sum(shard_seconds(at_highest_clocks(gear, profile), setting.workload, profile))
        gears[place] = (cost.seconds, *(j / cost.seconds for j in causes), cost.seconds / free_s)
        for share in gear.shares:
            index = next(i for i, c in enumerate(profile.clusters) if c.name == share.cluster)
            shares[place, index] = share.clock_hz / max(p.clock_hz for p in profile.clusters[index].points)
    clusters = np.zeros(len(profile.clusters), CLUSTER)
    for place, cluster in enumerate(profile.clusters):
        clusters[place] = (cluster.clock_hz.value, cluster.peak_flops_per_s, cluster.cores, 0)
    has_battery = cells.capacity_j is not None
    figures = {
        "has_battery": int(has_battery),
        "fastest_s": setting.costs[setting.fastest].seconds,
        "memory_mb": setting.workload.peak_bytes / 1e6,
        "capacity_j": cells.capacity_j.value if cells.capacity_j is not None else math.inf,
        "voltage_v": needed(profile, "battery.voltage_v", cells.voltage_v) if has_battery else 1.0,
        "resistance_ohm": needed(profile, "battery.resistance_ohm", cells.resistance_ohm)
        if has_battery
        else 0.0,
        "awake_w": setting.awake_w,
        **{name: np.asarray(getattr(heat, name)).ravel() for name in _NETWORK},
    }
    shards = len(setting.workload.shards)
    return ShippedPolicy(
        table, steps, deadline_s, shards, setting.safest, gears, clusters, shares.ravel(), figures
    )


def policy_bytes(policy: ShippedPolicy) -> bytes:
    """The file's content."""
    header = np.zeros((), HEADER)
    table, limits = policy.table, policy.table.limits
    header["magic"], header["version"] = np.frombuffer(MAGIC, np.uint8), VERSION
    header["dimension_count"], header["state_count"] = len(table.dimensions), table.states
    header["action_count"], header["gear_count"] = len(table.gears), len(policy.gears)
    header["cluster_count"], header["cell_count"] = len(policy.clusters), len(table.actions)
    header["safest_gear"], header["shard_count"] = policy.safest, policy.shards
    header["only_charging"], header["only_screen_off"] = limits.only_charging, limits.only_screen_off
    header["has_quiet_hours"] = limits.quiet_hours is not None
    header["quiet_from"], header["quiet_to"] = limits.quiet_hours or (0.0, 0.0)
    header["period_s"], header["steps"], header["deadline_s"] = (
        table.period_s,
        policy.steps,
        policy.deadline_s,
    )
    name = table.policy.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
    header["name"] = np.frombuffer(name, np.uint8)
    for name in _LIMITS:
        header[name] = getattr(limits, name)
    for name, value in policy.figures.items():
        header[name] = value
    edges = [edge for d in table.dimensions for edge in d.edges]
    header["edge_count"] = len(edges)
    sections: dict[str, Any] = {
        "edges": edges,
        "free_until": table.free_until,
        "gears": policy.gears,
        "shares": policy.shares,
        "clusters": policy.clusters,
        "dimensions": np.array([(d.observable, d.bins) for d in table.dimensions], DIMENSION),
        "action_gears": table.gears,
        "rests_ms": table.rests_ms,
        "actions": table.actions,
        "next_states": table.next_states,
    }
    parts = (np.asarray(sections[name], dtype).tobytes() for name, dtype in SECTIONS.items())
    return b"".join([header.tobytes(), *parts])


def parse_policy(data: bytes, where: str) -> ShippedPolicy:
    """The policy of a file's content. Raises `BundleError` that begins with `where`."""
    if len(data) < HEADER.itemsize:
        raise BundleError(f"{where}: expected at least {HEADER.itemsize} bytes, found {len(data)}")
    header: Any = np.frombuffer(data, HEADER, 1)[0]
    if header["magic"].tobytes() != MAGIC or header["version"] != VERSION:
        raise BundleError(f"{where}: expected a policy of version {VERSION}, found another file or version")
    check = _Check(where)
    check.counts(header)
    tables = _tables(data, header, where)
    check.numbers(header, tables)
    dimensions = check.dimensions(tables["dimensions"], tables["edges"], header)
    table = PolicyTable(
        policy=header["name"].tobytes().rstrip(b"\0").decode("utf-8", "replace"),
        dimensions=dimensions,
        states=int(header["state_count"]),
        period_s=float(header["period_s"]),
        gears=tables["action_gears"],
        rests_ms=tables["rests_ms"],
        free_until=tables["free_until"],
        actions=tables["actions"],
        next_states=tables["next_states"],
        limits=_limits(header, where),
    )
    figures = {name: header[name] for name in ("has_battery", *_AMOUNTS[1:], "capacity_j", *_NETWORK)}
    return ShippedPolicy(
        table,
        int(header["steps"]),
        float(header["deadline_s"]),
        int(header["shard_count"]),
        int(header["safest_gear"]),
        tables["gears"],
        tables["clusters"],
        tables["shares"],
        figures,
    )


def write_policy(policy: ShippedPolicy, path: Path) -> None:
    """Write the file beside its name first, so that nothing half-written has it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(policy_bytes(policy))
    partial.replace(path)


def read_policy(path: Path) -> ShippedPolicy:
    """Read and check a file."""
    try:
        return parse_policy(path.read_bytes(), str(path))
    except OSError as error:
        raise BundleError(f"{path}: expected a readable policy, found: {error.strerror}") from error


def _limits(header: Any, where: str) -> Limits:
    hours = (float(header["quiet_from"]), float(header["quiet_to"])) if header["has_quiet_hours"] else None
    values: dict[str, Any] = {name: float(header[name]) for name in _LIMITS}
    try:
        return Limits(
            **values,
            only_charging=bool(header["only_charging"]),
            only_screen_off=bool(header["only_screen_off"]),
            quiet_hours=hours,
        )
    except SpecError as error:
        raise BundleError(f"{where}: expected limits that can be, found: {error.message}") from error


def _tables(data: bytes, header: Any, where: str) -> dict[str, NDArray[Any]]:
    """Every section; they fill the file exactly."""
    counts = counts_of(header)
    size = HEADER.itemsize + sum(counts[name] * dtype.itemsize for name, dtype in SECTIONS.items())
    if size != len(data):
        raise BundleError(f"{where}: expected {size} bytes, found {len(data)}")
    tables: dict[str, NDArray[Any]] = {}
    at = HEADER.itemsize
    for name, dtype in SECTIONS.items():
        tables[name] = np.frombuffer(data, dtype, counts[name], at)
        at += counts[name] * dtype.itemsize
    return tables


@dataclass(frozen=True, slots=True)
class _Check:
    """What must hold of a file."""

    where: str

    def counts(self, header: Any) -> None:
        for name, low, high in (
            ("dimension_count", 0, MAX_DIMENSIONS),
            ("edge_count", 0, MAX_TABLE_BYTES),
            ("state_count", 1, MAX_CODES),
            ("action_count", 1, MAX_CODES),
            ("cell_count", 1, MAX_TABLE_BYTES // 2),
            ("gear_count", 1, MAX_GEARS),
            ("cluster_count", 1, MAX_CLUSTERS),
            ("safest_gear", 0, int(header["gear_count"]) - 1),
            ("shard_count", 1, MAX_SHARDS),
            *(
                (flag, 0, 1)
                for flag in ("only_charging", "only_screen_off", "has_quiet_hours", "has_battery")
            ),
        ):
            if not low <= int(header[name]) <= high:
                raise BundleError(
                    f"{self.where}: {name}: expected {low} to {high}, found {int(header[name])}"
                )

    def numbers(self, header: Any, tables: Mapping[str, NDArray[Any]]) -> None:
        for name in _AMOUNTS:
            self.need(math.isfinite(header[name]) and header[name] >= 0, name, "a number of at least 0")
        for name in _NETWORK:
            self.need(bool(np.all(np.isfinite(header[name]))), name, "finite numbers")
        self.need(bool(np.all(header["decay_per_s"] > 0)), "decay_per_s", "numbers above 0")
        self.need(header["steps"] >= 1 and header["fastest_s"] > 0, "steps", "a job that takes time")
        self.need(header["deadline_s"] > 0, "deadline_s", "a number above 0")
        self.need(header["capacity_j"] > 0, "capacity_j", "a number above 0")
        period = header["period_s"]
        self.need(period == 0 or 1 <= period < math.inf, "period_s", "0 or a number of at least 1")
        rising = np.diff(tables["free_until"], prepend=0.0)
        good = bool(np.all(rising >= 0)) and math.isfinite(tables["free_until"][-1])
        self.need(good, "free_until", "free seconds that rise from 0")
        figures = np.concatenate([tables["gears"][name] for name in GEAR.names or ()])
        good = bool(
            np.all(np.isfinite(figures)) and np.all(figures >= 0) and np.all(tables["gears"]["seconds"] > 0)
        )
        self.need(good, "gears", "numbers of at least 0")
        self.need(
            bool(np.all((tables["shares"] >= 0) & (tables["shares"] <= 1))), "shares", "shares from 0 to 1"
        )
        self.need(bool(np.all(tables["clusters"]["cores"] > 0)), "clusters", "a core or more in each")
        self.below("gear", tables["action_gears"], int(header["gear_count"]), least=-1)
        self.below("action", tables["actions"], int(header["action_count"]))
        self.below("state", tables["next_states"], int(header["state_count"]))

    def dimensions(self, shape: NDArray[Any], edges: NDArray[Any], header: Any) -> tuple[Dimension, ...]:
        found: list[Dimension] = []
        at = 0
        for observable, bins in ((int(o), int(b)) for o, b in shape):
            self.need(observable < len(Observable), "dimensions", f"observables below {len(Observable)}")
            self.need(1 <= bins <= len(edges) - at + 1, "dimensions", "as many edges as its bins need")
            own = edges[at : at + bins - 1]
            good = bool(np.all(np.isfinite(own)) and np.all(np.diff(own) > 0))
            self.need(good, "edges", "edges in ascending order")
            found.append(Dimension(Observable(observable), tuple(map(float, own))))
            at += bins - 1
        cells = int(header["state_count"]) * math.prod(d.bins for d in found)
        self.need(at == len(edges), "edges", f"{at} of them")
        self.need(cells == int(header["cell_count"]), "cell_count", f"{cells}")
        return tuple(found)

    def need(self, good: Any, name: str, takes: str) -> None:
        if not good:
            raise BundleError(f"{self.where}: {name}: expected {takes}, found others")

    def below(self, name: str, values: NDArray[Any], limit: int, least: int = 0) -> None:
        if values.min() < least or values.max() >= limit:
            raise BundleError(
                f"{self.where}: {name}: expected numbers from {least} to below {limit}, found others"
            )
