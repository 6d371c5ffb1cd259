"""What ``daypack plan`` and ``daypack layout`` do: files in, files out, one JSON object to print.

Both start fast: solvers and compiled searches are imported when a search needs them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from daypack.errors import SpecError
from daypack.planners.buffers_csv import layout_text, read_buffers
from daypack.planners.exchange import plan_row, read_problem
from daypack.planners.fields import write_text
from daypack.planners.infeasible import ForcedBy, LayoutInfeasible, PlanInfeasible
from daypack.planners.layout import fit
from daypack.planners.plan import PlanOptions
from daypack.planners.registry import PlannerName, planner_named
from daypack.planners.validate import validate_layout, validate_plan


def plan_file(
    problem_path: Path,
    out_path: Path,
    *,
    memory_bytes: int,
    planner: str = PlannerName.AUTO,
    time_limit_s: float = 10.0,
    threads: int = 1,
    seed: int = 0,
) -> dict[str, object]:
    """Plan a problem file under a budget, write the judged plan, return its figures without the sequence.

    Errors: `SpecError` for a bad file or argument (exit 2), `PlanInfeasible` (exit 3, ``as_json``).
    """
    _at_least("memory", memory_bytes, 0)
    _at_least("time-limit", time_limit_s, 0)
    _at_least("threads", threads, 1)
    _at_least("seed", seed, 0)
    search = planner_named(planner)
    named = read_problem(problem_path)
    try:
        plan = search(named.problem, memory_bytes, PlanOptions(time_limit_s, threads, seed))
    except PlanInfeasible as error:
        raise _with_file_ids(error, named.ids) from None
    validate_plan(named.problem, plan, memory_bytes)
    row = plan_row(plan, named.ids)
    write_text(out_path, json.dumps(row) + "\n")
    return {key: value for key, value in row.items() if key != "sequence"}


def _with_file_ids(error: PlanInfeasible, ids: tuple[int | str, ...]) -> PlanInfeasible:
    forced_by = [
        ForcedBy(ids[value.id] if isinstance(value.id, int) else value.id, value.name, value.size_bytes)
        for value in error.forced_by
    ]
    return PlanInfeasible(error.memory_bytes, error.smallest_feasible_bytes, error.bound_bytes, forced_by)


def layout_file(
    buffers_path: Path,
    out_path: Path,
    *,
    capacity_bytes: int | None = None,
    time_limit_s: float = 10.0,
    seed: int = 0,
    alignment_bytes: int = 1,
) -> dict[str, object]:
    """Lay out a buffers file, write it with offsets, return the figures.

    Without a capacity the smallest arena found within the time limit is the answer; with one the search stops
    at the first layout that fits. Errors: `SpecError` (exit 2), `LayoutInfeasible` (exit 3, ``as_json``) if
    nothing within the capacity was found.
    """
    _at_least("time-limit", time_limit_s, 0)
    _at_least("seed", seed, 0)
    if capacity_bytes is not None:
        _at_least("capacity", capacity_bytes, 0)
    began = time.monotonic()
    named = read_buffers(buffers_path)
    layout = fit(
        named.buffers,
        capacity_bytes=capacity_bytes,
        alignment_bytes=alignment_bytes,
        time_limit_s=time_limit_s,
        seed=seed,
    )
    validate_layout(named.buffers, layout, alignment_bytes)
    if capacity_bytes is not None and layout.total_bytes > capacity_bytes:
        raise LayoutInfeasible(capacity_bytes, layout.total_bytes, layout.max_load_bytes)
    write_text(out_path, layout_text(named, layout))
    return {
        "buffers": len(named.buffers),
        "total_bytes": layout.total_bytes,
        "max_load_bytes": layout.max_load_bytes,
        "capacity_bytes": capacity_bytes,
        "proven_optimal": layout.total_bytes == layout.max_load_bytes,
        "seconds": time.monotonic() - began,
    }


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise SpecError(f"--{name} must be at least {least}, found {value}")
