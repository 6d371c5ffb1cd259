"""Hardware profiles: what a device can do, as data, each figure with its source.

`profile.py` defines all quantities with their units, `read.py` reads the TOML files beside it, `host.py`
describes the machine that runs this very process.
"""

from daypack.devices.profile import (
    PRODUCTS_SHARE,
    Battery,
    Cluster,
    Figure,
    FigureKind,
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
    figures_of,
)
from daypack.devices.read import load_profile, profile_names
from daypack.devices.write import profile_text

__all__ = [
    "PRODUCTS_SHARE",
    "Battery",
    "Cluster",
    "Figure",
    "FigureKind",
    "Flash",
    "Kernels",
    "Memory",
    "OperatingPoint",
    "PageCache",
    "Power",
    "Profile",
    "Reached",
    "Thermal",
    "ThermalNetwork",
    "figures_of",
    "load_profile",
    "profile_names",
    "profile_text",
]
