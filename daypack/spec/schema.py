"""What a spec declares. A field's `description` says what the key takes; errors and `docs/spec.md` use it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from daypack.devices import load_profile
from daypack.errors import SpecError
from daypack.spec import size

BASE = "base"  #: key of the validation context: the folder that relative paths start from

Optimizer = Literal["adamw", "sgd", "adafactor", "lion"]
Schedule = Literal["constant", "linear", "cosine"]
FrozenDtype = Literal["checkpoint", "float32", "bfloat16", "float16", "int8", "int4"]
INTEGERS = ("int8", "int4")  #: frozen dtypes whose numbers share scales
Arithmetic = Literal["float32", "float16"]
Objective = Literal["time", "energy", "wear"]
OrderName = Literal["micro-batch-major", "layer-major", "deferred", "interleaved"]
Scalar = bool | int | float | str
ConfigValue = Scalar | list[Scalar] | dict[str, Scalar]

# Which keys an optimizer has, with their defaults: those of optax, with momentum off.
_OPTIMIZER_KEYS: dict[str, dict[str, Any]] = {
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"momentum": 0.0},
    "adafactor": {"eps": 1e-30, "momentum": 0.0},
    "lion": {"betas": (0.9, 0.99)},
}
# The keys of `method = "lora"`, with their defaults; without targets, the model family's own.
_LORA_KEYS: dict[str, Any] = {"rank": 8, "alpha": 8.0, "lora_dropout": 0.0, "targets": None}


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return size.parse_size(value)
    except SpecError as error:
        raise ValueError(error.message) from error


def _sizes(value: object) -> object:
    """One size or a list of them as a tuple, the largest first; what is none is left for the check."""
    given = cast(list[object], value) if isinstance(value, list) else [value]
    sizes = [entry for entry in map(_size, given) if isinstance(entry, int) and not isinstance(entry, bool)]
    found: object = tuple(sorted(set(sizes), reverse=True))
    return found if sizes and len(sizes) == len(given) else cast(object, value)


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("empty")
    return _base(info) / value


def _tokenizer(value: object, info: ValidationInfo) -> object:
    return value if value == "bytes" else _path(value, info)


def _device(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    name = str(_base(info) / value) if value.endswith(".toml") else value
    try:
        load_profile(name)
    except SpecError as error:
        raise PydanticCustomError("device", "{text}", {"text": error.message}) from error
    return name


def _pair(value: object) -> object:
    return tuple(cast(list[object], value)) if isinstance(value, list) else value


def _base(info: ValidationInfo) -> Path:
    context = cast(Mapping[str, Path], info.context or {})
    return context.get(BASE, Path())


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_pair), Field(min_length=1)
]
FilePath = Annotated[Path, BeforeValidator(_path)]


_ORDERS = ", ".join(f'"{name}"' for name in get_args(OrderName))
_COUNT = "a whole number of at least 1"
_POSITIVE = "a number above 0"
_FRACTION = "a number from 0 up to, but not including, 1"
_SEED = "a whole number from 0 to 4294967295"
_SECTION = "a section"
_NAMES = 'a list of "biases", "norms" or names of parameters, with * and ?'


def _lora_key(key: str, takes: str) -> Any:
    """A key of `method = "lora"`; None for any other method, and where an adapter brings its own."""

    def default(data: dict[str, Any]) -> Any:
        return None if data["method"] != "lora" or data.get("adapter") is not None else _LORA_KEYS[key]

    return Field(default_factory=default, description=takes)


def _optimizer_key(key: str, takes: str) -> Any:
    """A key of some optimizers; None for the others."""
    return Field(default_factory=lambda data: _OPTIMIZER_KEYS[data["optimizer"]].get(key), description=takes)


class Section(BaseModel):
    """One table of the spec: no unknown keys, no numbers made of texts, no change later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def refuse(self, key: str, because: str) -> PydanticCustomError:
        """The error for a key that is right by itself but not beside the others."""
        return PydanticCustomError("conflict", "{text}", {"key": key, "text": because})


