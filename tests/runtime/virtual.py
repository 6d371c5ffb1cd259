"""A device, a recording and a job as the file that `native/virtual_main.c` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from daypack.runtime.gears import shard_seconds
from daypack.runtime.policies import Setting
from daypack.runtime.recording import Recording
from daypack.runtime.simulator import Job, device_structure


def write_virtual(path: Path, setting: Setting, recording: Recording, job: Job) -> None:
    rows, costs, governed = recording.rows, setting.costs, setting.governed()
    causes = np.array([[c.cores_j, c.uncore_j, c.memory_j, c.flash_j] for c in costs])
    seconds = np.array([c.seconds for c in costs])
    shards = np.array([shard_seconds(g, setting.workload, setting.profile) for g in setting.gears])
    parts: list[Any] = [
        np.array([len(rows), len(costs), len(governed[0]), shards.shape[1]], "<i8"),
        *(
            np.array([getattr(row, name) for row in rows], "<f8")
            for name in ("t_s", "charge_w", "foreground_w", "ambient_c", "mem_available_mb")
        ),
        np.array([row.charging for row in rows], "u1"),
        np.array([row.screen for row in rows], "u1"),
        np.array([recording.end_s], "<f8"),
        seconds,
        causes / seconds[:, None],
        np.array(governed, "<i4"),
        shards,
        np.array([job.steps, job.start_s, job.battery, setting.limits.skin_celsius], "<f8"),
    ]
    device = bytes(device_structure(setting, []))
    path.write_bytes(device + b"".join(part.tobytes() for part in parts))
