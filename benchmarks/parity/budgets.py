"""Memory budgets: the smallest that does, runs under many, and what each means of the planner is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daypack import api
from daypack.spec import TrainSpec, check_spec
from parity.engine import state_file
from parity.workspace import Built, Workspace

STEP = 0.02
"""By what share a budget grows until it does."""


@dataclass(frozen=True)
class Refused:
    """What a compilation said that found no plan."""

    smallest_feasible_bytes: int
    bound_bytes: int
    forced_by: list[dict[str, Any]]


@dataclass(frozen=True)
class Ran:
    """A bundle run under its budget: bytes are of the engine process, `digest` of losses and final state."""

    budget_bytes: int | None
    predicted_bytes: int
    peak_rss_bytes: int
    read_bytes: int
    written_bytes: int
    predicted_seconds: float
    seconds: tuple[float, ...]
    digest: str


def with_memory(spec: TrainSpec, memory_bytes: int | None) -> TrainSpec:
    """The same spec under another budget."""
    document = spec.model_dump(by_alias=True, exclude_unset=True)
    budget = {key: value for key, value in document.get("budget", {}).items() if key != "memory"}
    if memory_bytes is not None:
        budget["memory"] = memory_bytes
    return check_spec({**plain(document), "budget": budget})


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Paths as texts, as a spec file has them."""
    return json.loads(json.dumps(document, default=str))


def refusal(work: Workspace, spec: TrainSpec, memory_bytes: int) -> Refused | None:
    """What a compilation under a budget says if it is refused; else None, and the bundle is kept."""
    said = work.try_build(with_memory(spec, memory_bytes))
    if isinstance(said, Built):
        return None
    return Refused(said["smallest_feasible_bytes"], said["bound_bytes"], said["forced_by"])


def smallest_feasible(work: Workspace, spec: TrainSpec) -> tuple[int, Refused]:
    """(the smallest budget that is known to do, what the refusal of one byte said)."""
    said = refusal(work, spec, 1)
    if said is None:
        raise RuntimeError("a budget of one byte was accepted")
    budget = said.smallest_feasible_bytes
    while (again := refusal(work, spec, budget)) is not None:  # gaps of the layout come on top of a peak
        budget = max(again.smallest_feasible_bytes, int(budget * (1 + STEP)) + 1)
    return budget, said


def run_under(
    work: Workspace, spec: TrainSpec, memory_bytes: int | None, steps: int, data: Path | None = None
) -> tuple[Built, Ran]:
    """Compile under a budget and take steps from the start; `data`: not what the bundle brings."""
    built = work.build(with_memory(spec, memory_bytes))
    events = list(api.run_bundle(built.bundle, data=data, steps=steps, fresh=True, threads=2))
    digest = hashlib.sha256(repr([event.loss for event in events]).encode())
    digest.update(_file_digest(state_file(built.bundle)))
    predicted = built.said["predicted"]
    return built, Ran(
        memory_bytes,
        predicted["peak_bytes"],
        max(event.peak_rss_bytes for event in events),
        max(event.read_bytes for event in events),
        max(event.written_bytes for event in events),
        predicted["step_seconds"],
        tuple(event.seconds for event in events),
        digest.hexdigest(),
    )


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def between(low: int, high: int, count: int) -> list[int]:
    """`count` budgets from `low` to `high`, each larger by the same factor."""
    factor = (high / low) ** (1 / (count - 1))
    return [*(int(low * factor**n) for n in range(count - 1)), high]


def rows(runs: Sequence[Ran]) -> list[dict[str, Any]]:
    """As kept in the results."""
    return [asdict(run) for run in runs]