class ModelSection(Section):
    """What is trained: a checkpoint, or a family with its config and seeded random weights."""

    checkpoint: FilePath | None = Field(None, description="a path to a Hugging Face directory")
    family: str | None = Field(None, min_length=1, description='the name of a model family, such as "gpt2"')
    config: dict[str, ConfigValue] = Field({}, description="a table of the family's own config fields")
    seed: Seed = Field(0, description=_SEED)

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSection:
        if self.checkpoint is None and self.family is None:
            raise self.refuse("checkpoint", "missing, and so is model.family; give one of the two")
        if self.checkpoint is not None:
            for key in ("family", "config", "seed"):
                if key in self.model_fields_set:
                    raise self.refuse(
                        key, "conflicts with model.checkpoint, which brings its own; remove one of the two"
                    )
        return self


class TrainSection(Section):
    """How it is trained."""

    method: Literal["lora", "full", "partial"] = Field(description='"lora", "full" or "partial"')
    adapter: FilePath | None = Field(None, description="a path to a PEFT directory")
    rank: Count | None = _lora_key("rank", _COUNT)
    alpha: Positive | None = _lora_key("alpha", _POSITIVE)
    targets: Names | None = _lora_key("targets", "a list of projection names, at least one")
    lora_dropout: Fraction | None = _lora_key("lora_dropout", _FRACTION)
    train_only: Names | None = Field(None, description=f"{_NAMES}, at least one")
    frozen_dtype: FrozenDtype | None = Field(
        default_factory=lambda data: None if data["method"] == "full" else "checkpoint",
        description='"checkpoint", "float32", "bfloat16", "float16", "int8" or "int4"',
    )
    frozen_group: Literal[32, 64] | None = Field(
        default_factory=lambda data: 32 if data["frozen_dtype"] in INTEGERS else None, description="32 or 64"
    )
    arithmetic: Arithmetic = Field("float32", description='"float32" or "float16"')
    dropout: Fraction | None = Field(None, description=_FRACTION)
    optimizer: Optimizer = Field("adamw", description='"adamw", "sgd", "adafactor" or "lion"')
    betas: Annotated[tuple[Fraction, Fraction], BeforeValidator(_pair)] | None = _optimizer_key(
        "betas", "a list of two numbers from 0 up to, but not including, 1"
    )
    eps: Positive | None = _optimizer_key("eps", _POSITIVE)
    momentum: Fraction | None = _optimizer_key("momentum", _FRACTION)
    weight_decay: NonNegative = Field(0.0, description="a number of at least 0")
    learning_rate: Positive = Field(description=_POSITIVE)
    schedule: Schedule = Field("constant", description='"constant", "linear" or "cosine"')
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="a whole number from 0 to max_steps")
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="a number from 0 to 1")
    max_steps: Count = Field(description=_COUNT)
    max_grad_norm: NonNegative = Field(1.0, description="a number of at least 0; 0 means no clipping")
    batch: Count = Field(description=_COUNT)
    micro_batch: Count | None = Field(None, description="a whole number that divides batch")
    gradient_accumulation_steps: Count | None = Field(None, description="a whole number that divides batch")
    sequence: Count = Field(description=_COUNT)
    seed: Seed = Field(0, description=_SEED)
    save_steps: Count | None = Field(None, description=_COUNT)

    @property
    def window(self) -> int | None:
        """Micro-steps of one update, or None where the compiler chooses."""
        if self.gradient_accumulation_steps is not None:
            return self.gradient_accumulation_steps
        return None if self.micro_batch is None else self.batch // self.micro_batch

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up, from either key; a ratio is rounded up, as Hugging Face does."""
        return self.warmup_steps or math.ceil(self.max_steps * self.warmup_ratio)

    @model_validator(mode="after")
    def _keys_that_apply(self) -> TrainSection:
        given = self.model_fields_set
        for key in ("adapter", *_LORA_KEYS):
            if key in given and self.method != "lora":
                raise self.refuse(
                    key, f'is a key of method = "lora", and method is "{self.method}"; remove it'
                )
        if self.train_only is not None and self.method != "partial":
            raise self.refuse(
                "train_only", f'is a key of method = "partial", and method is "{self.method}"; remove it'
            )
        if self.train_only is None and self.method == "partial":
            raise self.refuse("train_only", f'missing; method = "partial" takes {_NAMES}')
        if "frozen_dtype" in given and self.method == "full":
            raise self.refuse(
                "frozen_dtype", 'is of frozen weights, and method = "full" trains every one; remove it'
            )
        if "frozen_group" in given and self.frozen_dtype not in INTEGERS:
            raise self.refuse(
                "frozen_group",
                f'is a key of "int8" and "int4", and frozen_dtype is "{self.frozen_dtype}"; remove it',
            )
        for key in ("betas", "eps", "momentum"):
            if key in given and key not in _OPTIMIZER_KEYS[self.optimizer]:
                having = " or ".join(f'"{name}"' for name, keys in _OPTIMIZER_KEYS.items() if key in keys)
                raise self.refuse(
                    key, f'is a key of {having}, and optimizer is "{self.optimizer}"; remove it'
                )
        return self

    @model_validator(mode="after")
    def _numbers_that_agree(self) -> TrainSection:
        if {"warmup_steps", "warmup_ratio"} <= self.model_fields_set:
            raise self.refuse("warmup_ratio", "conflicts with train.warmup_steps; remove one of the two")
        if self.warmup > self.max_steps:
            raise self.refuse(
                "warmup_steps", f"got {self.warmup}, takes at most train.max_steps = {self.max_steps}"
            )
        for key in ("micro_batch", "gradient_accumulation_steps"):
            value = getattr(self, key)
            if value is not None and self.batch % value:
                raise self.refuse(key, f"got {value}, which does not divide train.batch = {self.batch}")
        self._batch_is_the_product()
        return self

    def _batch_is_the_product(self) -> None:
        micro, window = self.micro_batch, self.gradient_accumulation_steps
        if micro is not None and window is not None and micro * window != self.batch:
            product = f"micro_batch {micro} times gradient_accumulation_steps {window} is {micro * window}"
            raise self.refuse("batch", f"got {self.batch}, and {product}; make them agree or remove one")


class DeviceSection(Section):
    """What it runs on."""

    profile: Annotated[str, BeforeValidator(_device)] = Field(
        "host",
        description="the name of a device (`daypack devices`) or a path to a profile that ends in .toml",
    )


class BudgetSection(Section):
    """Within what."""

    budgets_bytes: Annotated[tuple[Count, ...], BeforeValidator(_sizes), Field(max_length=4)] | None = Field(
        None,
        alias="memory",
        description=f"{size.TAKES}, or a whole number of bytes, or a list of up to 4 of these",
    )
    orders: (
        Literal["auto", "all"] | Annotated[tuple[OrderName, ...], BeforeValidator(_pair), Field(min_length=1)]
    ) = Field("auto", description=f'"auto", "all", or a list of {_ORDERS}')
    objective: Objective = Field("time", description='"time", "energy" or "wear"')
    step_seconds: Positive | None = Field(None, description=_POSITIVE)
    step_joules: Positive | None = Field(None, description=_POSITIVE)
    step_written_bytes: Annotated[Natural, BeforeValidator(_size)] | None = Field(
        None, alias="step_written", description=f"{size.TAKES}, or a whole number of bytes"
    )
    run_written_bytes: Annotated[Natural, BeforeValidator(_size)] | None = Field(
        None, alias="run_written", description=f"{size.TAKES}, or a whole number of bytes"
    )

    @property
    def memory_bytes(self) -> int | None:
        """The largest budget."""
        return self.budgets_bytes[0] if self.budgets_bytes else None

    @property
    def smaller_bytes(self) -> tuple[int, ...]:
        """The other budgets, descending."""
        return self.budgets_bytes[1:] if self.budgets_bytes else ()

    @field_serializer("budgets_bytes")
    def _one_or_several(self, budgets: tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        return budgets[0] if budgets is not None and len(budgets) == 1 else budgets


class EnergySection(Section):
    """When to train, and within which of the owner's limits; without a section, at once and at full speed."""

    policy: Annotated[str, Field(min_length=1)] = Field(
        "lookahead", description="the name of a policy, or FILE.py:NAME"
    )
    parameters: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        {}, description="a table of the policy's own parameters, each a number"
    )
    reserve: Annotated[float, Field(ge=0, le=1)] = Field(0.2, description="a number from 0 to 1")
    skin_celsius: Annotated[float, Field(ge=20, le=60)] = Field(42.0, description="a number from 20 to 60")
    deadline_hours: Positive | None = Field(None, description=_POSITIVE)
    joules_per_day: Positive | None = Field(None, description=_POSITIVE)
    written_bytes: Annotated[Natural, BeforeValidator(_size)] | None = Field(
        None, alias="written", description=f"{size.TAKES}, or a whole number of bytes"
    )
    only_charging: bool = Field(False, description="true or false")
    only_screen_off: bool = Field(False, description="true or false")
    quiet_hours: (
        Annotated[
            tuple[Annotated[float, Field(ge=0, le=24)], Annotated[float, Field(ge=0, le=24)]],
            BeforeValidator(_pair),
        ]
        | None
    ) = Field(None, description="a list of two hours from 0 to 24, such as [22, 7]")


