"""Commands to a running engine: one JSON object a line on its standard input (FORMAT.md, "Commands")."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import IO, Any


class Control:
    """Give it to a launcher's `run`; its methods may be called from any thread while the run goes on.

    Before the engine has started, commands wait; after its end they do nothing. Answers are events of the
    run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._input: IO[bytes] | None = None
        self._waiting: list[bytes] = []
        self._over = False

    def pause(self) -> None:
        """Stand still at the end of the shard under way, until `resume`."""
        self.send(command="pause")

    def resume(self) -> None:
        self.send(command="resume")

    def stop(self) -> None:
        """Leave at once; the unfinished step is dropped."""
        self.send(command="stop")

    def status(self, number: int | None = None) -> None:
        """Ask for a `status` event, which carries `number`."""
        self.send(command="status", **({} if number is None else {"id": number}))

    def budget(self, **limits: float) -> None:
        """Change `joules_per_day`, `written_bytes` or `memory_bytes` of this run."""
        self.send(command="budget", **limits)

    def readings(self, **values: float) -> None:
        """Say what no sensor tells the engine: `battery`, `skin_celsius`, `charging`, `screen`, and so on."""
        self.send(command="readings", **values)

    def send(self, **fields: Any) -> None:
        """Any command, as its fields."""
        with self._lock:
            self._waiting.append(json.dumps(fields).encode() + b"\n")
            self._flush()

    def attach(self, stream: IO[bytes]) -> None:
        """The engine's standard input, once it runs."""
        with self._lock:
            self._input = stream
            self._flush()

    def detach(self) -> None:
        """The engine has ended."""
        with self._lock:
            self._over = True
            if self._input is not None:
                with suppress(OSError):  # what was still to be flushed has no reader any more
                    self._input.close()

    def _flush(self) -> None:
        if self._input is None or self._over:
            return
        try:
            self._input.write(b"".join(self._waiting))
            self._input.flush()
        except (OSError, ValueError):
            self._over = True  # the engine is gone; its last event says why
        self._waiting.clear()
