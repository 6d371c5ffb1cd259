"""The profile of the machine that runs this process, from `/proc/cpuinfo` and sysfs.

The instruction set is one of LLVM's published levels (x86-64-v4, -v3, or the base), not this very
processor, so that a bundle made here runs on any machine of the same level. What Linux does not tell is
marked as assumed.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from daypack.devices.profile import (
    Cluster,
    Figure,
    FigureKind,
    Flash,
    Memory,
    OperatingPoint,
    Power,
    Profile,
    Thermal,
    ThermalNetwork,
)
from daypack.errors import MissingTool

HOST = "host"

_KB = 1024
_SSE = ("sse2",)
_V3 = (
    *_SSE,
    "sse3",
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "movbe",
    "bmi",
    "bmi2",
    "lzcnt",
    "fma",
    "f16c",
    "avx",
    "avx2",
)
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

# LLVM's name of a feature -> what /proc/cpuinfo calls it, where the two differ.
_CPUINFO = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "neon": "asimd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Level:
    """One instruction set level: what it needs and what it gives."""

    arch: str
    llvm_cpu: str
    llvm_features: tuple[str, ...]
    cpu_features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    flop_per_cycle: int  #: assumed: two vector units of at most 256 bits


LEVELS = (
    Level("x86_64", "x86-64-v4", ("-prefer-256-bit",), _V4, 512, 32, 32),
    Level("x86_64", "x86-64-v3", (), _V3, 256, 16, 32),
    Level("x86_64", "x86-64", (), _SSE, 128, 16, 8),
    Level("aarch64", "generic", ("+neon",), ("neon",), 128, 32, 16),
)


@dataclass(frozen=True, slots=True)
class Caches:
    """Of core 0; None where sysfs does not tell."""

    l1d_bytes: int | None
    l2_bytes: int | None


def detect_host(
    machine: str | None = None,
    cpuinfo: Path = Path("/proc/cpuinfo"),
    caches: Path = Path("/sys/devices/system/cpu/cpu0/cache"),
) -> Profile:
    """Describe this machine; the arguments let tests describe another one.

    Raises `MissingTool` on an architecture for which Daypack makes no code.
    """
    text = _read(cpuinfo)
    level = best_level(machine or platform.machine(), cpu_flags(text))
    return Profile(
        name=HOST,
        title=f"this machine: {_model_name(text) or level.llvm_cpu}",
        arch=level.arch,
        llvm_cpu=level.llvm_cpu,
        llvm_features=level.llvm_features,
        cpu_features=level.cpu_features,
        vector_bits=level.vector_bits,
        vector_registers=level.vector_registers,
        design="all",
        clusters=(_cluster(level, text, read_caches(caches)),),
        memory=Memory(
            bytes_per_s=_assumed(20e9, "two channels of DDR4, half of the peak"),
            energy_j_per_byte=_ranged(120e-12, 56e-12, 200e-12, "DDR4: no figure of this machine"),
        ),
        flash=Flash(
            read_bytes_per_s=_assumed(1e9, "a plain solid state drive"),
            write_bytes_per_s=_assumed(0.5e9, "a plain solid state drive"),
        ),
        thermal=Thermal(
            control_celsius=_ranged(90, 70, 105, "a processor's own limit: no figure of this machine"),
            hysteresis_k=_ranged(3, 1, 5, "no figure of this machine"),
            passive_period_s=_ranged(1, 0.1, 5, "no figure of this machine"),
        ),
        power=Power(
            uncore_w=_ranged(10, 3, 40, "no figure of this machine"),
            awake_w=_ranged(1, 0.1, 5, "a machine that never suspends: what a held process adds"),
        ),
        thermal_network=ThermalNetwork(
            cpu_time_constant_s=_ranged(5, 2, 20, "package and lid: no figure of this machine"),
            cpu_heat_capacity_j_per_k=_ranged(50, 20, 200, "package and lid: no figure of this machine"),
            skin_time_constant_s=_ranged(120, 60, 300, "a fan and its heat sink: no figure of this machine"),
            skin_heat_capacity_j_per_k=_ranged(400, 200, 800, "a heat sink: no figure of this machine"),
        ),
    )


def best_level(machine: str, flags: frozenset[str]) -> Level:
    """The widest level whose features are all among the flags of `/proc/cpuinfo`."""
    arch = {"arm64": "aarch64", "amd64": "x86_64"}.get(machine.lower(), machine)
    for level in LEVELS:
        if level.arch == arch and all(_CPUINFO.get(name, name) in flags for name in level.cpu_features):
            return level
    known = ", ".join(sorted({level.arch for level in LEVELS}))
    raise MissingTool(
        f"this machine is {machine} and Daypack makes code for {known}; choose another device with --target"
    )


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The processor flags of the first core (`flags` on x86, `Features` on ARM)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def read_caches(folder: Path) -> Caches:
    """Sizes of the data caches from sysfs."""
    sizes: dict[str, int] = {}
    for entry in sorted(folder.glob("index*")):
        if _read(entry / "type").strip() in ("Data", "Unified"):
            size = _read(entry / "size").strip()
            if size.endswith("K") and size[:-1].isdigit():
                sizes[_read(entry / "level").strip()] = int(size[:-1]) * _KB
    return Caches(sizes.get("1"), sizes.get("2"))


def _cluster(level: Level, cpuinfo: str, caches: Caches) -> Cluster:
    clock_hz = _clock_hz(cpuinfo)
    return Cluster(
        name="all",
        core=level.llvm_cpu,
        cores=len(os.sched_getaffinity(0)),
        clock_hz=_known(clock_hz, "/proc/cpuinfo, at the time of asking", 2.5e9),
        flop_per_cycle=_assumed(
            level.flop_per_cycle, "two vector units of at most 256 bits, fused multiply-add"
        ),
        l1d_bytes=_known(caches.l1d_bytes, "sysfs", 32 * _KB),
        l2_bytes=_known(caches.l2_bytes, "sysfs", 512 * _KB),
        points=(
            OperatingPoint(clock_hz or 2.5e9, _ranged(6, 2, 20, "a core of a PC: no figure of this machine")),
        ),
    )


def _known(value: float | None, source: str, otherwise: float) -> Figure:
    if value is None:
        return _assumed(otherwise, "the system does not tell")
    return Figure(value, source, FigureKind.MEASURED)


def _assumed(value: float, source: str) -> Figure:
    return Figure(value, source, FigureKind.ASSUMED)


def _ranged(value: float, low: float, high: float, source: str) -> Figure:
    return Figure(value, source, FigureKind.ASSUMED, low, high)


def _clock_hz(cpuinfo: str) -> float | None:
    found = _field(cpuinfo, "cpu MHz")
    try:
        return float(found) * 1e6 if found else None
    except ValueError:
        return None


def _model_name(cpuinfo: str) -> str:
    return _field(cpuinfo, "model name")


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
