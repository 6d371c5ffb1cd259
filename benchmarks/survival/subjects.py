"""Two small trainings to be interrupted: LoRA, and full fine-tuning with its parameters and moments on flash.

Each comes with engines of the same kernels and another platform, so that a bundle runs on any of them.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from parity.specs import FULL, LORA, gpt2, write_ids

from daypack import api
from daypack.compiler import emit, planning
from daypack.compiler.project import project
from daypack.errors import BudgetInfeasible
from daypack.runtime.build import MAIN, build_engine
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import FileKind, Store
from daypack.spec import TrainSpec
from survival.sanitized import sanitized_engine

PLATFORMS = Path(__file__).resolve().parents[2] / "tests" / "runtime" / "native"
TINY = {"n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 16, "vocab_size": 96}
SMALL = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 32, "vocab_size": 512}
#: Weights of several blocks of the hash tree.
WIDE = SMALL | {"n_embd": 192}
SHAPE = {"batch": 2, "gradient_accumulation_steps": 2, "dropout": 0.1}
#: Arrays of this size and more may be paged; as compiled for a phone only those of a megabyte.
PAGE_BYTES = 1024


@dataclass(frozen=True)
class Subject:
    """A bundle, the most windows that a kill of it may lose, and its engines by the platform's name."""

    bundle: Path
    save_steps: int
    engines: Mapping[str, Path]


def lora(folder: Path, config: Mapping[str, Any], *platforms: str, save_steps: int = 1) -> Subject:
    """LoRA with dropout, a window of two micro-batches."""
    return _compile(_spec(folder, config, LORA, save_steps), folder / f"lora-{save_steps}", platforms, None)


def paged(folder: Path, config: Mapping[str, Any], *platforms: str) -> Subject:
    """Full fine-tuning within little more than the least memory: every step pages its state."""
    spec = _spec(folder, config, FULL, 1)
    with mock.patch.object(planning, "project", functools.partial(project, page_bytes=PAGE_BYTES)):
        try:
            api.compile_spec(spec, out=folder / "none.bundle", memory_bytes=1_000_000)
            raise ValueError("a budget of 1 MB: expected no plan")
        except BudgetInfeasible as refused:
            least = int(str(refused.details()["smallest_feasible_bytes"]))
        made = _compile(spec, folder / "paged", platforms, int(1.02 * least))
    plan = read_bundle(made.bundle).plan
    if not any(isinstance(step, Store) and step.file is FileKind.NEXT for step in plan.steps):
        raise ValueError(f"{least} bytes: expected a plan that pages its state")
    return made


def _spec(folder: Path, config: Mapping[str, Any], method: dict[str, Any], save_steps: int) -> TrainSpec:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = config["vocab_size"]
    ids = folder / f"ids-{vocabulary}.jsonl"
    if not ids.exists():
        write_ids(ids, vocabulary, 4000)
    return gpt2(ids, config, method, sequence=config["n_positions"], save_steps=save_steps, **SHAPE)


def _compile(spec: TrainSpec, place: Path, platforms: tuple[str, ...], memory_bytes: int | None) -> Subject:
    bundle = place.with_suffix(".bundle")
    engines: dict[str, Path] = {"plain": bundle / "engine"}
    with _engines_for(place, platforms, engines):
        api.compile_spec(spec, out=bundle, memory_bytes=memory_bytes)
    return Subject(bundle, read_bundle(bundle).plan.save_steps, engines)


@contextmanager
def _engines_for(place: Path, platforms: tuple[str, ...], engines: dict[str, Path]) -> Generator[None]:
    """While a bundle is compiled: link its kernels with these platforms too. NAME-asan and NAME-tsan: with a
    sanitizer; the platform `plain` is this machine.
    """

    def build(**given: Any) -> Any:
        for name in platforms:
            platform, _, sanitizer = name.partition("-")
            main = MAIN if platform == "plain" else PLATFORMS / f"{platform}_main.c"
            variant: dict[str, Any] = {**given, "main": main, "out": place.with_name(f"{place.name}-{name}")}
            if sanitizer:
                sanitized_engine(sanitizer, **variant)
            else:
                build_engine(**variant)
            engines[name] = variant["out"]
        return build_engine(**given)

    with mock.patch.object(emit, "build_engine", build):
        yield
