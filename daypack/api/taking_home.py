"""What was trained leaves its bundle: as a PEFT adapter, or as a whole model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from daypack.api.saved import NOT_PARAMETERS, saved_state, steps_done
from daypack.errors import BundleError, SpecError

if TYPE_CHECKING:
    from daypack.models.sources import TensorSource


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
    from daypack.runtime.state_file import NAME, check_blocks, check_state, state_layout

    found = read_bundle(bundle)
    model, spec = found.description.get("model"), found.description.get("spec")
    if not isinstance(model, dict) or not isinstance(spec, str):
        raise SpecError(
            f"{bundle}: this bundle was compiled from Python; daypack.run(...).params are its trained arrays"
        )
    saved = saved_state(bundle, state)
    if not saved.exists():
        if state is not None:
            raise BundleError(
                f"{saved}: expected a saved state, found none; run the bundle with this --state"
            )
        saved = bundle / NAME
    check_state(saved, found.plan.state, found.plan.state_id)
    check_blocks(saved, state_layout(found.plan.state, found.plan.state_id))
    names = tensors_of(saved)
    arrays = {name: names[name] for name in names if not name.startswith(NOT_PARAMETERS)}
    return _Trained(cast("dict[str, Any]", model), spec, Checkpoint(arrays), steps_done(saved))


def _exported(directory: Path, step: int, source: TensorSource) -> Exported:
    sizes = (math.prod(source.spec(name)[0]) for name in source.names())
    return Exported(directory, step, sum(sizes))
