"""What each means of the planner is worth: one training, planned with one means switched off at a time.

Nothing is compiled or run: every figure is modelled. Where a budget is not kept without a means, the smallest
budget that is kept takes its place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from daypack import api
from daypack.compiler.accumulation import cheapest
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.means import Means
from daypack.compiler.pipeline import assemble_step
from daypack.compiler.planning import Options, Planned, plan_window, polished
from daypack.compiler.step import TrainStep
from daypack.compiler.window import Window
from daypack.devices import Profile, load_profile
from daypack.errors import BudgetInfeasible
from daypack.models.task import build_task
from daypack.operators import loss_head
from daypack.spec import TrainSpec, check_spec, to_toml
from parity.budgets import STEP
from parity.figures import Figure, shown
from parity.specs import gpt2
from parity.workspace import Workspace

Section = Callable[[Workspace, dict[str, Any]], list[Figure]]
DEVICES = ("host", "pixel8")
"""The second has power figures."""
ALL_ROWS = 2**30
COLUMNS = (
    "device",
    "means",
    "budget",
    "micro-batches",
    "peak",
    "step",
    "energy",
    "read",
    "written",
    "source",
)


@dataclass(frozen=True)
class Switches:
    """What a row of the table may use."""

    name: str
    means: Means = Means()
    accumulate: bool = True
    head_in_blocks: bool = True


ROWS = (
    Switches("all"),
    Switches("without recomputation", Means(recompute=False)),
    Switches("without paging", Means(paging=False)),
    Switches("without free order", Means(reorder=False)),
    Switches("without accumulation", accumulate=False),
    Switches("without row blocks of matrices", Means(cut_rows=False)),
    Switches("without row blocks of matrices and loss head", Means(cut_rows=False), head_in_blocks=False),
    Switches("none", Means(False, False, False, False), accumulate=False, head_in_blocks=False),
)


@dataclass(frozen=True)
class Ablated:
    """One row: all figures are modelled, of one step; `joules` None without power figures."""

    device: str
    means: str
    budget_bytes: int
    micro_batches: int
    peak_bytes: int
    seconds: float
    joules: float | None
    read_bytes: int
    written_bytes: int

    def cells(self, wanted_bytes: int) -> tuple[str, ...]:
        budget = shown(self.budget_bytes, "bytes")
        return (
            self.device,
            self.means,
            budget if self.budget_bytes == wanted_bytes else f"**{budget}**",
            str(self.micro_batches),
            shown(self.peak_bytes, "bytes"),
            shown(self.seconds, "s"),
            "unknown" if self.joules is None else f"{self.joules:.3g} J",
            shown(self.read_bytes, "bytes"),
            shown(self.written_bytes, "bytes"),
            "modelled",
        )


def ablation_section(name: str, method: dict[str, Any], memory_bytes: int, **train: Any) -> Section:
    """A table of the means, each switched off, for this machine and for a phone."""

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = open_micro_batch(gpt2(work.ids, work.config, method, **train))
        rows: list[Ablated] = []
        for device in DEVICES:
            ablation = Ablation(spec, load_profile(device))
            for switches in ROWS:
                rows.append(ablation.row(switches, memory_bytes))
                print(f"{name}: {rows[-1]}", flush=True)
        details[name] = [asdict(row) for row in rows]
        details.setdefault("tables", {})[name] = _table(rows, memory_bytes)
        every = [row for row in rows if row.means == ROWS[0].name]
        return [
            Figure(
                name,
                f"{r.device}: smallest budget with all means",
                r.budget_bytes,
                "bytes",
                memory_bytes,
                "modelled",
            )
            for r in every
        ]

    return run


def open_micro_batch(spec: TrainSpec) -> TrainSpec:
    """The spec without a word on how a batch is cut into micro-batches."""
    document = tomllib.loads(to_toml(spec))
    del document["train"]["gradient_accumulation_steps"]
    return check_spec(document)


def _table(rows: list[Ablated], wanted_bytes: int) -> list[str]:
    """Rows of Markdown; a budget in bold is the smallest that was kept, where the wanted one was not."""
    cells = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells(wanted_bytes) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


class Ablation:
    """Plans of one training on one device; what is traced is traced once."""

    def __init__(self, spec: TrainSpec, profile: Profile) -> None:
        self._spec, self._profile = spec, profile
        self._steps = api.train_steps(build_task(spec), spec)
        self._assembled: dict[tuple[int, bool, bool], tuple[Window, KernelTable]] = {}

    def row(self, switches: Switches, memory_bytes: int) -> Ablated:
        """The best plan within the memory, or within the smallest memory that is found to do."""
        budget = memory_bytes
        while isinstance(planned := self._planned(switches, budget), BudgetInfeasible):
            least = int(str(planned.details()["smallest_feasible_bytes"]))
            budget = least if budget == memory_bytes else max(least, int(budget * (1 + STEP)))
        measure = planned.priced.measure
        return Ablated(
            self._profile.name,
            switches.name,
            budget,
            len(planned.window.batches),
            planned.peak_bytes,
            measure.seconds,
            measure.joules,
            planned.applied.moved_bytes(fetch=True),
            planned.written_bytes,
        )

    def _planned(self, switches: Switches, memory_bytes: int) -> Planned | BudgetInfeasible:
        options = replace(api.compile_options(self._spec, memory_bytes), means=switches.means)
        steps = self._steps if switches.accumulate else self._steps[:1]
        try:
            draft = cheapest(steps, lambda step: self._draft(step, switches, options))
        except BudgetInfeasible as refusal:
            return refusal
        return polished(draft, self._profile, options)

    def _draft(self, step: TrainStep, switches: Switches, options: Options) -> Planned:
        key = (step.window, switches.means.cut_rows, switches.head_in_blocks)
        if key not in self._assembled:
            with _head(in_blocks=switches.head_in_blocks):
                self._assembled[key] = assemble_step(step, self._profile, switches.means)
        return plan_window(step, *self._assembled[key], self._profile, options)


@contextmanager
def _head(*, in_blocks: bool) -> Iterator[None]:
    """Trace the loss head in blocks of rows and chunks of tokens, or as one product."""
    usual = loss_head.BLOCK_ROWS, loss_head.CHUNK_TOKENS
    if not in_blocks:
        loss_head.BLOCK_ROWS = loss_head.CHUNK_TOKENS = ALL_ROWS
    try:
        yield
    finally:
        loss_head.BLOCK_ROWS, loss_head.CHUNK_TOKENS = usual
