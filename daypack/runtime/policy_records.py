"""The records of `policy.bin`, declared once: numpy dtypes here, C structs by `c_header`.

All numbers are little-endian. The file is the header, then one section a table in the order of `SECTIONS`,
end to end. FORMAT.md is the normative text. Seconds, joules, watts and °C are float64.
"""

from __future__ import annotations

import numpy as np

MAGIC = b"DPPOLICY"
VERSION = 2
NAME_BYTES = 32
HALF_HOURS_AND_END = 49
NODES = 3  #: of the thermal network: processor, skin, battery

HEADER = np.dtype(
    [
        ("magic", "u1", (8,)),
        ("version", "<u4"),
        ("dimension_count", "<u4"),
        ("edge_count", "<u4"),  #: of all dimensions together
        ("state_count", "<u4"),
        ("action_count", "<u4"),
        ("cell_count", "<u4"),
        ("gear_count", "<u4"),
        ("cluster_count", "<u4"),
        ("safest_gear", "<u4"),
        ("shard_count", "<u4"),
        ("only_charging", "<u4"),
        ("only_screen_off", "<u4"),
        ("has_quiet_hours", "<u4"),
        ("has_battery", "<u4"),
        ("period_s", "<f8"),
        *((name, "<f8") for name in ("reserve", "reserve_margin", "skin_celsius", "skin_margin_k")),
        *((name, "<f8") for name in ("joules_per_day", "written_bytes", "quiet_from", "quiet_to")),
        ("memory_mb", "<f8"),  #: what a step needs
        ("steps", "<f8"),  #: of the job
        ("deadline_s", "<f8"),  #: from its first start; infinite: none
        ("fastest_s", "<f8"),  #: a step in the fastest gear
        ("capacity_j", "<f8"),  #: infinite without a battery
        *((name, "<f8") for name in ("voltage_v", "resistance_ohm", "awake_w")),
        ("decay_per_s", "<f8", (NODES,)),
        ("modes", "<f8", (NODES * NODES,)),
        ("from_watts", "<f8", (NODES * NODES,)),
        ("from_air", "<f8", (NODES,)),
        ("name", "u1", (NAME_BYTES,)),
    ]
)

#: One gear: a step's modelled seconds, the watts of its causes while it runs, and its seconds over those of
#: the same cores at their highest clocks.
GEAR = np.dtype(
    [(name, "<f8") for name in ("seconds", "cores_w", "uncore_w", "memory_w", "flash_w", "slower")]
)

#: One cluster: the highest clock, operations a second of a core at it, and cores.
CLUSTER = np.dtype([("clock_hz", "<f8"), ("flops_per_s", "<f8"), ("cores", "<u4"), ("reserved", "<u4")])

DIMENSION = np.dtype([("observable", "<u4"), ("bins", "<u4")])

#: section -> element; those of 8 bytes first, so that each is aligned. `shares` are a gear's clocks as shares
#: of each cluster's highest, gear after gear; 0: the cluster does not compute.
SECTIONS: dict[str, np.dtype[np.void] | np.dtype[np.generic]] = {
    "edges": np.dtype("<f8"),
    "free_until": np.dtype("<f8"),
    "gears": GEAR,
    "shares": np.dtype("<f8"),
    "clusters": CLUSTER,
    "dimensions": DIMENSION,
    "action_gears": np.dtype("<i4"),
    "rests_ms": np.dtype("<u4"),
    "actions": np.dtype("u1"),
    "next_states": np.dtype("u1"),
}

#: name of the C struct -> dtype
STRUCTS: dict[str, np.dtype[np.void]] = {
    "gear": GEAR,
    "cluster": CLUSTER,
    "dimension": DIMENSION,
    "header": HEADER,
}


def counts_of(header: np.void) -> dict[str, int]:
    """Elements of every section as a header says."""
    gears, clusters = int(header["gear_count"]), int(header["cluster_count"])
    return {
        "edges": int(header["edge_count"]),
        "free_until": HALF_HOURS_AND_END,
        "gears": gears,
        "shares": gears * clusters,
        "clusters": clusters,
        "dimensions": int(header["dimension_count"]),
        "action_gears": int(header["action_count"]),
        "rests_ms": int(header["action_count"]),
        "actions": int(header["cell_count"]),
        "next_states": int(header["cell_count"]),
    }
