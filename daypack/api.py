# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What the command line and `import daypack` call: specs and user code put together with compiler and
runtime.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daypack.errors import BundleError, SpecError

if TYPE_CHECKING:
    from daypack.models.task import Task
    from daypack.spec import TrainSpec

OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the compiler expects of one step; every figure is modelled."""

    peak_bytes: int
    step_seconds: float
    step_joules: float | None
    flash_read_bytes: int
    flash_written_bytes: int
    source: str = "modelled"


@dataclass(frozen=True, slots=True)
class CompileResult:
    """A finished bundle."""

    bundle: Path
    predicted: Predicted
    kernels: int
    shards: int
    compile_seconds: float


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step as the engine reports it; `source` is `measured`, or `emulated` under an emulator."""

    step: int
    loss: float
    seconds: float
    tokens: int
    peak_rss_bytes: int
    source: str


def compile_spec(
    spec: TrainSpec,
    *,
    out: Path,
    target: str | None = None,
    memory_bytes: int | None = None,
    dump_problem: Path | None = None,
    on_stage: OnStage | None = None,
) -> CompileResult:
    """Compile a spec; `target` (a device name or profile path) and `memory_bytes` replace the spec's.

    `dump_problem` names a file for the planning problem of the step (daypack-problem/1).

    Raises:
        SpecError: the spec's model, data or values cannot be used.
        BudgetInfeasible: no plan fits the memory.
    """
    from daypack.compiler.pipeline import Options, compile_step
    from daypack.compiler.step import InputRange, TrainStep
    from daypack.devices import load_profile
    from daypack.models.task import build_task

    task = build_task(spec)
    window = spec.train.window or 1
    step = TrainStep(
        loss=task.loss,
        optimizer=task.optimizer,
        trainable=task.trainable,
        frozen=task.frozen,
        mutable=task.mutable,
        batch=task.batch,
        window=window,
        seed=task.seed,
        ranges={name: InputRange(b.bound, b.ignore) for name, b in task.bounds.items()},
    )
    memory = memory_bytes if memory_bytes is not None else spec.budget.memory_bytes
    options = Options(memory_bytes=memory, save_steps=spec.train.save_steps or 1, dump_problem=dump_problem)
    compiled = compile_step(
        step,
        load_profile(target or spec.device.profile),
        read=task.source.read,
        mutable={},
        out=out,
        options=options,
        description={"spec": _spec_text(spec), "model": dict(task.description)},
        fill=lambda folder, emission: _fill_from_task(folder, emission.plan.inputs, task, spec),
        on_stage=on_stage,
    )
    return _result(compiled)


def _spec_text(spec: TrainSpec) -> str:
    from daypack.spec import to_toml

    return to_toml(spec)


def _fill_from_task(folder: Path, inputs: Any, task: Task, spec: TrainSpec) -> None:
    """Add the data the spec declares, and the tokenizer, to a bundle."""
    if spec.data is not None:
        _write_windows(folder / "data.bin", inputs, task.windows(), spec)
    if task.tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(Path(task.tokenizer).read_bytes())


def _write_windows(path: Path, inputs: Any, windows: Any, spec: TrainSpec) -> None:
    from daypack.runtime.data_file import write_data

    micro_batch = spec.train.batch // (spec.train.window or 1)
    write_data(path, inputs, windows.batches(micro_batch, spec.train.batch))


def _result(compiled: Any) -> CompileResult:
    predicted = Predicted(
        compiled.peak_bytes,
        compiled.step_seconds,
        None,
        compiled.flash_read_bytes,
        compiled.flash_written_bytes,
    )
    return CompileResult(
        compiled.bundle, predicted, compiled.kernels, compiled.shards, compiled.compile_seconds
    )


def run_bundle(
    bundle: Path,
    *,
    data: Path | None = None,
    steps: int | None = None,
    via: str = "local",
    threads: int | None = None,
    state: Path | None = None,
    fresh: bool = False,
) -> Iterator[StepEvent]:
    """Run a bundle's engine and yield its steps.

    `data` is a text, JSONL or id file, read as the bundle's spec says, or a prepared `data.bin`.

    Raises:
        BundleError, MissingTool, Stopped, SpecError: as the engine reports.
    """
    import tempfile

    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher

    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        prepared = _prepared_data(bundle, data, Path(folder)) if data is not None else None
        arguments = EngineArguments(state=state, data=prepared, steps=steps, threads=threads, fresh=fresh)
        for event in launcher(via).run(bundle, arguments):
            if event.get("event") == "step":
                yield step_event(event)


def step_event(event: Mapping[str, Any]) -> StepEvent:
    """The engine's step event as data."""
    return StepEvent(
        int(event["step"]),
        float("nan") if event["loss"] is None else float(event["loss"]),
        float(event["seconds"]),
        int(event["tokens"]),
        int(event["peak_rss_bytes"]),
        str(event["source"]),
    )


