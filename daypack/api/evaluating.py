"""What a model makes of a file, before and after training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from daypack.api.saved import spec_of
from daypack.errors import BundleError, SpecError

if TYPE_CHECKING:
    from daypack.models.evaluation import Rows
    from daypack.runtime.plan_file import PlanFile
    from daypack.spec import TrainSpec


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

    `data` is a file of this machine, of any kind that training takes; `kind` says which, else its suffix
    (.csv, .jsonl, .ndjson, .npy, .txt), else the bundle's spec, else it is text. The state is that in
    `state`, else the latest beside the bundle, else or with `before` the one before training. `options` says
    what of a question's option is asked for: "letters" or "texts"; else letters where CSV was learnt, or
    where the spec does not say what is. `public_key` as in `run_bundle`.

    Raises:
        SpecError: the bundle carries no evaluation (the message says why), the file cannot be used or has no
            label.
        BundleError: there is no state in `state`, or it is another's.
        MissingTool, Stopped: as the engine reports.
    """
    import tempfile

    from daypack.api.given_data import ON_DEVICE
    from daypack.models.evaluation import Options
    from daypack.models.task import learnt_kind
    from daypack.runtime.bundle import read_bundle
    from daypack.runtime.data_file import write_data
    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher
    from daypack.runtime.signature import required_signer
    from daypack.runtime.state_file import NAME

    if str(data).startswith(ON_DEVICE):
        raise SpecError(
            f"--data: {data} is a file of a phone; evaluation takes files of this machine: copy it here"
        )
    signer = required_signer(bundle, public_key)
    found = read_bundle(bundle)
    spec = spec_of(bundle, found.description)
    if spec is None or found.evaluation is None:
        raise SpecError(f"{bundle}: it carries no evaluation: {_no_evaluation(spec, found.description)}")
    if state is not None and before:
        raise SpecError("--before: conflicts with --state; it is the state of no directory")
    if state is not None and not (state / NAME).exists():
        raise BundleError(f"{state / NAME}: expected a saved state, found none; run with this --state")
    read_as = _kind_to_evaluate(data, kind, spec)
    learnt = learnt_kind(spec)
    asked = Options(options or ("letters" if (learnt.value if learnt else read_as) == "csv" else "texts"))
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
    if by_suffix is not Kind.TEXT or data.suffix.lower() == ".txt" or spec.data is None:
        return by_suffix.value
    return spec.data.kind or by_suffix.value


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
