"""A policy's table <-> the file `policy.bin` that ships: little-endian, of fixed records, checked whole
when read.

    header       magic "DPPOLICY", counts and limits (`_HEADER`)
    dimensions   observable u4, bins u4; for each
    edges        f8, bins - 1 of each dimension
    gears        i4 an action, -1 pauses;  rests  u4 milliseconds an action
    free_until   f8 x 49, expected free seconds from midnight to each half hour
    actions      u1 a cell;  next_states  u1 a cell

A file that has another length than its counts say, an index out of range or edges out of order is a
BundleError.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import BundleError, SpecError
from daypack.runtime.limits import Limits
from daypack.runtime.policies.policy import MAX_DIMENSIONS, MAX_TABLE_BYTES, Dimension, Observable
from daypack.runtime.policies.tabulate import MAX_CODES, PolicyTable

MAGIC = b"DPPOLICY"
VERSION = 1
NAME_BYTES = 32
HALF_HOURS_AND_END = 49

_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("dimensions", "<u4"),
        ("states", "<u4"),
        ("actions", "<u4"),
        ("gear_count", "<u4"),
        ("only_charging", "<u4"),
        ("only_screen_off", "<u4"),
        ("has_quiet_hours", "<u4"),
        ("period_s", "<f8"),
        *((name, "<f8") for name in ("reserve", "reserve_margin", "skin_celsius", "skin_margin_k")),
        *((name, "<f8") for name in ("joules_per_day", "written_bytes", "quiet_from", "quiet_to")),
        ("name", f"S{NAME_BYTES}"),
    ]
)
_LIMITS = ("reserve", "reserve_margin", "skin_celsius", "skin_margin_k", "joules_per_day", "written_bytes")


def policy_bytes(table: PolicyTable, gear_count: int) -> bytes:
    """The file's content; `gear_count` is that of the device the table was made for."""
    header = np.zeros((), _HEADER)
    limits = table.limits
    header["magic"], header["version"] = MAGIC, VERSION
    header["dimensions"], header["states"] = len(table.dimensions), table.states
    header["actions"], header["gear_count"] = len(table.gears), gear_count
    header["only_charging"], header["only_screen_off"] = limits.only_charging, limits.only_screen_off
    header["has_quiet_hours"] = limits.quiet_hours is not None
    header["quiet_from"], header["quiet_to"] = limits.quiet_hours or (0.0, 0.0)
    header["period_s"], header["name"] = table.period_s, table.policy.encode()[:NAME_BYTES]
    for name in _LIMITS:
        header[name] = getattr(limits, name)
    dimensions = np.array([(d.observable, d.bins) for d in table.dimensions], "<u4")
    edges = np.array([edge for d in table.dimensions for edge in d.edges], "<f8")
    parts = [
        dimensions,
        edges,
        table.gears.astype("<i4"),
        table.rests_ms.astype("<u4"),
        table.free_until.astype("<f8"),
        table.actions,
        table.next_states,
    ]
    return b"".join([header.tobytes(), *(part.tobytes() for part in parts)])


def parse_policy(data: bytes, where: str) -> PolicyTable:
    """The table of a file's content. Raises `BundleError` that begins with `where`."""
    if len(data) < _HEADER.itemsize:
        raise BundleError(f"{where}: expected at least {_HEADER.itemsize} bytes, found {len(data)}")
    header: Any = np.frombuffer(data, _HEADER, 1)[0]
    if header["magic"] != MAGIC or header["version"] != VERSION:
        raise BundleError(f"{where}: expected a policy of version {VERSION}, found another file or version")
    reader = _Reader(data, where)
    count = reader.within("dimensions", header["dimensions"], 0, MAX_DIMENSIONS)
    states = reader.within("states", header["states"], 1, MAX_CODES)
    actions = reader.within("actions", header["actions"], 1, MAX_CODES)
    shape = reader.take("<u4", 2 * count).reshape(count, 2)
    dimensions = tuple(reader.dimension(int(observable), int(bins)) for observable, bins in shape)
    cells = states * math.prod(d.bins for d in dimensions)
    reader.within("cells", cells, 1, MAX_TABLE_BYTES // 2)
    table = PolicyTable(
        policy=header["name"].decode("utf-8", "replace"),
        dimensions=dimensions,
        states=states,
        period_s=float(header["period_s"]),
        gears=reader.take("<i4", actions),
        rests_ms=reader.take("<u4", actions),
        free_until=reader.take("<f8", HALF_HOURS_AND_END),
        actions=reader.take("u1", cells),
        next_states=reader.take("u1", cells),
        limits=_limits(header, where),
    )
    reader.end()
    reader.below("gear", table.gears, int(header["gear_count"]), least=-1)
    reader.below("action", table.actions, actions)
    reader.below("state", table.next_states, states)
    rising = np.diff(table.free_until, prepend=0.0)
    if not (np.all(rising >= 0) and math.isfinite(table.free_until[-1])):
        raise BundleError(f"{where}: expected free seconds that rise from 0, found others")
    return table


def write_policy(table: PolicyTable, gear_count: int, path: Path) -> None:
    """Write the file beside its name first, so that nothing half-written has it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(policy_bytes(table, gear_count))
    partial.replace(path)


def read_policy(path: Path) -> PolicyTable:
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
        raise BundleError(f"{where}: expected limits that can be, found: {error}") from error


class _Reader:
    """Takes arrays one after the other and refuses what does not fit."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where, self._at = data, where, _HEADER.itemsize

    def take(self, kind: str, count: int) -> NDArray[Any]:
        size = np.dtype(kind).itemsize * count
        if self._at + size > len(self._data):
            raise BundleError(
                f"{self._where}: expected {self._at + size} bytes or more, found {len(self._data)}"
            )
        found: NDArray[Any] = np.frombuffer(self._data, kind, count, self._at)
        self._at += size
        return found

    def dimension(self, observable: int, bins: int) -> Dimension:
        if observable >= len(Observable):
            raise BundleError(
                f"{self._where}: expected an observable below {len(Observable)}, found {observable}"
            )
        self.within("bins", bins, 1, MAX_TABLE_BYTES)
        edges = self.take("<f8", bins - 1)
        if not (np.all(np.isfinite(edges)) and np.all(np.diff(edges) > 0)):
            raise BundleError(f"{self._where}: expected edges in ascending order, found others")
        return Dimension(Observable(observable), tuple(map(float, edges)))

    def within(self, name: str, value: Any, low: int, high: int) -> int:
        if not low <= int(value) <= high:
            raise BundleError(f"{self._where}: {name}: expected {low} to {high}, found {int(value)}")
        return int(value)

    def below(self, name: str, values: NDArray[Any], limit: int, least: int = 0) -> None:
        if values.min() < least or values.max() >= limit:
            raise BundleError(
                f"{self._where}: {name}: expected numbers from {least} to below {limit}, found others"
            )

    def end(self) -> None:
        if self._at != len(self._data):
            raise BundleError(f"{self._where}: expected {self._at} bytes, found {len(self._data)}")
