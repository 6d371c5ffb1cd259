# pyright: reportMissingTypeStubs=false

"""A spec as a training task: the step's loss, what it trains, where values and data come from.

The only file of this package that knows `TrainSpec`; everything it calls takes plain arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from daypack.errors import SpecError
from daypack.models.adapters import SavedAdapter, continued, open_adapter, read_adapter
from daypack.models.checkpoint import open_checkpoint, read_config
from daypack.models.config_fields import ConfigReader
from daypack.models.data import Corpus, Examples, load_examples
from daypack.models.document import NO_LABEL
from daypack.models.documents import Kind, kind_of
from daypack.models.family import Family, ModelConfig
from daypack.models.frozen import EncodedSource, Encoding, FrozenForm, encodings
from daypack.models.lora import TARGETS_KEY, LoraConfig, adapt, divide
from daypack.models.loss import Score, StepLoss, language_model_loss, language_model_score
from daypack.models.optimizers import Decay, Method, OptimizerConfig, build_optimizer
from daypack.models.parameters import ParameterSpec
from daypack.models.partial import norm_paths, select
from daypack.models.registry import by_model_type, by_name
from daypack.models.sources import JoinedSource, RandomSource, TensorSource
from daypack.models.structure import Structure, is_adapter, structure_of
from daypack.spec import DataSection, ModelSection, TrainSection, TrainSpec

Shapes = Mapping[str, jax.ShapeDtypeStruct]


@dataclass(frozen=True, slots=True)
class InputBound:
    """Values of a batch input: in [0, `bound`), or equal to `ignore`."""

    bound: int
    ignore: int | None


@dataclass(frozen=True)
class Task:
    """One training task.

    `loss(trainable, frozen, mutable, batch, clock)` is the step contract; it takes any micro-batch and
    clock["seed"] is `seed`. `score` is what the model makes of each row of a batch. `source` has the initial
    value of every name in `trainable` and `frozen`. `batch` gives the shapes of one micro-batch and `bounds`
    the values it may hold. `tokenizer` is the path of a tokenizer.json, or None (bytes, or data of ids).
    `examples()` reads the data that the spec declares.
    `description` is for people and bundle.json.
    """

    loss: StepLoss
    score: Score
    trainable: Shapes
    frozen: Shapes
    mutable: Shapes
    source: TensorSource
    optimizer: optax.GradientTransformation
    batch: Shapes
    bounds: Mapping[str, InputBound]
    vocabulary: int
    seed: int
    tokenizer: Path | None
    examples: Callable[[], Examples]
    description: Mapping[str, Any]

    def with_micro_batch(self, micro_batch: int) -> Task:
        """The same task with other micro-batch shapes."""
        shapes = {
            name: jax.ShapeDtypeStruct((micro_batch, *shape.shape[1:]), shape.dtype)
            for name, shape in self.batch.items()
        }
        return replace(self, batch=shapes)


def build_task(spec: TrainSpec) -> Task:
    """The task of a spec; opens and checks the checkpoint's headers, reads no tensor and no data.

    The micro-batch is the spec's, or else the whole batch.

    Raises:
        SpecError: an unknown family, a config or checkpoint that cannot be used, an unmatched target, a
        sequence
            longer than the model's.
    """
    family, config = _model(spec.model, spec.train)
    saved = None if spec.train.adapter is None else read_adapter(spec.train.adapter)
    lora = _lora(spec.train, family, saved)
    structure = _structure(family, config, lora, saved)
    trainable, frozen = _divided(spec.train, family, config, structure)
    train = spec.train
    source = _source(spec, family, structure)
    stored = _stored(train, frozen, source)
    encoded = EncodedSource(source, stored)
    micro_batch = train.batch // (train.window or 1)
    bounds = {
        "ids": InputBound(config.vocab_size, None),
        "labels": InputBound(config.vocab_size, NO_LABEL),
    }
    if spec.data is not None and spec.data.packing:
        bounds["segments"] = InputBound(train.sequence, None)
    return Task(
        loss=language_model_loss(structure, stored),
        score=language_model_score(structure, stored),
        trainable=_shapes(trainable),
        frozen=_stored_shapes(encoded, trainable),
        mutable={},
        source=encoded,
        optimizer=build_optimizer(_optimizer(train)),
        batch=dict.fromkeys(bounds, jax.ShapeDtypeStruct((micro_batch, train.sequence), jnp.dtype("int32"))),
        bounds=bounds,
        vocabulary=config.vocab_size,
        seed=train.seed,
        tokenizer=None if spec.tokenizer == "bytes" else spec.tokenizer,
        examples=lambda: load_examples(corpus(spec), config.vocab_size, train.sequence),
        description=_description(spec, family, lora, trainable, frozen),
    )


@dataclass(frozen=True)
class BaseModel:
    """What a spec starts from: config.json, every parameter by published name, and their values."""

    config: Mapping[str, Any]
    parameters: Mapping[str, ParameterSpec]
    source: TensorSource


def base_model(spec: TrainSpec) -> BaseModel:
    """The model of a spec before training, without adapters; opens the checkpoint, reads no tensor.

    Raises SpecError as `build_task` does.
    """
    family, config = _model(spec.model, spec.train)
    parameters = structure_of(lambda: family.build(config)).parameters
    if spec.model.checkpoint is not None:
        published = dict(read_config(spec.model.checkpoint))
    else:
        published = {"model_type": family.model_type, **spec.model.config}
    return BaseModel(published, parameters, _base_source(spec.model, family, parameters))


def corpus(spec: TrainSpec, path: Path | None = None) -> Corpus:
    """The data that the spec declares, or another file, under the spec's kind and tokenizer; without a kind
    the file's suffix tells it.
    """
    data = spec.data if spec.data is not None else DataSection.model_validate({})
    if path is None and data.path is None and data.builtin is None:
        raise SpecError('the spec declares no data; set data.path or data.builtin = "pydoc", or name a file')
    file = path or data.path
    kind = Kind(data.kind) if data.kind else Kind.TEXT if file is None else kind_of(file)
    tokenizer = None if kind is Kind.IDS else spec.tokenizer
    return Corpus(file, kind, data.builtin or "", tokenizer, data.packing)


def learnt_kind(spec: TrainSpec) -> Kind | None:
    """The kind of what the spec learns from; None where it says neither a kind nor a source."""
    if spec.data is not None and spec.data.kind:
        return Kind(spec.data.kind)
    return corpus(spec).kind if spec.declares_data else None


def _model(model: ModelSection, train: TrainSection) -> tuple[Family, ModelConfig]:
    """The family and its config, with dropout and sequence settled."""
    if model.checkpoint is not None:
        published = read_config(model.checkpoint)
        where = str(model.checkpoint / "config.json")
        family = by_model_type(published.get("model_type"), where)
        config = family.parse_config(ConfigReader(published, where))
    else:
        family = by_name(model.family or "", "model")
        reader = ConfigReader(model.config, "model.config")
        config = family.parse_config(reader)
        reader.refuse_unknown()
    if train.sequence > config.max_sequence:
        raise SpecError(
            f"train.sequence is {train.sequence}; this model has positions for at most {config.max_sequence}"
        )
    return family, config if train.dropout is None else config.with_dropout(train.dropout)


def _structure(
    family: Family, config: ModelConfig, lora: LoraConfig | None, saved: SavedAdapter | None
) -> Structure:
    theirs = lora is not None and saved is not None and saved.targets is not None
    where = f"{saved.where}: target_modules" if saved and theirs else TARGETS_KEY
    return structure_of(lambda: adapt(family.build(config), lora, where) if lora else family.build(config))


def _lora(train: TrainSection, family: Family, saved: SavedAdapter | None) -> LoraConfig | None:
    if train.method != "lora":
        return None
    if saved is not None:
        return continued(
            saved, rank=train.rank, alpha=train.alpha, targets=train.targets, dropout=train.lora_dropout
        )
    default = LoraConfig(train.targets or family.default_targets)
    return replace(
        default,
        rank=train.rank or default.rank,
        alpha=train.alpha or default.alpha,
        dropout=train.lora_dropout or default.dropout,
    )


def _divided(
    train: TrainSection, family: Family, config: ModelConfig, structure: Structure
) -> tuple[dict[str, ParameterSpec], dict[str, ParameterSpec]]:
    """(trainable, frozen) under the spec's method."""
    if train.train_only is None:
        return divide(structure.parameters, lora=train.method == "lora")
    return select(structure.parameters, norm_paths(lambda: family.build(config)), train.train_only)