def _prepared_data(bundle: Path, data: Path, folder: Path) -> Path:
    """A file of the user's as records of this bundle; a prepared file is taken as it is."""
    from dataclasses import replace

    from daypack.models.data import load_windows
    from daypack.models.task import corpus
    from daypack.runtime.bundle import read_bundle
    from daypack.spec import parse_spec

    if data.is_file() and data.open("rb").read(8) == b"DPDATA1\0":
        return data
    found = read_bundle(bundle)
    text = found.description.get("spec")
    if not isinstance(text, str):
        raise SpecError(
            f"{data}: this bundle was compiled from Python; give it records that daypack.run prepares"
        )
    spec = parse_spec(text, base=bundle, where=f"{bundle}/bundle.json")
    source = corpus(spec, data)
    if (bundle / "tokenizer.json").exists():
        source = replace(source, tokenizer=bundle / "tokenizer.json")
    ids = next(i for i in found.plan.inputs if i.name == "ids")
    path = folder / "data.bin"
    windows = load_windows(source, ids.bound, spec.train.sequence, spec.train.seed)
    _write_windows(path, found.plan.inputs, windows, spec)
    return path


def inspect_bundle(bundle: Path) -> dict[str, Any]:
    """What a bundle is: its description, its plan in figures, its files; every hash is checked."""
    from daypack.runtime.bundle import read_bundle, verify_manifest

    verify_manifest(bundle)
    found = read_bundle(bundle)
    plan = found.plan
    return {
        "bundle": str(bundle),
        "files": [asdict(f) for f in found.files],
        "target_arch": plan.target_arch,
        "cpu_features": list(plan.cpu_features),
        "arena_bytes": plan.arena_bytes,
        "scratch_bytes": plan.scratch_bytes,
        "budget_bytes": plan.budget_bytes,
        "window": plan.window,
        "save_steps": plan.save_steps,
        "instructions": len(plan.steps),
        "inputs": [asdict(i) for i in plan.inputs],
        "trained": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in plan.state],
        **{k: v for k, v in found.description.items() if k != "spec"},
        "spec": found.description.get("spec"),
    }


def compile(
    model: Any,
    loss: Callable[..., Any],
    optimizer: Any,
    batch: Mapping[str, Any],
    *,
    out: str | Path,
    device: str = "host",
    memory: int | str | None = None,
    window: int = 1,
    seed: int = 0,
) -> CompileResult:
    """Compile a user's own training step. See `daypack.user_step` for what a model and a loss may be."""
    from daypack.compiler.pipeline import Options, compile_step
    from daypack.devices import load_profile
    from daypack.spec import parse_size
    from daypack.user_step import user_step

    memory_bytes = parse_size(memory) if isinstance(memory, str) else memory
    made = user_step(model, loss, optimizer, batch, window=window, seed=seed)
    compiled = compile_step(
        made.step,
        load_profile(device),
        read=made.arrays.__getitem__,
        mutable=made.mutable,
        out=Path(out),
        options=Options(memory_bytes=memory_bytes),
        description={"names": json.dumps(sorted(made.arrays))},
    )
    return _result(compiled)


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves: the steps, and the arrays of the state by name (parameters under their own
    paths).
    """

    steps: tuple[StepEvent, ...]
    state: Mapping[str, Any]

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]


def run(
    bundle: CompileResult | str | Path,
    batches: Iterable[Mapping[str, Any]],
    *,
    steps: int | None = None,
    threads: int | None = None,
    state: str | Path | None = None,
    fresh: bool = False,
    via: str = "local",
) -> TrainResult:
    """Train a bundle on whole batches (dicts of arrays as given to `compile`); one step a batch unless
    `steps` says.

    Batches are cut into the window's micro-batches along their first dimension.
    """
    import tempfile

    from safetensors.numpy import load_file

    from daypack.runtime.bundle import read_bundle_plan
    from daypack.runtime.data_file import write_data

    path = bundle.bundle if isinstance(bundle, CompileResult) else Path(bundle)
    plan = read_bundle_plan(path)
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        data = Path(folder) / "data.bin"
        count = write_data(data, plan.inputs, _records(batches, plan.window))
        place = Path(state) if state is not None else path.with_name(path.name + ".state")
        wanted = steps if steps is not None else count // plan.window
        events = tuple(
            run_bundle(path, data=data, steps=wanted, via=via, threads=threads, state=place, fresh=fresh)
        )
    saved = place / "state.safetensors"
    if not saved.exists():
        raise BundleError(f"{saved}: the run saved no state")
    return TrainResult(events, load_file(saved))


def _records(batches: Iterable[Mapping[str, Any]], window: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    for number, batch in enumerate(batches):
        arrays = {name: np.asarray(array) for name, array in _flat(batch).items()}
        size = min(len(a) for a in arrays.values())
        if size % window:
            raise SpecError(f"batch {number} has {size} examples, which a window of {window} does not divide")
        part = size // window
        for micro in range(window):
            yield {name: array[micro * part : (micro + 1) * part] for name, array in arrays.items()}


def _flat(batch: Mapping[str, Any]) -> dict[str, Any]:
    from daypack.user_step import flat_names

    return flat_names(batch)
