"""Progress of long commands: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """A bar that is only there if `console` is a terminal; what is printed meanwhile goes above it.

    `total` is None where the end is not known.
    """

    def __init__(self, console: Console, title: str, total: float | None) -> None:
        self.console = console
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
        )
        self._task = self._progress.add_task(escape(title), total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def move(self, completed: float, title: str | None = None) -> None:
        """Show that `completed` of the total is done."""
        self._progress.update(
            self._task, completed=completed, description=None if title is None else escape(title)
        )

    def print(self, line: str) -> None:
        """A line for people: above the bar on a terminal, as it is elsewhere."""
        if self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.console.file, flush=True)


class Stages(Bar):
    """A job in named stages, on stderr; without a terminal, one line a stage if `plain`."""

    def __init__(self, job: str, *, plain: bool) -> None:
        super().__init__(Console(stderr=True), job, total=1.0)
        self._job = job
        self._plain = plain
        self._stage = ""

    def update(self, stage: str, fraction: float) -> None:
        """The job is now in `stage`, with `fraction` of the whole done."""
        self.move(fraction, f"{self._job}: {stage}")
        if self._plain and not self.console.is_terminal and stage != self._stage:
            self.print(f"{self._job}: {stage}")
        self._stage = stage


def steps(total: int | None) -> Bar:
    """The bar of a run, on stdout with its lines."""
    return Bar(Console(file=sys.stdout), "run", None if total is None else float(total))
