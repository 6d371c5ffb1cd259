"""Run a bundle's engine on a phone through the Android debug bridge.

The bundle goes to /data/local/tmp, the only place where a shell user may start executables; the engine is
static and needs nothing else there. The host's state directory is the truth: it is pushed before a run and
pulled after it, however the run ended. A state that is still on the phone when a run begins is what an
earlier run saved before its connection broke, and is continued.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daypack.errors import MissingTool, SpecError, Stopped
from daypack.runtime.bundle import MANIFEST, sha256_of
from daypack.runtime.control import Control
from daypack.runtime.engine_process import (
    EngineArguments,
    Event,
    check_before_start,
    governed_words,
    run_process,
)
from daypack.runtime.state_file import NAME as STATE_NAME

ACCOUNT_NAME, POLICY_NAME = "account", "policy.bin"
REMOTE_ROOT = "/data/local/tmp/daypack"


@dataclass(frozen=True, slots=True)
class Adb:
    """The engine on the phone that `adb` reaches; `serial` chooses among several."""

    program: str = "adb"
    serial: str | None = None

    def run(
        self, bundle: Path, arguments: EngineArguments, control: Control | None = None
    ) -> Iterator[Event]:
        control = control or Control()
        bundle = bundle.absolute()
        arch = check_before_start(bundle, arguments.signer)
        self._check_device(bundle, arch)
        remote = f"{REMOTE_ROOT}/{sha256_of(bundle / MANIFEST)[:16]}"
        data = self._push_bundle(bundle, arguments, remote)
        try:
            if arguments.verify_only:
                yield from self._start(remote, arguments, data, control)
            elif arguments.evaluate:
                local = arguments.state_directory(bundle)
                yield from self._evaluate(local, arguments, remote, data, control)
            else:
                yield from self._run_with_state(bundle, arguments, remote, data, control)
        finally:
            if data is not None and not data.startswith("/"):
                self._ask("shell", f"rm -f {shlex.quote(f'{remote}/{data}')}")

    def system_file(self, path: str) -> str | None:
        """The text of a small file of the phone."""
        found = self._ask("shell", f"cat {shlex.quote(path)}")
        return found.stdout if found.returncode == 0 else None

    def _run_with_state(
        self,
        bundle: Path,
        arguments: EngineArguments,
        remote: str,
        data: str | None,
        control: Control,
    ) -> Generator[Event]:
        local = arguments.state_directory(bundle)
        _make_state_directory(local)
        governed = (bundle / POLICY_NAME).is_file()
        self._push_state(local, arguments.fresh, remote)
        if governed and not arguments.fresh:
            self._push_account(local, remote)
        try:
            with closing(self._start(remote, arguments, data, control)) as events:
                for event in events:
                    yield {**event, "state": str(local / STATE_NAME)} if "state" in event else event
        finally:
            if governed:
                self._pull_account(local, remote)
            if self._has_state(remote):
                self._pull_state(local, remote)

    def _evaluate(
        self, local: Path, arguments: EngineArguments, remote: str, data: str | None, control: Control
    ) -> Generator[Event]:
        """Nothing comes back: of the state, what this run pushed is removed, and what was there stays."""
        there = self._has_state(remote)
        if not arguments.fresh:
            self._push_state(local, False, remote)
        pushed = not there and self._has_state(remote)
        try:
            state = "state" if there or pushed else None
            yield from self._start(remote, arguments, data, control, state)
        finally:
            if pushed:
                self._call("shell", f"rm -rf {shlex.quote(remote)}/state")

    def _start(
        self,
        remote: str,
        arguments: EngineArguments,
        data: str | None,
        control: Control,
        state: str | None = "state",
    ) -> Generator[Event]:
        words = ["./bundle/engine", *arguments.command_line("bundle", state, data)]
        words += governed_words(self._utc_offset_s())
        shell = f"cd {shlex.quote(remote)} && exec {shlex.join(words)}"
        return run_process(self._command("shell", shell), control)

    def _utc_offset_s(self) -> int:
        """Of the phone's clock; 0 where it does not tell."""
        said = self._ask("shell", "date +%z").stdout.strip()
        if re.fullmatch(r"[+-]\d{4}", said) is None:
            return 0
        seconds = 3600 * int(said[1:3]) + 60 * int(said[3:])
        return -seconds if said[0] == "-" else seconds

    def _check_device(self, bundle: Path, arch: str) -> None:
        if shutil.which(self.program) is None:
            raise MissingTool(
                f"{self.program}: expected the Android debug bridge on PATH, found none; "
                "install Debian's package adb or Android's platform-tools"
            )
        state = self._ask("get-state")
        if state.returncode != 0 or state.stdout.strip() != "device":
            said = (state.stderr or state.stdout).strip()
            raise MissingTool(f"adb: expected one device, found: {said}; connect one and allow debugging")
        machine = self._ask("shell", "uname -m").stdout.strip()
        if machine != arch:
            raise MissingTool(f"{bundle}: expected a bundle for the device ({machine}), found one for {arch}")

    def _push_bundle(self, bundle: Path, arguments: EngineArguments, remote: str) -> str | None:
        """Copy the bundle, and the data if they are here; returns the data's name on the phone, whose suffix
        is that of the file.
        """
        self._call("shell", f"mkdir -p {shlex.quote(remote)}/bundle")
        self._call("push", f"{bundle}/.", f"{remote}/bundle/")
        self._call("shell", f"chmod 755 {shlex.quote(remote)}/bundle/engine")
        if arguments.data is None:
            return None
        if arguments.data_on_device:
            return str(arguments.data)
        name = f"data{arguments.data.suffix or '.bin'}"
        self._call("push", str(arguments.data), f"{remote}/{name}")
        return name

    def _push_state(self, local: Path, fresh: bool, remote: str) -> None:
        left_over = self._has_state(remote)
        if fresh and left_over:
            self._call("shell", f"rm -rf {shlex.quote(remote)}/state")
        elif not fresh and not left_over and (local / STATE_NAME).is_file():
            self._call("shell", f"mkdir -p {shlex.quote(remote)}/state")
            self._call("push", str(local / STATE_NAME), f"{remote}/state/{STATE_NAME}")

    def _has_state(self, remote: str) -> bool:
        return self._ask("shell", f"test -f {shlex.quote(remote)}/state/{STATE_NAME}").returncode == 0

    def _push_account(self, local: Path, remote: str) -> None:
        """What the job has used so far, where a policy counts it."""
        if (local / ACCOUNT_NAME).is_file():
            self._call("shell", f"mkdir -p {shlex.quote(remote)}/state")
            self._call("push", str(local / ACCOUNT_NAME), f"{remote}/state/{ACCOUNT_NAME}")

    def _pull_account(self, local: Path, remote: str) -> None:
        if self._ask("shell", f"test -f {shlex.quote(remote)}/state/{ACCOUNT_NAME}").returncode == 0:
            partial = local / f"{ACCOUNT_NAME}.tmp"
            self._call("pull", f"{remote}/state/{ACCOUNT_NAME}", str(partial))
            partial.replace(local / ACCOUNT_NAME)

    def _pull_state(self, local: Path, remote: str) -> None:
        """Bring the state home under its name in one rename; only then is the phone's copy removed."""
        partial = local / f"{STATE_NAME}.tmp"
        self._call("pull", f"{remote}/state/{STATE_NAME}", str(partial))
        partial.replace(local / STATE_NAME)
        self._call("shell", f"rm -rf {shlex.quote(remote)}/state")

    def _call(self, *words: str) -> None:
        result = self._ask(*words)
        if result.returncode != 0:
            said = (result.stderr or result.stdout).strip()
            raise Stopped(f"adb {words[0]}: expected it to succeed, found status {result.returncode}: {said}")

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*words), capture_output=True, text=True, check=False)

    def _command(self, *words: str) -> list[str]:
        serial = [] if self.serial is None else ["-s", self.serial]
        return [self.program, *serial, *words]


def _make_state_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"{path}: cannot create the state directory: {error.strerror}; give --state another"
        ) from error
