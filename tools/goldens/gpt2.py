"""Makes tests/models/goldens/*.npz: tiny seeded GPT-2 models by `transformers` and `peft`, in float64.

    python tools/goldens/gpt2.py --out tests/models/goldens

needs torch, transformers and peft (the `bench` extra), and nothing of Daypack. Each file holds `config` and,
for LoRA, `adapter` (JSON text), `ids`, `labels` (already shifted, -100 = none), `weight/NAME`, `logits`,
`loss` (mean over labels) and `grad/NAME` of that mean for everything trained. The arithmetic is float64;
arrays are stored in float32, whose rounding (6e-8) lies far below the tolerance of the comparison (1e-5).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

NO_LABEL = -100


@dataclass(frozen=True)
class Case:
    """One tiny model: its config's own settings, the batch, and the adapter if there is one."""

    config: dict[str, object]
    batch: int = 3
    sequence: int = 9
    masked: bool = False
    adapter: dict[str, object] = field(default_factory=dict)


def _config(**settings: object) -> dict[str, object]:
    none = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    return {"n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 11, "vocab_size": 37} | none | settings


CASES = {
    "full": Case(_config()),
    "masked": Case(_config(n_embd=10, n_head=1, n_inner=17), sequence=11, masked=True),
    "five_heads": Case(_config(n_embd=20, n_head=5, n_layer=1, n_inner=33, layer_norm_epsilon=1e-3), batch=1),
    "unscaled_untied": Case(_config(scale_attn_weights=False, tie_word_embeddings=False, n_layer=1)),
    "lora_attention": Case(
        _config(), masked=True, adapter={"target_modules": ["c_attn"], "r": 3, "lora_alpha": 6}
    ),
    "lora_projections": Case(
        _config(n_inner=31), adapter={"target_modules": ["c_attn", "c_proj"], "r": 2, "lora_alpha": 5}
    ),
}


def make(name: str, case: Case) -> dict[str, np.ndarray]:
    """Every array of one golden file."""
    generator = np.random.default_rng(list(name.encode()))
    model = (
        GPT2LMHeadModel._from_config(GPT2Config(**case.config), attn_implementation="eager").double().eval()
    )
    if case.adapter:
        model = get_peft_model(model, LoraConfig(**case.adapter, fan_in_fan_out=True, task_type="CAUSAL_LM"))
        model = model.double().eval()
    parameters = {_published(path): parameter for path, parameter in model.named_parameters()}
    with torch.no_grad():
        for path, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(_value(path, tuple(parameter.shape), generator)))
    ids, labels = _batch(case, generator)
    unshifted = np.concatenate([np.full((case.batch, 1), NO_LABEL), labels[:, :-1]], axis=1)
    result = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(unshifted))
    result.loss.backward()
    arrays = {
        "config": np.array(json.dumps({"model_type": "gpt2", **case.config})),
        "ids": ids,
        "labels": labels,
    }
    if case.adapter:
        arrays["adapter"] = np.array(json.dumps(case.adapter))
    arrays |= {"logits": result.logits.detach().numpy(), "loss": result.loss.detach().numpy()}
    for path, parameter in parameters.items():
        arrays[f"weight/{path}"] = parameter.detach().numpy()
        if parameter.requires_grad:
            arrays[f"grad/{path}"] = parameter.grad.numpy()
    return {key: _stored(array) for key, array in arrays.items()}


def _published(path: str) -> str:
    """The base model's own name for its tensors, and the name in PEFT's files for an adapter's."""
    if ".lora_" in path:
        return path.replace(".default.", ".")
    return path.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _value(path: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A value that float32 holds exactly, large enough that every path through the model matters."""
    drawn = generator.standard_normal(shape)
    if ".ln_" in path and path.endswith("weight"):
        drawn = 1 + 0.2 * drawn
    else:
        drawn *= 0.3
    return drawn.astype(np.float32).astype(np.float64)


def _batch(case: Case, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ids and shifted labels; a masked batch has gaps, and one row without any label."""
    shape = (case.batch, case.sequence)
    ids = generator.integers(0, case.config["vocab_size"], shape)
    labels = np.concatenate([ids[:, 1:], np.full((case.batch, 1), NO_LABEL)], axis=1)
    if case.masked:
        labels[generator.random(shape) < 0.4] = NO_LABEL
        labels[0] = NO_LABEL
    return ids, labels


def _stored(array: np.ndarray) -> np.ndarray:
    kept = {"f": np.float32, "i": np.int32}.get(array.dtype.kind)
    return array.astype(kept) if kept else array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the directory the files are written to")
    out: Path = parser.parse_args().out
    for name, case in CASES.items():
        np.savez_compressed(out / f"gpt2_{name}.npz", **make(name, case))


if __name__ == "__main__":
    main()
