"""Device profiles by name: TOML data to a checked `Profile`.

A figure is a table `{ value = 2.4e9, source = "...", kind = "stated" }`, with `range = [low, high]` where
it is assumed and has one; in [power], [battery] and [thermal_network] whatever is assumed has one. Errors
are `SpecError`s that name the file, the key, what was found and what it takes.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TypeVar

from daypack.devices.host import HOST, detect_host
from daypack.devices.profile import (
    Battery,
    Cluster,
    Flash,
    Kernels,
    Memory,
    OperatingPoint,
    PageCache,
    Power,
    Profile,
    Reached,
    Thermal,
    ThermalNetwork,
)
from daypack.devices.toml_table import TomlTable
from daypack.errors import SpecError

ARCHITECTURES = ("aarch64", "x86_64")

Section = TypeVar("Section", Memory, Flash, Thermal, Power, Battery, ThermalNetwork, Kernels, PageCache)


def profile_names() -> tuple[str, ...]:
    """The known devices; `host`, the machine at hand, comes first."""
    files = resources.files("daypack.devices").iterdir()
    return (HOST, *sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def load_profile(name: str) -> Profile:
    """The profile of a known device, of `host`, or of a path that ends in `.toml`.

    Raises `SpecError` for an unknown name (with the nearest known one) and for a file that is not a profile.
    """
    if name == HOST:
        return detect_host()
    if name.endswith(".toml"):
        return _read_file(Path(name))
    if name not in profile_names():
        raise SpecError(_unknown(name))
    text = (resources.files("daypack.devices") / f"{name}.toml").read_text(encoding="utf-8")
    return parse_profile(text, name=name, where=f"{name}.toml")


def parse_profile(text: str, *, name: str, where: str) -> Profile:
    """A profile from TOML text; `where` names it in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not TOML: {error}") from error
    return _profile(TomlTable(document, where, ""), name)


def _unknown(name: str) -> str:
    near = get_close_matches(name, profile_names(), n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    known = ", ".join(profile_names())
    return f"unknown device {name!r}{hint}; known: {known}, or a path to a profile that ends in .toml"


def _read_file(path: Path) -> Profile:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the device profile {path}: {error}") from error
    return parse_profile(text, name=path.stem, where=str(path))


def _profile(table: TomlTable, name: str) -> Profile:
    profile = Profile(
        name=name,
        title=table.text("title"),
        arch=table.one_of("arch", ARCHITECTURES),
        llvm_cpu=table.text("llvm_cpu"),
        llvm_features=table.texts("llvm_features"),
        cpu_features=table.texts("cpu_features"),
        vector_bits=table.whole("vector_bits"),
        vector_registers=table.whole("vector_registers"),
        design=table.text("design"),
        clusters=tuple(_cluster(entry) for entry in table.tables("cluster")),
        memory=_figures(table, "memory", Memory),
        flash=_figures(table, "flash", Flash),
        thermal=_figures(table, "thermal", Thermal),
        power=_figures(table, "power", Power, ranged=True),
        battery=_figures(table, "battery", Battery, ranged=True),
        thermal_network=_figures(table, "thermal_network", ThermalNetwork, ranged=True),
        kernels=_figures(table, "kernels", Kernels),
        page_cache=_figures(table, "page_cache", PageCache),
    )
    if profile.design not in {cluster.name for cluster in profile.clusters}:
        raise table.error("design", "the name of a [[cluster]]")
    table.close()
    return profile


def _cluster(table: TomlTable) -> Cluster:
    cluster = Cluster(
        name=table.text("name"),
        core=table.text("core"),
        cores=table.whole("cores"),
        clock_hz=table.figure("clock_hz"),
        flop_per_cycle=table.figure("flop_per_cycle"),
        l1d_bytes=table.figure("l1d_bytes"),
        l2_bytes=table.figure("l2_bytes"),
        points=tuple(_point(entry) for entry in table.tables("points")),
        products=tuple(_reached(entry) for entry in table.tables("products")),
    )
    table.close()
    return cluster


def _point(table: TomlTable) -> OperatingPoint:
    point = OperatingPoint(table.number("clock_hz"), table.figure("power_w"))
    table.close()
    return point


def _reached(table: TomlTable) -> Reached:
    reached = Reached(table.whole("threads"), table.whole("clamp"), table.figure("flops_per_s"))
    table.close()
    return reached


def _figures(parent: TomlTable, key: str, kind: type[Section], *, ranged: bool = False) -> Section:
    """A section whose every key is an optional figure; a missing section is an empty one.

    Where `ranged`, an assumed figure without a range is refused.
    """
    table = parent.optional(key, parent.table)
    if table is None:
        return kind()
    read = table.ranged_figure if ranged else table.figure
    section = kind(**{field: table.optional(field, read) for field in kind.__dataclass_fields__})
    table.close()
    return section
