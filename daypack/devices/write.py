"""A profile as the TOML text that `read.parse_profile` reads back to the same profile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from daypack.devices.profile import Cluster, Figure, Profile

_PLAIN = ("title", "arch", "llvm_cpu", "llvm_features", "cpu_features")
_NUMBERS = ("vector_bits", "vector_registers")
_SECTIONS = ("memory", "flash", "thermal", "power", "battery", "thermal_network", "kernels", "page_cache")
_CLUSTER = ("clock_hz", "flop_per_cycle", "l1d_bytes", "l2_bytes")


def profile_text(profile: Profile, note: str) -> str:
    """TOML that begins with the comment `note`, one line."""
    return "\n".join([f"# {note}", *_lines(profile)]) + "\n"


def _lines(profile: Profile) -> Iterator[str]:
    for name in _PLAIN:
        yield f"{name} = {json.dumps(getattr(profile, name), ensure_ascii=False)}"
    for name in _NUMBERS:
        yield f"{name} = {getattr(profile, name)}"
    yield f"design = {json.dumps(profile.design)}"
    for cluster in profile.clusters:
        yield from _cluster(cluster)
    for name in _SECTIONS:
        yield from _section(name, getattr(profile, name))


def _cluster(cluster: Cluster) -> Iterator[str]:
    yield "\n[[cluster]]"
    yield f"name = {json.dumps(cluster.name)}"
    yield f"core = {json.dumps(cluster.core)}"
    yield f"cores = {cluster.cores}"
    for name in _CLUSTER:
        yield f"{name} = {_figure(getattr(cluster, name))}"
    for point in cluster.points:
        yield "\n[[cluster.points]]"
        yield f"clock_hz = {point.clock_hz!r}"
        yield f"power_w = {_figure(point.power_w)}"
    for reached in cluster.products:
        yield "\n[[cluster.products]]"
        yield f"threads = {reached.threads}"
        yield f"clamp = {reached.clamp}"
        yield f"flops_per_s = {_figure(reached.flops_per_s)}"


def _section(name: str, section: Any) -> Iterator[str]:
    known = [(field.name, getattr(section, field.name)) for field in fields(section)]
    given = [(key, figure) for key, figure in known if figure is not None]
    if given:
        yield f"\n[{name}]"
    for key, figure in given:
        yield f"{key} = {_figure(figure)}"


def _figure(figure: Figure) -> str:
    between = "" if figure.low is None else f"range = [{figure.low!r}, {figure.high!r}], "
    source = json.dumps(figure.source, ensure_ascii=False)
    return f'{{ value = {figure.value!r}, {between}source = {source}, kind = "{figure.kind.value}" }}'
