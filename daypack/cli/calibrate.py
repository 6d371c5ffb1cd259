"""`daypack calibrate`: a device's profile, corrected by measurements on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from daypack.cli import printing, progress
from daypack.cli.via import Via


def calibrate(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="A known device, host, or a profile's path.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PROFILE", help="The profile to write, a .toml.")],
    via: Annotated[Via, typer.Option("--via", help="Where the measured steps are run.")] = Via.LOCAL,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Measured steps in each place.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Measure what kernels, memory and files of a device reach, and write its profile with these figures."""
    from daypack.calibration import calibrate as measure

    with progress.Stages("calibrate", plain=not as_json) as stages:
        found = measure(device, out=out, via=via.value, steps=steps, on_place=stages.update)
        stages.update("done", 1.0)
    profile = found.profile
    record: dict[str, Any] = {
        "profile": str(out),
        "device": device,
        "source": found.source,
        "clusters": [
            {"name": cluster.name, "products": printing.known(cluster.products)}
            for cluster in profile.clusters
        ],
        **{
            name: printing.known(getattr(profile, name))
            for name in ("memory", "kernels", "flash", "page_cache")
        },
        "products": dict(found.products),
        "kept": dict(found.kept),
    }
    printing.print_json(record) if as_json else printing.print_tree(record)
