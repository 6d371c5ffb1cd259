"""Bundles compiled for a run of benchmarks, each in a process of its own that is measured."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daypack.errors import ExitCode
from daypack.spec import TrainSpec, to_toml
from parity.process import Failed, Finished, run_measured
from parity.specs import write_ids

BUDGETS = 10
"""How many budgets a promise is tried with."""


@dataclass(frozen=True)
class Built:
    """A bundle, what its compilation said (`compile --json`) and what it used."""

    bundle: Path
    said: dict[str, Any]
    used: Finished


class Workspace:
    """A folder with ids and bundles; equal specs are compiled once."""

    def __init__(
        self, folder: Path, layers: int, steps: int, budgets: int = BUDGETS, seconds: float = 3600.0
    ) -> None:
        self.folder = folder
        self.seconds = seconds
        self.layers, self.steps, self.budgets = layers, steps, budgets
        self.ids = write_ids(folder / "ids.jsonl", 50257, 20_000)
        self._built: dict[tuple[str, str | None], Built] = {}

    @property
    def config(self) -> dict[str, Any]:
        """GPT-2 124M: every field at its published default, but for the layers of a trial run."""
        return {} if self.layers == 12 else {"n_layer": self.layers}

    def build(self, spec: TrainSpec, target: str | None = None) -> Built:
        key = (to_toml(spec), target)
        if key not in self._built:
            self._built[key] = self.compile(spec, target, f"{len(self._built)}.bundle")
        return self._built[key]

    def try_build(self, spec: TrainSpec) -> Built | dict[str, Any]:
        """As `build`; or what the compilation said that found no plan (exit code 3)."""
        try:
            return self.build(spec)
        except Failed as failure:
            if failure.status != ExitCode.BUDGET_INFEASIBLE:
                raise
            return json.loads(failure.output)

    def compile(
        self, spec: TrainSpec, target: str | None, name: str, environment: dict[str, str] | None = None
    ) -> Built:
        """Compile in a process of its own."""
        out = self.folder / name
        path = out.with_suffix(".toml")
        path.write_text(to_toml(spec))
        words = ["compile", str(path), "--out", str(out), "--json"]
        words += [] if target is None else ["--target", target]
        used = run_measured([sys.executable, "-m", "daypack", *words], environment)
        said = {**json.loads(used.output), "bundle": out.name}  # results name no places
        return Built(out, said, used)