class DataSection(Section):
    """What it learns from; without a section, the data is named when the bundle is run."""

    path: FilePath | None = Field(None, description="a path to a file")
    builtin: Literal["pydoc"] | None = Field(None, description='"pydoc", the text that every CPython carries')
    kind: Literal["text", "jsonl", "csv", "ids"] | None = Field(
        None, description='"text", "jsonl", "csv" or "ids"'
    )
    tokenizer: Annotated[Literal["bytes"] | Path, BeforeValidator(_tokenizer)] | None = Field(
        None, description='"bytes" or a path to a tokenizer.json'
    )
    packing: bool = Field(False, description="true or false")
    shuffle: bool = Field(True, description="true or false")
    seed: Seed | None = Field(None, description=_SEED)

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if self.path is not None and self.builtin is not None:
            raise self.refuse("builtin", "conflicts with data.path; remove one of the two")
        if self.builtin is not None and self.kind not in (None, "text"):
            raise self.refuse("kind", f'got "{self.kind}", and data.builtin = "{self.builtin}" is text')
        if self.seed is not None and not self.shuffle:
            raise self.refuse("seed", "is of the order, and data.shuffle is false; remove one of the two")
        if self.kind == "ids" and self.tokenizer is not None:
            raise self.refuse("tokenizer", 'conflicts with data.kind = "ids", which needs none; remove it')
        return self


