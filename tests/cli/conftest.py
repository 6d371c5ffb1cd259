"""A stand-in for `daypack.api` that records how it was called, and a way to run commands in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import daypack
from daypack.cli import main


@dataclass(frozen=True)
class Predicted:
    peak_bytes: int = 158_000_000
    step_seconds: float = 1.25
    step_joules: float | None = None
    flash_read_bytes: int = 0
    flash_written_bytes: int = 4096
    source: str = "modelled"


@dataclass(frozen=True)
class CompileResult:
    bundle: Path
    predicted: Predicted = Predicted()
    kernels: int = 34
    shards: int = 12
    compile_seconds: float = 41.25
    plans: tuple[dict[str, Any], ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepEvent:
    step: int
    loss: float
    seconds: float = 0.5
    tokens: int = 512
    peak_rss_bytes: int = 120_000_000
    read_bytes: int = 4096
    written_bytes: int = 64
    source: str = "measured"


@dataclass(frozen=True)
class Exported:
    directory: Path
    step: int = 3
    parameters: int = 96


@dataclass(frozen=True)
class Evaluated:
    data: Path
    perplexity: float
    step: int = 3
    accuracy: float | None = None


@dataclass
class FakeApi:
    """What the commands call; `fail` raises in place of an answer, after the first step of a run."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fail: BaseException | None = None
    first_loss: float = 5.5
    perplexity: float = 7.5
    inspected: dict[str, Any] = field(default_factory=dict)
    plans: tuple[dict[str, Any], ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    def compile_spec(
        self,
        spec: Any,
        *,
        out: Path,
        target: str | None = None,
        memory_bytes: int | None = None,
        dump_problem: Path | None = None,
        cache: bool = True,
        tuning: Path | None = None,
        on_stage: Callable[[str, float], None] | None = None,
    ) -> CompileResult:
        self.calls.append(
            (
                "compile",
                {
                    "spec": spec,
                    "out": out,
                    "target": target,
                    "memory_bytes": memory_bytes,
                    "dump_problem": dump_problem,
                    "cache": cache,
                    "tuning": tuning,
                },
            )
        )
        assert on_stage is not None
        for stage, fraction in (("trace", 0.0), ("kernels", 0.5), ("kernels", 0.75), ("emit", 0.9)):
            on_stage(stage, fraction)
        self._maybe_fail()
        return CompileResult(out, plans=self.plans, refused=self.refused)

    def dump_problem(self, spec: Any, file: Path, **options: Any) -> int:
        self.calls.append(("dump", {"spec": spec, "file": file, **options}))
        self._maybe_fail()
        return 17

    def run_bundle(self, bundle: Path, **options: Any) -> Iterator[StepEvent]:
        self.calls.append(("run", {"bundle": bundle, **options}))
        yield StepEvent(1, self.first_loss)
        self._maybe_fail()
        yield StepEvent(2, 5.25)

    def export_adapter(self, bundle: Path, **options: Any) -> Exported:
        self.calls.append(("export", {"bundle": bundle, **options}))
        self._maybe_fail()
        return Exported(options["out"])

    def merge_bundle(self, bundle: Path, **options: Any) -> Exported:
        self.calls.append(("merge", {"bundle": bundle, **options}))
        self._maybe_fail()
        return Exported(options["out"])

    def evaluate_bundle(self, bundle: Path, **options: Any) -> Evaluated:
        self.calls.append(("eval", {"bundle": bundle, **options}))
        self._maybe_fail()
        return Evaluated(options["data"], perplexity=self.perplexity)

    def inspect_bundle(self, bundle: Path) -> dict[str, Any]:
        self.calls.append(("inspect", {"bundle": bundle}))
        self._maybe_fail()
        return self.inspected

    def _maybe_fail(self) -> None:
        if self.fail is not None:
            raise self.fail


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    module = SimpleNamespace(
        compile_spec=fake.compile_spec,
        dump_problem=fake.dump_problem,
        run_bundle=fake.run_bundle,
        export_adapter=fake.export_adapter,
        merge_bundle=fake.merge_bundle,
        inspect_bundle=fake.inspect_bundle,
        evaluate_bundle=fake.evaluate_bundle,
    )
    monkeypatch.setitem(sys.modules, "daypack.api", module)
    monkeypatch.setattr(daypack, "api", module, raising=False)
    return fake


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `daypack` with these arguments."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.toml"
    path.write_text(
        '[model]\nfamily = "gpt2"\n[train]\nmethod = "lora"\nlearning_rate = 1e-4\nmax_steps = 2\n'
        "batch = 4\nsequence = 32\n"
    )
    return path