def _source(spec: TrainSpec, family: Family, structure: Structure) -> TensorSource:
    """The base model from its checkpoint or its seed, adapters from a directory or the training seed."""
    base = {name: spec for name, spec in structure.parameters.items() if not is_adapter(name)}
    adapters = {name: spec for name, spec in structure.parameters.items() if is_adapter(name)}
    model = _base_source(spec.model, family, base)
    if spec.train.adapter is not None:
        return JoinedSource([model, open_adapter(spec.train.adapter, adapters)])
    return JoinedSource([model, RandomSource(adapters, spec.train.seed)])


def _base_source(model: ModelSection, family: Family, base: Mapping[str, ParameterSpec]) -> TensorSource:
    if model.checkpoint is not None:
        return open_checkpoint(model.checkpoint, family, base)
    return RandomSource(base, model.seed)


def _stored(
    train: TrainSection, frozen: Mapping[str, ParameterSpec], source: TensorSource
) -> dict[str, Encoding]:
    """How the frozen matrices are stored."""
    form = FrozenForm(train.frozen_dtype or "float32", train.frozen_group or 0)
    return encodings(form, frozen, source)


def _stored_shapes(source: TensorSource, trainable: Mapping[str, ParameterSpec]) -> Shapes:
    """Every array that is not trained, as it is stored."""
    specs = {name: source.spec(name) for name in source.names() if name not in trainable}
    return {name: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for name, (shape, dtype) in specs.items()}


def _optimizer(train: TrainSection) -> OptimizerConfig:
    config = OptimizerConfig(
        method=Method(train.optimizer),
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        schedule=Decay(train.schedule),
        warmup_steps=train.warmup,
        max_steps=train.max_steps,
    )
    return replace(
        config,
        betas=train.betas or config.betas,
        eps=train.eps or config.eps,
        momentum=train.momentum or config.momentum,
    )


def _shapes(parameters: Mapping[str, ParameterSpec]) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(spec.shape, jnp.dtype(spec.dtype)) for name, spec in parameters.items()
    }


def _description(
    spec: TrainSpec,
    family: Family,
    lora: LoraConfig | None,
    trainable: Mapping[str, ParameterSpec],
    frozen: Mapping[str, ParameterSpec],
) -> dict[str, Any]:
    """Figures and names for people; every LoRA figure names its targets."""
    return {
        "family": family.name,
        "checkpoint": str(spec.model.checkpoint) if spec.model.checkpoint else None,
        "method": spec.train.method,
        "adapter": asdict(lora) if lora else None,
        "trainable_parameters": sum(math.prod(entry.shape) for entry in trainable.values()),
        "frozen_parameters": sum(math.prod(entry.shape) for entry in frozen.values()),
    }