class EvaluationSection(Section):
    """Whether the bundle can tell how good its model is."""

    enabled: bool = Field(True, description="true or false")


AnySection = TypeVar("AnySection", bound=Section)


def _empty(section: type[AnySection]) -> AnySection:
    return section.model_validate({})


class TrainSpec(Section):
    """What to train, how, on what, within what, from what. Immutable; equal specs declare the same."""

    model: ModelSection = Field(description=_SECTION)
    train: TrainSection = Field(description=_SECTION)
    device: DeviceSection = Field(default_factory=lambda: _empty(DeviceSection), description=_SECTION)
    budget: BudgetSection = Field(default_factory=lambda: _empty(BudgetSection), description=_SECTION)
    data: DataSection | None = Field(None, description=_SECTION)
    evaluation: EvaluationSection = Field(
        default_factory=lambda: _empty(EvaluationSection), description=_SECTION
    )
    energy: EnergySection | None = Field(None, description=_SECTION)

    @property
    def tokenizer(self) -> Path | Literal["bytes"] | None:
        """What makes ids of text: as declared, else the checkpoint's own, else bytes; None for ids."""
        if self.data is not None and (self.data.tokenizer is not None or self.data.kind == "ids"):
            return self.data.tokenizer
        return "bytes" if self.model.checkpoint is None else self.model.checkpoint / "tokenizer.json"

    @property
    def declares_data(self) -> bool:
        """Whether the data come with the spec; else they are named when the bundle is run."""
        return self.data is not None and (self.data.path is not None or self.data.builtin is not None)

    @property
    def shuffle_seed(self) -> int | None:
        """The seed of the order of examples, or None where they come as in the file."""
        data = self.data if self.data is not None else _empty(DataSection)
        if not data.shuffle:
            return None
        return self.train.seed if data.seed is None else data.seed
