# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What the command line and `import daypack` call: specs and user code put together with compiler and
runtime.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from daypack.errors import BundleError, SpecError

if TYPE_CHECKING:
    from daypack.compiler.emit import Emission
    from daypack.compiler.kernels.tuning import Tuning
    from daypack.compiler.planning import Options
    from daypack.compiler.step import TrainStep
    from daypack.devices import Profile
    from daypack.models.chat import ChatFormat
    from daypack.models.evaluation import Rows
    from daypack.models.sources import TensorSource
    from daypack.models.task import Task
    from daypack.models.tokenizer_tables import TokenizerTables
    from daypack.runtime.limits import Limits as EnergyLimits
    from daypack.runtime.plan_file import Order, PlanFile
    from daypack.spec import TrainSpec

_NOT_PARAMETERS = ("mutable/", "opt/", "clock/")  #: how the names of what else is in a saved state begin
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
    """A finished bundle. `plans`: the figures of each plan in it, as bundle.json has them; a run begins with
    the first, whose figures the others are.
    """

    bundle: Path
    predicted: Predicted
    kernels: int
    shards: int
    compile_seconds: float
    plans: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step as the engine reports it; `source` is `measured`, or `emulated` under an emulator.

    `save_seconds`: putting the state on disk, beside `seconds`. `read_bytes`, `written_bytes`: from and to
    files, the saved state included; `weights_read_bytes`: of those read, from the weights. `profile`: where
    it was asked for, seconds by kernel and of transfers.
    """

    step: int
    loss: float
    seconds: float
    tokens: int
    peak_rss_bytes: int
    source: str
    save_seconds: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    weights_read_bytes: int = 0
    profile: Mapping[str, Any] | None = None


def compile_spec(
    spec: TrainSpec,
    *,
    out: Path,
    target: str | None = None,
    memory_bytes: int | None = None,
    dump_problem: Path | None = None,
    cache: bool = True,
    tuning: Path | Tuning | None = None,
    on_stage: OnStage | None = None,
) -> CompileResult:
    """Compile a spec; `target` (a device name or profile path) and `memory_bytes` replace the spec's.

    `dump_problem` names a file for the planning problem of the step (daypack-problem/1). Without `cache`
    every kernel is compiled anew and none is kept. `tuning`: a table of `daypack tune`.

    Raises:
        SpecError: the spec's model, data or values cannot be used.
        BudgetInfeasible: no plan fits the memory.
    """
    from daypack.compiler.pipeline import compile_step
    from daypack.devices import load_profile
    from daypack.models.chat import chat_for_bundle
    from daypack.models.task import build_task

    profile = load_profile(target or spec.device.profile)
    tilings = _tilings(tuning, profile)
    room_bytes = _room_for_policy(spec, profile)  # first, since it says at once what a profile lacks
    task = build_task(spec)
    examples = task.examples() if spec.data is not None else None  # quick, so first
    tables, no_tables = _engine_tokenizer(task)
    chat, no_chat = (None, None) if task.tokenizer is None else chat_for_bundle(task.tokenizer)

    def fill(folder: Path, emission: Emission) -> None:
        _fill_from_task(folder, emission.plan, task, examples, spec, tables, chat)
        _add_policy(folder, spec, profile, room_bytes)

    compiled = compile_step(
        train_steps(task, spec),
        profile,
        read=task.source.read,
        mutable={},
        out=out,
        options=replace(
            compile_options(spec, memory_bytes, dump_problem),
            cache=cache,
            tuning=tilings,
            policy_bytes=room_bytes,
        ),
        description={
            "spec": _spec_text(spec),
            "model": dict(task.description),
            **({"engine_tokenizer": no_tables} if no_tables else {}),
            **({"chat_template": no_chat} if no_chat else {}),
        },
        fill=fill,
        on_stage=on_stage,
    )
    return _result(compiled)


def _tilings(tuning: Path | Tuning | None, profile: Profile) -> Tuning:
    from daypack.compiler.kernels.tuning import Tuning, read_table

    if isinstance(tuning, Path):
        return read_table(tuning, f"{profile.name}: {profile.title}")
    return tuning or Tuning()


def dump_problem(
    spec: TrainSpec,
    file: Path,
    *,
    target: str | None = None,
    memory_bytes: int | None = None,
    on_stage: OnStage | None = None,
) -> int:
    """Write the planning problem of a spec's step (daypack-problem/1) and nothing else; its number of nodes.

    Shapes are enough for it: no weight is read or made, no kernel compiled, no plan sought. A window that the
    spec leaves open is one micro-step. Raises SpecError as `compile_spec` does.
    """
    from daypack.compiler.pipeline import problem_of_step
    from daypack.devices import load_profile
    from daypack.models.task import build_task
    from daypack.planners.exchange import named, problem_text

    step = train_steps(build_task(spec), spec)[0]
    profile = load_profile(target or spec.device.profile)
    problem = problem_of_step(step, profile, compile_options(spec, memory_bytes), on_stage)
    file.write_text(problem_text(named(problem)))
    return len(problem.nodes)


FULL_SAVE_STEPS = 50
"""Without adapters whole parameters and moments are rewritten: saving every step would wear the flash for
nothing.
"""


def compile_options(
    spec: TrainSpec, memory_bytes: int | None = None, dump_problem: Path | None = None
) -> Options:
    """The spec's budgets as the compiler takes them."""
    from daypack.compiler.planning import Options
    from daypack.planners.cost import Objective
    from daypack.planners.limits import Limits

    budget, train = spec.budget, spec.train
    usual = 1 if train.method == "lora" else FULL_SAVE_STEPS
    a_run = None if budget.run_written_bytes is None else budget.run_written_bytes // train.max_steps
    written = [limit for limit in (budget.step_written_bytes, a_run) if limit is not None]
    return Options(
        memory_bytes=budget.memory_bytes if memory_bytes is None else memory_bytes,
        smaller_bytes=budget.smaller_bytes if memory_bytes is None else (),
        orders=None if budget.orders == "auto" else _orders(budget.orders),
        objective=Objective(budget.objective),
        limits=Limits(budget.step_seconds, budget.step_joules, min(written, default=None)),
        save_steps=train.save_steps or usual,
        latest_save=train.save_steps or max(usual, train.max_steps),
        dump_problem=dump_problem,
    )


