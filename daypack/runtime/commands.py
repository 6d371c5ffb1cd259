"""Programs that are started from several threads and can all be stopped at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class Commands:
    """Runs programs to their end, until `stop` ends those that run and refuses any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], folder: Path) -> tuple[int, str]:
        """(exit code, what was said on stderr); a negative code of one that was stopped."""
        with self._lock:
            if self._stopped:
                return -signal.SIGTERM, "stopped before it began"
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so that what it starts is stopped with it
            )
            self._running.add(process)
        said = process.communicate()[1]
        with self._lock:
            self._running.discard(process)
        return process.returncode, said

    def stop(self) -> None:
        """End what runs, and what it has started."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
