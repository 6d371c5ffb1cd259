"""Every failure Daypack reports on purpose, each with its documented exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means; the native engine uses the same numbers."""

    OK = 0
    BAD_INPUT = 2
    BUDGET_INFEASIBLE = 3
    BAD_BUNDLE = 4
    MISSING_TOOL = 5
    STOPPED = 6


class DaypackError(Exception):
    """A failure with a message for people: where, what was expected, what was found, what to change."""

    code: ExitCode = ExitCode.BAD_INPUT

    def __init__(self, message: str, *, code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def details(self) -> dict[str, object]:
        """What `--json` prints besides the message: `error` is the kind."""
        return {"error": self.code.name.lower().replace("_", "-")}


class SpecError(DaypackError):
    """The spec, an argument, a checkpoint or the data is not usable."""

    code = ExitCode.BAD_INPUT


class TraceError(SpecError):
    """The training step uses something the compiler cannot plan."""


class NoKernel(TraceError):
    """No kernel computes an operation of the step on these types."""


class BudgetInfeasible(DaypackError):
    """No plan fits the budget; the message names a budget that would do and what forces it."""

    code = ExitCode.BUDGET_INFEASIBLE


class BundleError(DaypackError):
    """The bundle, the state or the data file is corrupt, foreign or of another version."""

    code = ExitCode.BAD_BUNDLE


class MissingTool(DaypackError):
    """A tool, a device or a processor feature is not there."""

    code = ExitCode.MISSING_TOOL


class Stopped(DaypackError):
    """The run stopped before its end and can be resumed."""

    code = ExitCode.STOPPED