def _orders(wanted: Literal["all"] | Sequence[str]) -> tuple[Order, ...]:
    """Orders by their labels, each once."""
    from daypack.runtime.plan_file import Order

    labels = [order.label for order in Order]
    for label in [] if wanted == "all" else wanted:
        if label not in labels:
            raise SpecError(f"orders: expected some of {', '.join(labels)}, found {label!r}")
    return tuple(order for order in Order if wanted == "all" or order.label in wanted)


def train_steps(task: Task, spec: TrainSpec) -> list[TrainStep]:
    """A task as the compiler takes it: one step for each window length that the spec leaves open."""
    from daypack.compiler.accumulation import windows_of

    windows = [spec.train.window] if spec.train.window else windows_of(spec.train.batch)
    return [_train_step(task, spec, window) for window in windows]


def _train_step(task: Task, spec: TrainSpec, window: int) -> TrainStep:
    from daypack.compiler.step import InputRange, TrainStep

    return TrainStep(
        loss=task.loss,
        optimizer=task.optimizer,
        trainable=task.trainable,
        frozen=task.frozen,
        mutable=task.mutable,
        batch=task.with_micro_batch(spec.train.batch // window).batch,
        window=window,
        seed=task.seed,
        ranges={name: InputRange(b.bound, b.ignore) for name, b in task.bounds.items()},
        score=task.score if spec.evaluation.enabled else None,
    )


def _spec_text(spec: TrainSpec) -> str:
    from daypack.spec import to_toml

    return to_toml(spec)


def _engine_tokenizer(task: Task) -> tuple[TokenizerTables | None, str | None]:
    """The tables of a tokenizer.json for the engine, or why the engine cannot have them."""
    from daypack.models.tokenizer import FileTokenizer
    from daypack.models.tokenizer_tables import tokenizer_tables

    if task.tokenizer is None:
        return None, None
    try:
        return tokenizer_tables(FileTokenizer(task.tokenizer)), None
    except SpecError as error:
        return None, error.message


def _fill_from_task(
    folder: Path,
    plan: PlanFile,
    task: Task,
    examples: Any,
    spec: TrainSpec,
    tables: TokenizerTables | None,
    chat: ChatFormat | None,
) -> None:
    """Add the data the spec declares, the tokenizer for the host and the engine, and the chat format."""
    from daypack.models.chat import CHAT_FILE
    from daypack.runtime import tokenizer_file

    if examples is not None:
        _write_examples(folder / "data.bin", plan, examples, spec)
    if task.tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(Path(task.tokenizer).read_bytes())
    if chat is not None:
        (folder / CHAT_FILE).write_text(chat.to_json(), "utf-8")
    if tables is not None:
        (folder / tokenizer_file.NAME).write_bytes(
            tokenizer_file.tokenizer_bytes(tables.scalars, tables.tables)
        )


def _limits(spec: TrainSpec) -> EnergyLimits:
    """The spec's limits as the scheduler takes them."""
    from daypack.runtime.limits import Limits

    energy = spec.energy
    if energy is None:
        return Limits()
    return Limits(
        reserve=energy.reserve,
        skin_celsius=energy.skin_celsius,
        joules_per_day=energy.joules_per_day or math.inf,
        written_bytes=math.inf if energy.written_bytes is None else energy.written_bytes,
        only_charging=energy.only_charging,
        only_screen_off=energy.only_screen_off,
        quiet_hours=energy.quiet_hours,
    )


def _room_for_policy(spec: TrainSpec, profile: Profile) -> int:
    from daypack.runtime.shipping import room_for_policy

    return 0 if spec.energy is None else room_for_policy(profile, spec.energy.policy, _limits(spec))


def _add_policy(folder: Path, spec: TrainSpec, profile: Profile, room_bytes: int) -> None:
    """Tabulate the spec's policy for the plan that was just written."""
    from daypack.runtime.shipping import make_policy, ship_policy
    from daypack.runtime.workload import workload_of

    energy = spec.energy
    if energy is None:
        return
    workload = workload_of(json.loads((folder / "bundle.json").read_bytes()), "bundle.json")
    deadline_s = math.inf if energy.deadline_hours is None else 3600.0 * energy.deadline_hours
    steps = spec.train.max_steps
    policy = make_policy(profile, workload, energy.policy, _limits(spec), steps, deadline_s)
    ship_policy(policy, folder, room_bytes)


def _write_examples(path: Path, plan: PlanFile, examples: Any, spec: TrainSpec) -> None:
    from daypack.runtime.data_file import Arrangement, write_data

    write_data(path, plan.inputs, examples, Arrangement(spec.train.batch // plan.window, spec.shuffle_seed))


def _result(compiled: Any) -> CompileResult:
    predicted = Predicted(
        compiled.peak_bytes,
        compiled.step_seconds,
        compiled.step_joules,
        compiled.flash_read_bytes,
        compiled.flash_written_bytes,
    )
    return CompileResult(
        compiled.bundle,
        predicted,
        compiled.kernels,
        compiled.shards,
        compiled.compile_seconds,
        compiled.plans,
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
    direct: bool = False,
    profile: bool = False,
    public_key: Path | None = None,
    order: str | None = None,
    memory_bytes: int | None = None,
) -> Iterator[StepEvent]:
    """Run a bundle's engine and yield its steps.

    `data` is a text, JSONL, CSV or id file, read as the bundle's spec says, or a prepared `data.bin`. Without
    `steps` the run goes on to the spec's `max_steps`; a bundle compiled from Python runs once over its data.
    `direct` reads and writes flash past the system's cache, `profile` times every kernel. `order` and
    `memory_bytes` choose the plan to begin with, where the bundle has several.
    With `public_key`, a file that `daypack keygen` made, only a bundle that this key signed is run.

    Raises:
        BundleError, MissingTool, Stopped, SpecError: as the engine reports.
    """
    import tempfile

    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher
    from daypack.runtime.signature import read_public_key, require_signature

    signer = None if public_key is None else read_public_key(public_key)
    if signer is not None:
        require_signature(bundle, signer)
    if steps is None:
        steps = _steps_left(bundle, state, fresh)
        if steps == 0:
            return
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        prepared = _prepared_data(bundle, data, Path(folder)) if data is not None else None
        arguments = EngineArguments(
            state=state,
            data=prepared,
            steps=steps,
            threads=threads,
            fresh=fresh,
            direct=direct,
            profile=profile,
            signer=signer,
            order=order,
            memory_bytes=memory_bytes,
        )
        yield from _steps(launcher(via).run(bundle, arguments), profile=profile)


def _steps(events: Iterable[Mapping[str, Any]], *, profile: bool) -> Iterator[StepEvent]:
    """The engine's steps; with a profile, each once its profile has come."""
    step: StepEvent | None = None
    for event in events:
        if event.get("event") == "step":
            step = step_event(event)
            if not profile:
                yield step
        elif event.get("event") == "profile" and step is not None:
            yield replace(step, profile={key: value for key, value in event.items() if key != "event"})


def _steps_left(bundle: Path, state: Path | None, fresh: bool) -> int | None:
    """Steps from the saved state to the spec's `max_steps`; None for a bundle without a spec."""
    from daypack.runtime.bundle import read_bundle
    from daypack.runtime.engine_process import EngineArguments
    from daypack.spec import parse_spec

    text = read_bundle(bundle).description.get("spec")
    if not isinstance(text, str):
        return None
    wanted = parse_spec(text, base=bundle, where=f"{bundle}/bundle.json").train.max_steps
    saved = EngineArguments(state=state).state_directory(bundle) / "state.safetensors"
    return wanted if fresh else max(0, wanted - _steps_done(saved))


def step_event(event: Mapping[str, Any]) -> StepEvent:
    """The engine's step event as data."""
    return StepEvent(
        int(event["step"]),
        float("nan") if event["loss"] is None else float(event["loss"]),
        float(event["seconds"]),
        int(event["tokens"]),
        int(event["peak_rss_bytes"]),
        str(event["source"]),
        float(event["save_seconds"]),
        int(event["read_bytes"]),
        int(event["written_bytes"]),
        int(event.get("weights_read_bytes", 0)),
    )


def _prepared_data(bundle: Path, data: Path, folder: Path) -> Path:
    """A file of the user's as records of this bundle; a prepared file is taken as it is."""
    from daypack.models.data import load_examples
    from daypack.models.task import corpus
    from daypack.runtime.bundle import read_bundle
    from daypack.spec import parse_spec

    if _is_prepared(data):
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
    _write_examples(path, found.plan, load_examples(source, ids.bound, spec.train.sequence), spec)
    return path


def _is_prepared(data: Path) -> bool:
    if not data.is_file():
        return False
    with data.open("rb") as file:
        return file.read(8) == b"DPDATA1\0"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a bundle's model makes of a file, from its state after `step` updates.

    `loss`: mean of -log p over `labels` tokens, and `perplexity` its exponential (infinite where that
    overflows); of questions, over the tokens of the right options. `accuracy`: the share of `questions` whose
    right option has the highest sum of log-likelihoods over its tokens, `accuracy_by_length` the highest
    mean; both None for a file without options, as is `options`, which says what of an option was asked for.
    `cut` counts options whose question was too long. `source` is `measured`, or `emulated` under an emulator.
    """

    data: Path
    kind: str
    step: int
    labels: int
    loss: float
    perplexity: float
    options: str | None
    questions: int | None
    accuracy: float | None
    accuracy_by_length: float | None
    cut: int
    seconds: float
    peak_rss_bytes: int
    source: str


def evaluate_bundle(
    bundle: Path,
    *,
    data: Path,
    kind: str | None = None,
    options: str | None = None,
    state: Path | None = None,
    before: bool = False,
    via: str = "local",
    threads: int | None = None,
    public_key: Path | None = None,
) -> Evaluated:
    """Evaluate a file with a bundle's engine; nothing is written to the bundle or its state.

    `data` is of any kind that training takes; `kind` says which, else its suffix (.csv, .jsonl, .npy,
    .txt), else the bundle's spec. The state is that in `state`, else the latest beside the bundle, else or
    with `before` the one before training. `options` says what of a question's option is asked for: "letters"
    or "texts". `public_key` as in `run_bundle`.

    Raises:
        SpecError: the bundle carries no evaluation (the message says why), the file cannot be used or has no
            label.
        BundleError: there is no state in `state`, or it is another's.
        MissingTool, Stopped: as the engine reports.
    """
    import tempfile

    from daypack.models.evaluation import Options
    from daypack.runtime.bundle import read_bundle
    from daypack.runtime.data_file import write_data
    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher
    from daypack.runtime.signature import read_public_key, require_signature
    from daypack.runtime.state_file import NAME

    signer = None if public_key is None else read_public_key(public_key)
    if signer is not None:
        require_signature(bundle, signer)
    found = read_bundle(bundle)
    spec = _spec_of(bundle, found.description)
    if spec is None or found.evaluation is None:
        raise SpecError(f"{bundle}: it carries no evaluation: {_no_evaluation(spec, found.description)}")
    if state is not None and before:
        raise SpecError("--before: conflicts with --state; it is the state of no directory")
    if state is not None and not (state / NAME).exists():
        raise BundleError(f"{state / NAME}: expected a saved state, found none; run with this --state")
    read_as = _kind_to_evaluate(data, kind, spec)
    learnt = spec.data.kind if spec.data is not None else "text"
    asked = Options(options or ("letters" if learnt == "csv" else "texts"))
    rows = _rows_to_evaluate(bundle, data, read_as, asked, spec, found.evaluation)
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        prepared = Path(folder) / "data.bin"
        write_data(prepared, found.evaluation.inputs, rows.batches(found.evaluation.rows))
        arguments = EngineArguments(
            state=state,
            data=prepared,
            threads=threads,
            fresh=before,
            signer=signer,
            evaluate=True,
            choices=rows.choices,
        )
        events = list(launcher(via).run(bundle, arguments))
    end = events[-1]
    questions = end.get("questions")
    loss = -float(end["log_likelihood"]) / int(end["labels"])
    return Evaluated(
        data=data,
        kind=read_as,
        step=int(end["step"]),
        labels=int(end["labels"]),
        loss=loss,
        perplexity=math.inf if end["perplexity"] is None else float(end["perplexity"]),
        options=None if questions is None else asked.value,
        questions=questions,
        accuracy=None if questions is None else end["right"] / questions,
        accuracy_by_length=None if questions is None else end["right_by_length"] / questions,
        cut=rows.cut,
        seconds=float(end["seconds"]),
        peak_rss_bytes=int(end["peak_rss_bytes"]),
        source=str(end["source"]),
    )


def _spec_of(bundle: Path, description: Mapping[str, Any]) -> TrainSpec | None:
    from daypack.spec import parse_spec

    text = description.get("spec")
    return parse_spec(text, base=bundle, where=f"{bundle}/bundle.json") if isinstance(text, str) else None


def _no_evaluation(spec: TrainSpec | None, description: Mapping[str, Any]) -> str:
    """Why a bundle has none."""
    if spec is None:
        return "it was compiled from Python, and its loss says nothing of single rows"
    if not spec.evaluation.enabled:
        return "its spec says evaluation.enabled = false; compile it without that"
    told = description.get("evaluation")
    reason = cast("dict[str, Any]", told).get("none") if isinstance(told, dict) else None
    return str(reason or "compile it again")


def _kind_to_evaluate(data: Path, kind: str | None, spec: TrainSpec) -> str:
    from daypack.models.documents import Kind, kind_of

    if kind is not None:
        return kind
    by_suffix = kind_of(data)
    if by_suffix is not Kind.TEXT or data.suffix == ".txt" or spec.data is None:
        return by_suffix.value
    return spec.data.kind


def _rows_to_evaluate(
    bundle: Path, data: Path, kind: str, options: Any, spec: TrainSpec, plan: PlanFile
) -> Rows:
    from daypack.models.document import Encoder
    from daypack.models.documents import Kind, read_documents
    from daypack.models.evaluation import document_rows, question_rows
    from daypack.models.tokenizer import load_tokenizer

    own = bundle / "tokenizer.json"
    named = own if own.exists() else spec.tokenizer
    tokenizer = None if named is None else load_tokenizer(named)
    vocabulary = next(entry.bound for entry in plan.inputs if entry.name == "ids")
    documents = (
        [] if kind == "csv" and data.is_file() else read_documents(data, Kind(kind), tokenizer, vocabulary)
    )
    if documents:
        return document_rows(documents, spec.train.sequence, str(data))
    return question_rows(data, Encoder(tokenizer, vocabulary), spec.train.sequence, options)


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


@dataclass(frozen=True, slots=True)
class Exported:
    """A directory that holds what was trained in `step` updates; `parameters` counts the numbers in it."""

    directory: Path
    step: int
    parameters: int


def export_adapter(bundle: Path, *, out: Path, state: Path | None = None) -> Exported:
    """Write the trained LoRA adapters of a bundle as a PEFT directory.

    They are those of the latest saved state: in `state`, else beside the bundle, else the initial ones.

    Raises:
        SpecError: `out` holds files, or the bundle trains no adapters.
        BundleError: the bundle or its state cannot be read.
    """
    from daypack.models.adapters import write_adapter
    from daypack.models.lora import LoraConfig
    from daypack.models.registry import by_name

    trained = _trained(bundle, state)
    model = trained.model
    if model["adapter"] is None:
        raise SpecError(
            f'{bundle}: method = "{model["method"]}" trains the model itself, not adapters; '
            "`daypack merge` writes it"
        )
    lora = LoraConfig(**model["adapter"] | {"targets": tuple(model["adapter"]["targets"])})
    family = by_name(model["family"], f"{bundle}/bundle.json")
    write_adapter(out, lora, trained.source, fan_in_fan_out=family.fan_in_fan_out, base=model["checkpoint"])
    return _exported(out, trained.step, trained.source)


def merge_bundle(bundle: Path, *, out: Path, state: Path | None = None) -> Exported:
    """Write the trained model of a bundle as a Hugging Face directory, float32.

    The weights that the spec names, with scale · B · A added where there are adapters, or as trained; one
    tensor in memory at a time. Raises as `export_adapter` does, and SpecError where the checkpoint of the
    spec is gone.
    """
    from daypack.models.merge import MergedSource
    from daypack.models.task import base_model
    from daypack.models.write_checkpoint import write_checkpoint
    from daypack.spec import parse_spec

    trained = _trained(bundle, state)
    spec = parse_spec(trained.spec, base=bundle, where=f"{bundle}/bundle.json")
    base = base_model(spec)
    adapter = trained.model["adapter"]
    scale = adapter["alpha"] / adapter["rank"] if adapter else 0.0
    merged = MergedSource(base.parameters, base.source, trained.source, scale)
    config = {key: value for key, value in base.config.items() if key not in ("dtype", "torch_dtype")}
    beside = [] if spec.model.checkpoint is None else _companions(spec.model.checkpoint)
    write_checkpoint(out, {**config, "torch_dtype": "float32"}, merged, beside=beside)
    return _exported(out, trained.step, merged)


def _companions(checkpoint: Path) -> list[Path]:
    """What a Hugging Face directory has beside config and weights for a model to be used: its tokenizer."""
    names = (
        "chat_template.jinja",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    )
    return [checkpoint / name for name in names if (checkpoint / name).is_file()]


@dataclass(frozen=True)
class _Trained:
    """The latest saved state of a bundle made from a spec: its trained arrays, and what they are."""

    model: Mapping[str, Any]
    spec: str
    source: TensorSource
    step: int


def _trained(bundle: Path, state: Path | None) -> _Trained:
    from daypack.models.checkpoint import Checkpoint, tensors_of
    from daypack.runtime.bundle import read_bundle
    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.state_file import NAME, check_blocks, check_state, state_layout

    found = read_bundle(bundle)
    model, spec = found.description.get("model"), found.description.get("spec")
    if not isinstance(model, dict) or not isinstance(spec, str):
        raise SpecError(
            f"{bundle}: this bundle was compiled from Python; daypack.run(...).params are its trained arrays"
        )
    saved = EngineArguments(state=state).state_directory(bundle) / NAME
    if not saved.exists():
        if state is not None:
            raise BundleError(
                f"{saved}: expected a saved state, found none; run the bundle with this --state"
            )
        saved = bundle / NAME
    check_state(saved, found.plan.state, found.plan.state_id)
    check_blocks(saved, state_layout(found.plan.state, found.plan.state_id))
    names = tensors_of(saved)
    arrays = {name: names[name] for name in names if not name.startswith(_NOT_PARAMETERS)}
    return _Trained(cast("dict[str, Any]", model), spec, Checkpoint(arrays), _steps_done(saved))


def _exported(directory: Path, step: int, source: TensorSource) -> Exported:
    sizes = (math.prod(source.spec(name)[0]) for name in source.names())
    return Exported(directory, step, sum(sizes))


def compile(
    model: Any,
    loss: Callable[..., Any],
    optimizer: Any,
    batch: Mapping[str, Any],
    *,
    out: str | Path,
    device: str = "host",
    memory: int | str | Sequence[int | str] | None = None,
    window: int = 1,
    seed: int = 0,
    save_steps: int = 50,
    orders: Literal["auto", "all"] | Sequence[str] = "auto",
) -> CompileResult:
    """Compile a user's own training step; docs/your-own-model.md says what model, loss and batch may be.

    `device` names a profile, `memory` is a budget such as "40MB" or a number of bytes, or several, `window`
    the number of micro-batches that `batch` is cut into. The state is saved every `save_steps` updates and
    after each run. `orders`: which plans the bundle has, as `[budget] orders` of a spec.

    Raises:
        SpecError, TraceError: model, loss, optimizer or batch cannot be used.
        BudgetInfeasible: no plan fits the memory.
    """
    from daypack.compiler.pipeline import compile_step
    from daypack.compiler.planning import Options
    from daypack.devices import load_profile
    from daypack.spec import parse_size
    from daypack.user_step import user_step

    several = [memory] if isinstance(memory, int | str) else memory or []
    sizes = sorted({parse_size(m) if isinstance(m, str) else m for m in several}, reverse=True)
    if save_steps < 1:
        raise SpecError(f"save_steps: expected a whole number of at least 1, found {save_steps}")
    made = user_step(model, loss, optimizer, batch, window=window, seed=seed)
    compiled = compile_step(
        made.step,
        load_profile(device),
        read=made.arrays.__getitem__,
        mutable=made.mutable,
        out=Path(out),
        options=Options(
            memory_bytes=sizes[0] if sizes else None,
            smaller_bytes=tuple(sizes[1:]),
            save_steps=save_steps,
            orders=None if orders == "auto" else _orders(orders),
        ),
        description={"names": json.dumps(sorted(made.arrays))},
    )
    return _result(compiled)


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves: its steps, and every array of the saved state by name.

    In `state`, a parameter has its own path, what the loss changes stands under `mutable/`, the optimizer's
    state under `opt/`, and `clock/step` counts the updates.
    """

    steps: tuple[StepEvent, ...]
    state: Mapping[str, Any]

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    @property
    def params(self) -> dict[str, Any]:
        """The trained arrays alone, by path."""
        return {name: array for name, array in self.state.items() if not name.startswith(_NOT_PARAMETERS)}

    def update(self, model: Any) -> Any:
        """The model that was compiled, trained: an NNX module is changed in place and returned, any other
        (Linen variables, a pytree of arrays) is returned as a new one.

        Raises:
            SpecError: it is another model.
        """
        from daypack.user_step import updated

        return updated(model, self.state)


def run(
    bundle: CompileResult | str | Path,
    batches: Iterable[Mapping[str, Any]],
    *,
    steps: int | None = None,
    threads: int | None = None,
    state: str | Path | None = None,
    fresh: bool = False,
    via: str = "local",
    direct: bool = False,
    profile: bool = False,
) -> TrainResult:
    """Train a bundle on whole batches (dicts of arrays as given to `compile`); one step a batch unless
    `steps` says.

    A batch is cut into the window's micro-batches along its first dimension. Training goes on from the state
    that the last run saved beside the bundle (or in the directory `state`); `fresh` starts over. `direct` and
    `profile` are for measurements, as in `run_bundle`.

    Raises:
        SpecError: no batch, or one that is not like the one given to `compile`.
        BundleError, MissingTool, Stopped: as the engine reports.
    """
    import tempfile

    from safetensors.numpy import load_file

    from daypack.runtime.bundle import read_bundle_plan
    from daypack.runtime.data_file import write_data

    path = bundle.bundle if isinstance(bundle, CompileResult) else Path(bundle)
    plan = read_bundle_plan(path)
    place = Path(state) if state is not None else path.with_name(path.name + ".state")
    saved = place / "state.safetensors"
    done = 0 if fresh else _steps_done(saved)
    given = list(batches)
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        data = Path(folder) / "data.bin"
        write_data(data, plan.inputs, _records(given, plan.window, done))
        wanted = steps if steps is not None else len(given)
        events = tuple(
            run_bundle(
                path,
                data=data,
                steps=wanted,
                via=via,
                threads=threads,
                state=place,
                fresh=fresh,
                direct=direct,
                profile=profile,
            )
        )
    if not saved.exists():
        raise BundleError(f"{saved}: the run saved no state")
    return TrainResult(events, load_file(saved))


def _steps_done(saved: Path) -> int:
    """The clock of a saved state; 0 where there is none, or none that can be read (the engine says why)."""
    from safetensors import SafetensorError, safe_open

    if not saved.exists():
        return 0
    try:
        with safe_open(saved, "np") as file:
            return int(file.get_tensor("clock/step"))
    except SafetensorError:
        return 0


def _records(batches: Sequence[Any], window: int, done: int) -> Iterator[dict[str, Any]]:
    """The micro-batches in the order of the file, where step s reads batch s modulo their number.

    The first batch is for the first step of this run, which has `done` steps behind it.
    """
    from daypack.user_step import batch_arrays, micro_batches

    for place in range(len(batches)):
        number = (place - done) % len(batches)
        where = f"batch {number}"
        yield from micro_batches(batch_arrays(batches[number], where), window, where)
