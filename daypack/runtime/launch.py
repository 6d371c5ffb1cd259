"""Start the engine of a bundle: here, under an emulator, or on a phone. One protocol, the same events.

`launcher("local" | "emulated" | "adb")` gives the one asked for. Each checks the manifest and the
executable's hash before it starts anything; the engine then checks every file.
"""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daypack.errors import MissingTool, SpecError
from daypack.runtime.adb import Adb
from daypack.runtime.control import Control
from daypack.runtime.engine_process import (
    EngineArguments,
    Event,
    check_before_start,
    governed_words,
    run_process,
)

__all__ = [
    "Adb",
    "Control",
    "Emulated",
    "EngineArguments",
    "Event",
    "Launcher",
    "Local",
    "find_emulator",
    "launcher",
]

_ARCH_OF_MACHINE = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class Launcher(Protocol):
    """One way to run a bundle's engine."""

    def run(
        self, bundle: Path, arguments: EngineArguments, control: Control | None = None
    ) -> Iterator[Event]:
        """Yield the engine's events; raise what its error event or its end says. Closing the iterator stops
        it, and `control` sends it commands meanwhile.
        """
        ...

    def system_file(self, path: str) -> str | None:
        """The text of a small file of the machine that runs the engine; None where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """The engine as a process of this machine."""

    def run(
        self, bundle: Path, arguments: EngineArguments, control: Control | None = None
    ) -> Iterator[Event]:
        bundle = bundle.absolute()
        arch = check_before_start(bundle, arguments.signer)
        here = _ARCH_OF_MACHINE.get(platform.machine().lower(), platform.machine())
        if arch != here or sys.platform != "linux":
            others = "--via emulated or --via adb" if arch == "aarch64" else "--via local on such a machine"
            raise MissingTool(
                f"{bundle}: expected a bundle for this machine ({here} {sys.platform}), "
                f"found one for {arch} linux; use {others}, or compile with --target host"
            )
        command = [str(bundle / "engine"), *_local_words(bundle, arguments)]
        yield from run_process(command, control or Control())

    def system_file(self, path: str) -> str | None:
        try:
            return Path(path).read_text("utf-8", errors="replace")
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class Emulated:
    """The engine under qemu's user mode. Times are the emulator's: every `source` says `emulated`."""

    cpu: str = "max"

    def run(
        self, bundle: Path, arguments: EngineArguments, control: Control | None = None
    ) -> Iterator[Event]:
        bundle = bundle.absolute()
        arch = check_before_start(bundle, arguments.signer)
        if arch != "aarch64":
            raise MissingTool(
                f"{bundle}: expected a bundle for aarch64 to emulate, found one for {arch}; use --via local"
            )
        command = [
            find_emulator(),
            "-cpu",
            self.cpu,
            str(bundle / "engine"),
            *_local_words(bundle, arguments),
        ]
        for event in run_process(command, control or Control()):
            yield {**event, "source": "emulated"} if event.get("source") == "measured" else event

    def system_file(self, path: str) -> str | None:
        """Nothing: the files are those of the machine that emulates."""
        del path
        return None


def find_emulator() -> str:
    """The path of qemu's user-mode emulator for aarch64."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return found
    raise MissingTool(
        "qemu-aarch64-static: expected it on PATH to emulate aarch64, found none; "
        "install Debian's package qemu-user-static"
    )


def launcher(via: str) -> Launcher:
    """The launcher of this name."""
    launchers: dict[str, Launcher] = {"local": Local(), "emulated": Emulated(), "adb": Adb()}
    if via not in launchers:
        raise SpecError(f"--via: expected one of {', '.join(launchers)}, found {via!r}")
    return launchers[via]


def _local_words(bundle: Path, arguments: EngineArguments) -> list[str]:
    data = None if arguments.data is None else str(arguments.data)
    named = arguments.state is not None or not arguments.evaluate
    state = str(arguments.state_directory(bundle)) if named else None
    words = arguments.command_line(str(bundle), state, data)
    return words + governed_words(time.localtime().tm_gmtoff)
