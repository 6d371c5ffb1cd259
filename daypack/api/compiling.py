# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A spec becomes a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from daypack.api.energy import add_policy, policy_room
from daypack.errors import SpecError

if TYPE_CHECKING:
    from daypack.compiler.emit import Emission
    from daypack.compiler.kernels.tuning import Tuning
    from daypack.compiler.planning import Options
    from daypack.compiler.step import TrainStep
    from daypack.devices import Profile
    from daypack.models.chat import ChatFormat
    from daypack.models.task import Task
    from daypack.models.tokenizer_tables import TokenizerTables
    from daypack.runtime.plan_file import Order, PlanFile
    from daypack.spec import TrainSpec

OnStage = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the compiler expects of one step; every figure is modelled, as `source` says."""

    peak_bytes: int
    step_seconds: float
    step_joules: float | None
    flash_read_bytes: int
    flash_written_bytes: int
    source: str = "modelled"


@dataclass(frozen=True, slots=True)
class CompileResult:
    """A finished bundle. `plans`: the figures of each plan in it, as bundle.json has them; a run begins with
    the first, whose figures the others are. `refused`: by name, `engine_tokenizer` or `chat_template`, why
    the engine does not have what stands beside the spec's tokenizer; bundle.json says it too.
    """

    bundle: Path
    predicted: Predicted
    kernels: int
    shards: int
    compile_seconds: float
    plans: tuple[Mapping[str, Any], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


def compile_spec(
    spec: TrainSpec,
    *,
    out: Path,
    target: str | None = None,
    memory_bytes: int | None = None,
    dump_problem: Path | None = None,
    cache: bool = True,
    tuning: Path | Tuning | None = None,
    emulate: bool = False,
    on_stage: OnStage | None = None,
) -> CompileResult:
    """Compile a spec; `target` (a device name or profile path) and `memory_bytes` replace the spec's.

    `dump_problem` names a file for the planning problem of the step (daypack-problem/1). Without `cache`
    every kernel is compiled anew and none is kept. `tuning`: a table of `daypack tune`. `emulate`: a device
    without float16 arithmetic computes what is to be in float16 from float32, slowly, to the same bits.

    Raises:
        SpecError: the spec's model, data or values cannot be used.
        BudgetInfeasible: no plan fits the memory.
    """
    from daypack.compiler.pipeline import compile_step
    from daypack.devices import load_profile
    from daypack.models.chat import chat_for_bundle
    from daypack.models.task import build_task
    from daypack.spec import to_toml

    profile = load_profile(target or spec.device.profile)
    tilings = _tilings(tuning, profile)
    if not emulate:
        _require_arithmetic(spec, profile)
    room_bytes = policy_room(spec, profile)  # first, since it says at once what a profile lacks
    task = build_task(spec)
    examples = task.examples() if spec.declares_data else None  # quick, so first
    if spec.data is not None and isinstance(spec.data.tokenizer, Path) and not spec.data.tokenizer.is_file():
        raise SpecError(f"data.tokenizer: {spec.data.tokenizer}: no such file")
    tables, no_tables = _engine_tokenizer(task)
    chat, no_chat = (None, None) if task.tokenizer is None else chat_for_bundle(task.tokenizer)
    reasons = {"engine_tokenizer": no_tables, "chat_template": no_chat}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}

    def fill(folder: Path, emission: Emission) -> None:
        _fill_from_task(folder, emission.plan, task, examples, spec, tables, chat)
        add_policy(folder, spec, profile, room_bytes)

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
            "spec": to_toml(spec),
            "model": dict(task.description),
            **refused,
        },
        fill=fill,
        on_stage=on_stage,
    )
    return replace(compile_result(compiled), refused=refused)


def _require_arithmetic(spec: TrainSpec, profile: Profile) -> None:
    if spec.train.arithmetic == "float16" and not profile.half_arithmetic:
        raise SpecError(
            f'train.arithmetic: got "float16", which {profile.name} cannot compute in: it takes a device of '
            "arm64 cores that all have fullfp16; take another device or remove the key"
        )


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

    profile = load_profile(target or spec.device.profile)
    _require_arithmetic(spec, profile)
    step = train_steps(build_task(spec), spec)[0]
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
        orders=None if budget.orders == "auto" else named_orders(budget.orders),
        objective=Objective(budget.objective),
        limits=Limits(budget.step_seconds, budget.step_joules, min(written, default=None)),
        save_steps=train.save_steps or usual,
        latest_save=train.save_steps or max(usual, train.max_steps),
        dump_problem=dump_problem,
    )


def named_orders(wanted: Literal["all"] | Sequence[str]) -> tuple[Order, ...]:
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
        half=spec.train.arithmetic == "float16",
    )


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
    """Add the data the spec declares, and for raw data the tokenizer and the chat format, for the host and
    the engine.
    """
    from daypack.models.chat import CHAT_FILE
    from daypack.runtime import corpus_file, tokenizer_file

    if examples is not None:
        write_examples(folder / "data.bin", plan, examples, spec)
    if task.tokenizer is not None and task.tokenizer.is_file():
        (folder / "tokenizer.json").write_bytes(Path(task.tokenizer).read_bytes())
    if chat is not None:
        (folder / CHAT_FILE).write_text(chat.to_json(), "utf-8")
    if tables is not None:
        (folder / tokenizer_file.NAME).write_bytes(
            tokenizer_file.tokenizer_bytes(tables.scalars, tables.tables)
        )
    (folder / corpus_file.NAME).write_bytes(_corpus_bytes(spec, chat))


def _corpus_bytes(spec: TrainSpec, chat: ChatFormat | None) -> bytes:
    """How the engine makes examples of a raw file of this spec."""
    from daypack.runtime import corpus_file

    tokenizers: dict[object, int] = {None: corpus_file.NO_TOKENIZER, "bytes": corpus_file.BYTES}
    return corpus_file.corpus_bytes(
        kind="" if spec.data is None else spec.data.kind or "",
        tokenizer=tokenizers.get(spec.tokenizer, corpus_file.TABLES),
        packing=spec.data is not None and spec.data.packing,
        seed=spec.shuffle_seed,
        sequence=spec.train.sequence,
        texts=None if chat is None else {name: getattr(chat, name) for name in corpus_file.TEXTS},
        trimmed=() if chat is None else chat.trimmed,
    )


def write_examples(path: Path, plan: PlanFile, examples: Any, spec: TrainSpec) -> None:
    """Write a data file: the examples as the plan's micro-batches, shuffled as the spec says."""
    from daypack.runtime.data_file import Arrangement, write_data

    write_data(path, plan.inputs, examples, Arrangement(spec.train.batch // plan.window, spec.shuffle_seed))


def compile_result(compiled: Any) -> CompileResult:
    """What the compiler says of a bundle, as callers of this package see it."""
    predicted = Predicted(
        compiled.peak_bytes,
        compiled.step_seconds,
        compiled.step_joules,
        compiled.flash_read_bytes,
        compiled.flash_written_bytes,
        compiled.source,
    )
    return CompileResult(
        compiled.bundle,
        predicted,
        compiled.kernels,
        compiled.shards,
        compiled.compile_seconds,
        compiled.plans,
    )
