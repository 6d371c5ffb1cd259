"""The engine as a process: its arguments, the events it speaks, and what its end means.

The engine writes one JSON object a line (FORMAT.md, "Events"). Its error event, a foreign exit status or a
signal becomes the matching DaypackError.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from daypack.errors import (
    BudgetInfeasible,
    BundleError,
    DaypackError,
    ExitCode,
    MissingTool,
    SpecError,
    Stopped,
)
from daypack.runtime.bundle import check_hashes, plan_names, read_bundle_plans, read_manifest
from daypack.runtime.control import Control
from daypack.runtime.signature import PublicKey, require_signature

Event = dict[str, Any]
STOP_S = 2.0
"""How long an engine may take to leave after a stop; it takes milliseconds."""

_ERRORS: dict[int, type[DaypackError]] = {
    ExitCode.BAD_INPUT: SpecError,
    ExitCode.BUDGET_INFEASIBLE: BudgetInfeasible,
    ExitCode.BAD_BUNDLE: BundleError,
    ExitCode.MISSING_TOOL: MissingTool,
    ExitCode.STOPPED: Stopped,
}


@dataclass(frozen=True, slots=True)
class EngineArguments:
    """What a run may be told. None leaves the engine's default: BUNDLE.state, BUNDLE/data.bin, one pass, all
    CPUs. `direct` reads the weights past the system's cache, to measure cold storage; `audit_arena` counts
    what of the arena was used (in the end event), which an emulator's own memory would hide; `decisions`
    tells every one of the policy's. Only a bundle that `signer` signed is run, if it is given. `evaluate`
    runs the bundle's evaluation over the data and writes nothing; `choices` rows are then the options of a
    question. `data_on_device`: the data are a file of the phone, by its whole path there.

    `order` and `memory_bytes` choose among the bundle's plans. `rotate` runs each window in the next order,
    `squeeze` takes memory back after so many shards and `relax` returns it after so many windows: none of the
    three changes a result.

    `cpus` (bit i: processor i) and `clamp` (of 1024) say where threads run and how much of it the kernel's
    governor should see; for measurements, of bundles without a policy.
    """

    state: Path | None = None
    data: Path | None = None
    steps: int | None = None
    threads: int | None = None
    fresh: bool = False
    verify_only: bool = False
    profile: bool = False
    direct: bool = False
    audit_arena: bool = False
    signer: PublicKey | None = None
    order: str | None = None
    memory_bytes: int | None = None
    rotate: bool = False
    squeeze: int | None = None
    relax: int | None = None
    evaluate: bool = False
    choices: int | None = None
    decisions: bool = False
    cpus: int | None = None
    clamp: int | None = None
    data_on_device: bool = False

    def state_directory(self, bundle: Path) -> Path:
        return self.state or bundle.with_name(bundle.name + ".state")

    def command_line(self, bundle: str, state: str | None, data: str | None) -> list[str]:
        """The engine's arguments with these paths, as the engine's machine sees them."""
        words = ["--bundle", bundle]
        valued = (
            ("--state", state),
            ("--data", data),
            ("--steps", self.steps),
            ("--threads", self.threads),
            ("--choices", self.choices),
            ("--order", self.order),
            ("--memory", self.memory_bytes),
            ("--squeeze", self.squeeze),
            ("--relax", self.relax),
            ("--cpus", self.cpus),
            ("--clamp", self.clamp),
        )
        for name, value in valued:
            if value is not None:
                words += [name, str(value)]
        if self.signer is not None:
            words += ["--require-signature", self.signer.hex]
        flags = (
            ("--fresh", self.fresh),
            ("--verify-only", self.verify_only),
            ("--profile", self.profile),
            ("--direct", self.direct),
            ("--audit-arena", self.audit_arena),
            ("--rotate", self.rotate),
            ("--evaluate", self.evaluate),
            ("--decisions", self.decisions),
        )
        return words + [name for name, given in flags if given]


def check_before_start(bundle: Path, signer: PublicKey | None) -> str:
    """Check what the engine cannot check of itself: the manifest, the executable, the plan. Returns the arch.

    With a `signer`, first that the manifest is signed by it: the engine is a file of the bundle too. The
    engine then hashes every file again, the weights included; here only what decides whether to start it.
    """
    if signer is not None:
        require_signature(bundle, signer)
    entries = read_manifest(bundle)
    plans = plan_names(entries)
    check_hashes(bundle, [entry for entry in entries if entry.name in ("engine", *plans)])
    return read_bundle_plans(bundle, plans)[0].target_arch


def governed_words(offset_s: int) -> list[str]:
    """What a launcher adds: commands on standard input, and the owner's clock."""
    return ["--commands", *(["--utc-offset", str(offset_s)] if offset_s else [])]


def run_process(command: Sequence[str], control: Control | None = None) -> Generator[Event]:
    """Run a command that speaks the engine's events. The process does not outlive the iterator.

    With a `control` its standard input takes commands, and closing the iterator sends a stop first.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if control is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        except OSError as error:
            raise MissingTool(f"{command[0]}: cannot start it: {error.strerror}") from error
        finished = False
        if control is not None and process.stdin is not None:
            control.attach(process.stdin)
        try:
            for line in cast("IO[bytes]", process.stdout):
                event = parse_event(line)
                if event["event"] == "error":
                    raise error_of(event)
                finished = finished or event["event"] in ("end", "verified", "evaluated")
                yield event
            status = process.wait()
            if status != 0 or not finished:
                raise error_of_status(status, errors)
        finally:
            _stop(process, control)


def parse_event(line: bytes) -> Event:
    """One line of the engine's standard output."""
    try:
        event: Any = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "event" not in event:
        raise DaypackError(f"engine: expected a line of JSON with an event, found {line[:200]!r}")
    return cast("Event", event)


def error_of(event: Event) -> DaypackError:
    """The engine's error event as an exception of the same exit code."""
    code = int(event["code"])
    return _ERRORS.get(code, DaypackError)(str(event["message"]))


def error_of_status(status: int, errors: IO[bytes]) -> DaypackError:
    """What an end without an error event means: a signal (shells say 128 + its number), or a foreign
    status.
    """
    errors.seek(0)
    said = errors.read()[-500:].decode(errors="replace").strip()
    tail = f"; it said: {said}" if said else ""
    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return DaypackError(f"engine: expected an end or an error event, found exit status {status}{tail}")
    if number == signal.SIGILL:
        return MissingTool(f"engine: {name}: the processor lacks an instruction that the kernels use{tail}")
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Stopped(
            f"engine: killed by {name}; the state on disk is the last one saved, run again to resume{tail}"
        )
    return BundleError(f"engine: died by {name}; the state on disk is the last one saved{tail}")


def _stop(process: subprocess.Popen[bytes], control: Control | None) -> None:
    """By command, which reaches an engine on a phone too; then by signal."""
    if process.poll() is None and control is not None:
        control.stop()
        with suppress(subprocess.TimeoutExpired):  # it does not listen
            process.wait(timeout=STOP_S)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if control is not None:
        control.detach()
    if process.stdout is not None:
        process.stdout.close()
