"""Tilings on a device: a spec's step with the model's first, second, … choice for every product, measured.

The step is compiled once for each place in the model's ranking and run there with every kernel timed. A
product that occurs in several kernels has the sum of their seconds; what is kept is the quickest of each
product's tilings where it beats the model's first choice by MARGIN. Tilings change no bit of a result.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from daypack.errors import SpecError

if TYPE_CHECKING:
    from daypack.api import StepEvent
    from daypack.compiler.kernels.tuning import Tuned
    from daypack.spec import TrainSpec

MARGIN = 0.03
WARM_STEPS = 1
_SCHEDULE = re.compile(
    r"gemm (?P<product>.+), tile (?P<mr>\d+)x(?P<nr>\d+), depth (?P<depth>\d+), rows (?P<block>\d+)"
)
Seconds = dict[str, dict["Tuned", float]]
"""By product, the seconds of a step by tiling; the model's first choice comes first."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The table that was written; seconds are measured, of all matrix products of a step."""

    table: Path
    device: str
    products: int  #: different products of the step
    tuned: int  #: those with an entry in the table
    model_seconds: float
    tuned_seconds: float
    source: str = "measured"


def tune_spec(
    spec: TrainSpec,
    *,
    out: Path,
    target: str | None = None,
    via: str = "local",
    candidates: int = 4,
    steps: int = 5,
    threads: int | None = None,
    on_candidate: Callable[[int], None] = lambda _: None,
) -> TuneResult:
    """Measure `candidates` tilings of each product over `steps` steps each, and write the table `out`.

    Raises:
        SpecError: the spec cannot be used, or `via` is not the device itself.
        BudgetInfeasible, MissingTool, Stopped: as compiling and running say.
    """
    from daypack import api
    from daypack.compiler.kernels.tuning import Tuning, write_table
    from daypack.devices import load_profile

    if via not in ("local", "adb"):
        raise SpecError(f"--via: expected local or adb to measure on the device itself, found {via!r}")
    profile = load_profile(target or spec.device.profile)
    found: Seconds = defaultdict(dict)
    for rank in range(candidates):
        on_candidate(rank)
        with tempfile.TemporaryDirectory(prefix="daypack-tune-", dir=out.absolute().parent) as folder:
            bundle = Path(folder) / "bundle"
            api.compile_spec(spec, out=bundle, target=target, tuning=Tuning(rank=rank))
            events = api.run_bundle(
                bundle, steps=WARM_STEPS + steps, via=via, threads=threads, fresh=True, profile=True
            )
            measured = _seconds(bundle, list(events)[WARM_STEPS:], profile.vector_bits // 32)
        for tuned in measured:
            known = found[tuned.product]
            known[tuned] = min(measured[tuned], known.get(tuned, measured[tuned]))
    best = {product: best_of(times) for product, times in found.items()}
    entries = [tuned for product, tuned in sorted(best.items()) if tuned != next(iter(found[product]))]
    write_table(out, f"{profile.name}: {profile.title}", _timed(entries, found))
    return TuneResult(
        out,
        profile.name,
        len(found),
        len(entries),
        sum(next(iter(times.values())) for times in found.values()),
        sum(found[product][tuned] for product, tuned in best.items()),
    )


def best_of(times: Mapping[Tuned, float]) -> Tuned:
    """The quickest tiling, or the first where none is quicker by MARGIN."""
    first, quickest = next(iter(times)), min(times, key=lambda tuned: times[tuned])
    return quickest if times[quickest] < times[first] * (1 - MARGIN) else first


def _timed(entries: Iterable[Tuned], found: Seconds) -> list[Tuned]:
    return [replace(tuned, seconds=found[tuned.product][tuned]) for tuned in entries]


def _seconds(bundle: Path, events: Iterable[StepEvent], lanes: int) -> dict[Tuned, float]:
    """Median seconds of a step in each product of the bundle, under the tiling that it has there."""
    known: list[dict[str, Any]] = json.loads((bundle / "bundle.json").read_text())["kernels"]
    profiles = [event.profile for event in events if event.profile]
    total: dict[Tuned, float] = defaultdict(float)
    for number, about in enumerate(known):
        tuned = tuned_of(str(about["schedule"]), lanes)
        if tuned is not None:
            total[tuned] += median(float(profile["kernels"][number]["seconds"]) for profile in profiles)
    return dict(total)


def tuned_of(schedule: str, lanes: int) -> Tuned | None:
    """The tiling that a kernel's schedule names; None of what is no matrix product."""
    from daypack.compiler.kernels.tuning import Tuned

    said = _SCHEDULE.fullmatch(schedule)
    if said is None:
        return None
    sizes = (int(said["mr"]), int(said["nr"]) // lanes, int(said["depth"]), int(said["block"]))
    return Tuned(said["product"], *sizes, seconds=0.0)
