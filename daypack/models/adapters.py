"""LoRA adapters as `peft` keeps them: a directory of adapter_config.json and adapter_model.safetensors.

Names and layouts are those of `Structure`: `base_model.model.<path>.lora_A.weight` (rank, in) and `lora_B`
(out, rank), float32. What such a directory may say beyond rank, alpha, targets and dropout changes the
computation, so it is refused by name. Source: `LoraConfig` of https://github.com/huggingface/peft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from daypack.errors import SpecError
from daypack.models.checkpoint import FLOAT_DTYPES, Checkpoint, count, listed, read_json, tensors_of
from daypack.models.config_fields import ConfigReader, as_config
from daypack.models.lora import LoraConfig
from daypack.models.new_directory import new_directory
from daypack.models.parameters import ParameterSpec
from daypack.models.sources import TensorSource
from daypack.models.write_checkpoint import write_json, write_safetensors

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
#: What makes an adapter more than s · B · A on some projections; PEFT leaves each empty or false by default.
_MORE = (
    "use_rslora",
    "use_dora",
    "use_qalora",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
)


@dataclass(frozen=True, slots=True)
class SavedAdapter:
    """What adapter_config.json says; `targets` is None where it holds a pattern in place of names."""

    directory: Path
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...] | None

    @property
    def where(self) -> str:
        return str(self.directory / CONFIG_FILE)


def write_adapter(
    directory: Path, lora: LoraConfig, source: TensorSource, *, fan_in_fan_out: bool, base: str | None
) -> None:
    """Write every tensor of `source` (the adapters' factors) and their config into a new `directory`.

    It appears whole or not at all; `base` is what the config names as the base model. Raises SpecError if it
    exists and is not empty.
    """
    with new_directory(directory) as partial:
        write_json(partial / CONFIG_FILE, _config(lora, fan_in_fan_out, base))
        write_safetensors(partial / WEIGHTS_FILE, source.names(), source)


def _config(lora: LoraConfig, fan_in_fan_out: bool, base: str | None) -> dict[str, Any]:
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "lora_dropout": lora.dropout,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": list(lora.targets),
        "task_type": "CAUSAL_LM",
    }


def read_adapter(directory: Path) -> SavedAdapter:
    """What a PEFT directory says of its adapter; the weights stay unread.

    Raises:
        SpecError: no such directory, or an adapter of another kind than plain LoRA of a language model.
    """
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise SpecError(f"{directory}: no {CONFIG_FILE}; train.adapter takes a directory that PEFT saved")
    config = as_config(read_json(path), str(path))
    reader = ConfigReader(config, str(path))
    _require_plain(config, reader)
    return SavedAdapter(
        directory,
        rank=reader.positive("r", None),
        alpha=reader.positive_number("lora_alpha", None),
        dropout=reader.fraction("lora_dropout", 0.0),
        targets=_targets(config.get("target_modules"), reader),
    )


def _require_plain(config: Mapping[str, Any], reader: ConfigReader) -> None:
    """Refuse what a plain LoRA adapter of a causal language model does not say."""
    for field, taken in (
        ("peft_type", ("LORA",)),
        ("task_type", ("CAUSAL_LM", None)),
        ("bias", ("none", None)),
        ("init_lora_weights", (True, False, None, "gaussian", "orthogonal", "eva")),
    ):
        if config.get(field) not in taken:
            raise reader.error(field, config.get(field), f"{taken[0]!r}: Daypack continues plain LoRA only")
    for field in _MORE:
        if config.get(field):
            raise reader.error(field, config[field], "none: Daypack continues plain LoRA only")


def _targets(found: object, reader: ConfigReader) -> tuple[str, ...] | None:
    if isinstance(found, str):
        return None
    items: tuple[object, ...] = tuple(cast("list[object]", found)) if isinstance(found, list) else ()
    names = tuple(item for item in items if isinstance(item, str) and item)
    if not names or len(names) != len(items):
        raise reader.error("target_modules", cast("object", found), "a list of projection names")
    return names


def continued(
    saved: SavedAdapter,
    *,
    rank: int | None,
    alpha: float | None,
    targets: tuple[str, ...] | None,
    dropout: float | None,
) -> LoraConfig:
    """The adapters to go on with: as saved, and as the spec says where it says anything.

    Raises:
        SpecError: rank, alpha or targets are others than the saved ones; the dropout may differ.
    """
    for key, field, wanted, found in (
        ("rank", "r", rank, saved.rank),
        ("alpha", "lora_alpha", alpha, saved.alpha),
    ):
        if wanted is not None and wanted != found:
            raise SpecError(
                f"train.{key} is {wanted}, and `{field}` of {saved.where} is {found}; remove train.{key}"
            )
    if saved.targets is None:
        if targets is None:
            raise SpecError(f"{saved.where}: `target_modules` is a pattern; list the names in train.targets")
    elif targets is not None and set(targets) != set(saved.targets):
        raise SpecError(
            f"train.targets is {sorted(targets)}, and `target_modules` of {saved.where} is "
            f"{sorted(saved.targets)}; remove train.targets"
        )
    chosen = saved.targets or targets or ()
    return LoraConfig(chosen, saved.rank, saved.alpha, saved.dropout if dropout is None else dropout)


def open_adapter(directory: Path, parameters: Mapping[str, ParameterSpec]) -> Checkpoint:
    """The factors in a PEFT directory, which must be exactly `parameters`.

    Raises:
        SpecError: no safetensors file, or an adapter of another base model: every missing, extra and
        mismatched tensor is counted, the first few are listed.
    """
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise SpecError(
            f"{directory}: no {WEIGHTS_FILE}; "
            "Daypack reads safetensors only (which PEFT's `save_pretrained` writes)"
        )
    found = tensors_of(path)
    shapes = [
        f"{name} {list(found[name].shape)}, here {list(parameter.shape)}"
        for name, parameter in parameters.items()
        if name in found and found[name].shape != parameter.shape
    ]
    complaints = [
        *_complaint((name for name in parameters if name not in found), "missing"),
        *_complaint((name for name in found if name not in parameters), "not of this model"),
        *_complaint(shapes, "of another shape"),
    ]
    if complaints:
        raise SpecError(
            f"{path}: an adapter of another base model: {'; '.join(complaints)}; "
            "name the base it was trained on in [model]"
        )
    for name, tensor in found.items():
        if tensor.dtype not in FLOAT_DTYPES:
            raise SpecError(
                f"{path}: tensor `{name}` has dtype {tensor.dtype}; expected one of {', '.join(FLOAT_DTYPES)}"
            )
    return Checkpoint({name: found[name] for name in parameters})


def _complaint(names: Iterable[str], what: str) -> list[str]:
    found = list(names)
    return [f"{count(found, 'tensor')} {what}: {listed(found)}"] if found else []
