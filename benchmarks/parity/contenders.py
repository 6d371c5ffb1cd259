"""The engine and its peers, made to take the same steps in turn on the same machine.

Each peer is a process of its own that is told how many steps to take next and answers with their seconds; so
the contenders alternate, and what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from daypack import api
from daypack.spec import TrainSpec, to_toml

HERE = Path(__file__).parent
WARM_STEPS = 2
"""Steps of every turn that do not count: caches, threads and pages are cold."""


class Contender(Protocol):
    """Who takes steps."""

    name: str

    def take(self, steps: int) -> list[float]:
        """Take steps and give the seconds of each."""
        ...

    def close(self) -> int:
        """End; the peak of the process's resident memory over the steps that counted, in bytes."""
        ...


class Engine:
    """Our engine, started anew for every turn: loading is no part of a step.

    `direct`: past the page cache, as if nothing had been read before. `data`: not what the bundle brings.
    """

    def __init__(
        self,
        bundle: Path,
        threads: int | None = None,
        *,
        name: str = "daypack",
        direct: bool = False,
        data: Path | None = None,
    ) -> None:
        self.name = name
        self._bundle, self._threads, self._direct, self._data = bundle, threads, direct, data
        self._peak_bytes = 0
        self._fresh = True

    def take(self, steps: int) -> list[float]:
        events = list(
            api.run_bundle(
                self._bundle,
                data=self._data,
                steps=steps,
                threads=self._threads,
                fresh=self._fresh,
                direct=self._direct,
            )
        )
        self._fresh = False
        self._peak_bytes = max(self._peak_bytes, events[-1].peak_rss_bytes)
        return [event.seconds for event in events]

    def close(self) -> int:
        return self._peak_bytes


class Worker:
    """A peer in a process of its own: one JSON line on its standard input, then a number of steps a line."""

    def __init__(self, name: str, script: str, setting: Mapping[str, Any]) -> None:
        self.name = name
        # -P: this folder is not searched, so that its modules do not stand in for libraries of their names.
        command = [sys.executable, "-P", str(HERE / script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._peak_bytes = 0
        self._ask(setting)

    def take(self, steps: int) -> list[float]:
        answer = self._ask(steps)
        self._peak_bytes = int(answer["peak_rss_bytes"])
        return [float(seconds) for seconds in answer["seconds"]]

    def close(self) -> int:
        pipe = self._process.stdin
        if pipe is not None:
            pipe.close()
        self._process.wait(timeout=60)
        return self._peak_bytes

    def _ask(self, question: Any) -> dict[str, Any]:
        pipe, answers = self._process.stdin, self._process.stdout
        if pipe is None or answers is None:
            raise RuntimeError(f"{self.name}: the process has no pipes")
        pipe.write(json.dumps(question) + "\n")
        pipe.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended with {self._process.wait()}")
        return dict(json.loads(line))


def jax_worker(bundle: Path, spec: TrainSpec, *, plain: bool = True) -> Worker:
    """`jax.jit` of the step that the spec declares, on the bundle's own data; see `Reference` for `plain`."""
    name = "jax" if plain else "jax, our operators"
    return Worker(name, "worker_jax.py", {"bundle": str(bundle), "spec": to_toml(spec), "plain": plain})


def torch_worker(spec: TrainSpec, threads: int) -> Worker:
    """PyTorch with transformers, and peft for adapters; random ids, as many labels."""
    train = spec.train
    setting = {
        "model_type": spec.model.family,
        "config": dict(spec.model.config),
        "lora": None if train.method == "full" else [train.rank, train.alpha, list(train.targets or ())],
        "batch": train.batch,
        "sequence": train.sequence,
        "learning_rate": train.learning_rate,
        "clip": train.max_grad_norm,
        "dropout": train.dropout or 0.0,
        "threads": threads,
    }
    return Worker("torch", "worker_torch.py", setting)


@dataclass(frozen=True)
class Times:
    """Seconds of one contender's steps that counted, and its peak memory."""

    name: str
    seconds: tuple[float, ...]
    peak_rss_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def in_turns(contenders: Sequence[Contender], rounds: int, steps: int) -> list[Times]:
    """`rounds` turns of `steps` counted steps each, the order reversed every other round."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            seconds[contender.name] += contender.take(WARM_STEPS + steps)[WARM_STEPS:]
    return [Times(c.name, tuple(seconds[c.name]), c.close()) for c in contenders]
