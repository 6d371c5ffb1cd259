"""schedule.json: what a picture of a plan needs and the engine does not: ``daypack-schedule/1``.

Every field is modelled or known at compile time; nothing in it is measured. The problem and the plan stand in
it in their own formats (`planners.exchange`), so that a bundle's plan can be judged and drawn anywhere. The
problem is priced in seconds, whatever the plan was made for. Costs, lifetimes and reasons are derived from
these by whoever reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from daypack.errors import BundleError, DaypackError
from daypack.planners.exchange import named, parse_plan, parse_problem, plan_row, problem_text
from daypack.planners.plan import Plan
from daypack.planners.problem import Problem

NAME = "schedule.json"
FORMAT = "daypack-schedule/1"
ENGINE, SMALL_RESULTS = "engine", "small results"
"""What a problem's fixed bytes are: the engine's process, and outputs too small to be planned."""
_KEYS = {"format", "problem", "plan", "parts", "notes", "fixed", "shard_ends", "window", "peak_bytes"}


@dataclass(frozen=True, slots=True)
class Part:
    """One array within a node's value; `role` is a `compiler.graph.Role` by its text, `source` a line."""

    name: str
    role: str
    size_bytes: int
    shape: str
    source: str


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a node besides the problem: its kernel, its micro-step (None: the set-up), its line.

    The update's micro-step is the window.
    """

    kernel: str
    micro: int | None
    source: str


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """`parts[n]` and `notes[n]` belong to node n. `fixed` splits the problem's fixed bytes by what they are.

    `shard_ends`: one past the last plan instruction of each shard. `window`: micro-steps. `peak_bytes`: what
    the bundle promises of the engine's process.
    """

    problem: Problem
    plan: Plan
    parts: tuple[tuple[Part, ...], ...]
    notes: tuple[Note, ...]
    fixed: tuple[tuple[str, int], ...]
    shard_ends: tuple[int, ...]
    window: int
    peak_bytes: int


def schedule_text(file: ScheduleFile) -> str:
    """The file as JSON; texts that many parts share stand once."""
    texts = Texts()
    root = {
        "format": FORMAT,
        "problem": json.loads(problem_text(named(file.problem))),
        "plan": plan_row(file.plan, range(len(file.problem.nodes))),
        "parts": [[_part_row(part, texts) for part in parts] for parts in file.parts],
        "notes": [[texts.number(n.kernel), n.micro, texts.number(n.source)] for n in file.notes],
        "fixed": [list(entry) for entry in file.fixed],
        "shard_ends": list(file.shard_ends),
        "window": file.window,
        "peak_bytes": file.peak_bytes,
    }
    return json.dumps({**root, "texts": texts.all()}, separators=(",", ":")) + "\n"


def parse_schedule(text: str, where: str = NAME) -> ScheduleFile:
    """The file in a JSON text. Raises `BundleError`, which names the place, for anything it cannot be."""
    try:
        root: Any = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{where}: expected JSON, found bytes that are not: {error}") from None
    fields = cast("dict[str, Any]", root) if isinstance(root, dict) else {}
    found = fields.get("format")
    if found != FORMAT:
        raise BundleError(
            f"{where}: expected the format {FORMAT!r}, found {found!r}; compile the bundle again"
        )
    try:
        return _file(fields, where)
    except DaypackError as error:
        raise BundleError(error.message) from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(f"{where}: expected {FORMAT} as its writer makes it, found {error!r}") from None


def _file(root: dict[str, Any], where: str) -> ScheduleFile:
    missing = sorted((_KEYS | {"texts"}) - root.keys())
    if missing:
        raise BundleError(f"{where}: expected the key {missing[0]!r}, found none")
    texts: list[str] = root["texts"]
    problem = parse_problem(json.dumps(root["problem"]), f"{where}: problem").problem
    count = len(problem.nodes)
    plan = parse_plan(json.dumps(root["plan"]), range(count), f"{where}: plan")
    for key in ("parts", "notes"):
        if len(root[key]) != count:
            raise BundleError(f"{where}: {key}: expected {count} entries, one a node, found {len(root[key])}")
    return ScheduleFile(
        problem,
        plan,
        tuple(tuple(_part(row, texts) for row in rows) for rows in root["parts"]),
        tuple(_note(row, texts) for row in root["notes"]),
        tuple((str(name), int(size)) for name, size in root["fixed"]),
        tuple(int(end) for end in root["shard_ends"]),
        int(root["window"]),
        int(root["peak_bytes"]),
    )


def _part_row(part: Part, texts: Texts) -> list[object]:
    return [part.name, part.role, part.size_bytes, texts.number(part.shape), texts.number(part.source)]


def _part(row: list[Any], texts: list[str]) -> Part:
    name, role, size_bytes, shape, source = row
    return Part(str(name), str(role), int(size_bytes), texts[int(shape)], texts[int(source)])


def _note(row: list[Any], texts: list[str]) -> Note:
    kernel, micro, source = row
    return Note(texts[int(kernel)], None if micro is None else int(micro), texts[int(source)])


class Texts:
    """Numbers texts in order of first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[str]:
        return list(self._numbers)
