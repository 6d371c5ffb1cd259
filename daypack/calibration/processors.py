"""Which processors make up a cluster of a profile, as the engine finds it (`native/src/gears.c`)."""

from __future__ import annotations

from collections.abc import Callable

from daypack.devices import Cluster

CPUS = 59
"""Processors that a mask of the engine's command line has room for."""
FOLDER = "/sys/devices/system/cpu"
Read = Callable[[str], str | None]


def masks_of(clusters: tuple[Cluster, ...], read: Read) -> tuple[int | None, ...] | None:
    """A mask of processors for each cluster; None in it: any, where there is one cluster only.

    Groups of equally strong processors, strongest first, must have the clusters' sizes; else the result is
    None. `read` gives the text of a file of the device, None where it cannot.
    """
    if len(clusters) == 1:
        return (None,)
    groups: dict[int, int] = {}
    for cpu in range(CPUS):
        strength = _strength(cpu, read)
        if strength:
            groups[strength] = groups.get(strength, 0) | 1 << cpu
    masks = tuple(groups[strength] for strength in sorted(groups, reverse=True))
    sizes = [mask.bit_count() for mask in masks]
    return masks if sizes == [cluster.cores for cluster in clusters] else None


def _strength(cpu: int, read: Read) -> int:
    """By what sysfs says: the capacity of 1024, else the highest clock in MHz; 0 when it says neither."""
    capacity = _number(read(f"{FOLDER}/cpu{cpu}/cpu_capacity"))
    return capacity or _number(read(f"{FOLDER}/cpu{cpu}/cpufreq/cpuinfo_max_freq")) // 1000


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdigit() else 0
