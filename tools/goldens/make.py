"""Makes tests/models/goldens/*.npz: tiny seeded models by `transformers` and `peft`, in float64.

    python tools/goldens/make.py --out tests/models/goldens

needs torch, transformers and peft (the `bench` extra), and nothing of Daypack. Each file holds `config` and,
for LoRA, `adapter` (JSON text), `ids`, `labels` (already shifted, -100 = none), `weight/NAME`, `logits`,
`loss` (mean over labels) and `grad/NAME` of that mean for everything trained; where rows are padded,
`attended` is true at their tokens, and logits are zero elsewhere. The arithmetic is float64;
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
from transformers import AutoConfig, AutoModelForCausalLM

NO_LABEL = -100


@dataclass(frozen=True)
class Case:
    """One tiny model: its config's own settings, the batch, and the adapter if there is one."""

    config: dict[str, object]
    batch: int = 3
    sequence: int = 9
    masked: bool = False
    padded: bool = False
    adapter: dict[str, object] = field(default_factory=dict)


def _gpt2(**settings: object) -> dict[str, object]:
    none = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {"n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 11, "vocab_size": 37}
    return {"model_type": "gpt2"} | sizes | none | settings


def _decoder(model_type: str, **settings: object) -> dict[str, object]:
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "vocab_size": 37}
    heads = {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4}
    return {"model_type": model_type} | sizes | heads | tokens | settings


def _rope(**parameters: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4} | parameters}


_LLAMA3 = _rope(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
_GEMMA_ROPES = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
}
_EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _lora(targets: list[str], r: int, alpha: int) -> dict[str, object]:
    return {"target_modules": targets, "r": r, "lora_alpha": alpha}


CASES = {
    "gpt2_full": Case(_gpt2()),
    "gpt2_masked": Case(_gpt2(n_embd=10, n_head=1, n_inner=17), sequence=11, masked=True),
    "gpt2_five_heads": Case(
        _gpt2(n_embd=20, n_head=5, n_layer=1, n_inner=33, layer_norm_epsilon=1e-3), batch=1
    ),
    "gpt2_unscaled_untied": Case(_gpt2(scale_attn_weights=False, tie_word_embeddings=False, n_layer=1)),
    "gpt2_lora_attention": Case(_gpt2(), masked=True, adapter=_lora(["c_attn"], 3, 6)),
    "gpt2_lora_projections": Case(_gpt2(n_inner=31), adapter=_lora(["c_attn", "c_proj"], 2, 5)),
    "gpt2_padded": Case(_gpt2(), padded=True),
    "qwen2_tied_one_kv_head": Case(
        _decoder("qwen2", num_key_value_heads=1, tie_word_embeddings=True, **_rope())
    ),
    "qwen2_untied_masked": Case(
        _decoder("qwen2", num_hidden_layers=1, tie_word_embeddings=False, **_rope(rope_theta=1e6)),
        masked=True,
    ),
    "qwen2_lora_default": Case(
        _decoder("qwen2", num_key_value_heads=1, tie_word_embeddings=True),
        adapter=_lora(["q_proj", "v_proj"], 2, 4),
    ),
    "qwen2_lora_everywhere": Case(
        _decoder(
            "qwen2", num_attention_heads=2, num_key_value_heads=1, head_dim=6, tie_word_embeddings=False
        ),
        masked=True,
        adapter=_lora(_EVERYWHERE, 3, 3),
    ),
    "qwen2_masked_padded": Case(
        _decoder("qwen2", num_key_value_heads=1, tie_word_embeddings=True), masked=True, padded=True
    ),
    "qwen3_tied_grouped": Case(
        _decoder("qwen3", num_attention_heads=4, num_key_value_heads=2, head_dim=6, tie_word_embeddings=True)
    ),
    "qwen3_untied_lora": Case(
        _decoder("qwen3", num_key_value_heads=1, tie_word_embeddings=False, attention_bias=True),
        masked=True,
        adapter=_lora(["q_proj", "v_proj"], 2, 8),
    ),
    "qwen3_padded": Case(
        _decoder("qwen3", num_key_value_heads=1, tie_word_embeddings=False, num_hidden_layers=1), padded=True
    ),
    "llama_scaled_tied": Case(
        _decoder("llama", num_key_value_heads=1, tie_word_embeddings=True, **_LLAMA3), sequence=23, batch=2
    ),
    "llama_biases_untied_masked": Case(
        _decoder("llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=False, num_hidden_layers=1),
        masked=True,
    ),
    "llama_padded": Case(
        _decoder("llama", num_key_value_heads=1, tie_word_embeddings=False, num_hidden_layers=1), padded=True
    ),
    "llama_lora": Case(
        _decoder("llama", num_key_value_heads=3, **_LLAMA3),
        adapter=_lora(["q_proj", "v_proj", "down_proj"], 2, 3),
    ),
    "llama_lora_everywhere_masked": Case(
        _decoder("llama", num_key_value_heads=1, tie_word_embeddings=False),
        masked=True,
        adapter=_lora(_EVERYWHERE, 2, 4),
    ),
    "qwen3_lora_everywhere": Case(
        _decoder("qwen3", num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True),
        adapter=_lora(_EVERYWHERE, 2, 2),
    ),
    "gemma3_beyond_the_window": Case(
        _decoder(
            "gemma3_text",
            num_key_value_heads=1,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            sliding_window=4,
            query_pre_attn_scalar=7,
            **_GEMMA_ROPES,
        ),
        sequence=11,
    ),
    "gemma3_within_the_window_masked": Case(
        _decoder("gemma3_text", layer_types=["sliding_attention", "full_attention"], sliding_window=16),
        masked=True,
    ),
    "gemma3_beyond_the_window_padded_lora": Case(
        _decoder(
            "gemma3_text",
            num_key_value_heads=1,
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=5,
            **_GEMMA_ROPES,
        ),
        sequence=13,
        padded=True,
        adapter=_lora(["q_proj", "v_proj"], 2, 4),
    ),
    "gemma3_lora": Case(
        _decoder(
            "gemma3_text",
            num_attention_heads=4,
            num_key_value_heads=2,
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=5,
        ),
        adapter=_lora(_EVERYWHERE, 2, 6),
    ),
}


def make(name: str, case: Case) -> dict[str, np.ndarray]:
    """Every array of one golden file."""
    generator = np.random.default_rng(list(name.encode()))
    config = AutoConfig.for_model(**case.config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    if case.adapter:
        conv1d = case.config["model_type"] == "gpt2"
        model = get_peft_model(
            model, LoraConfig(**case.adapter, fan_in_fan_out=conv1d, task_type="CAUSAL_LM")
        )
        model = model.double().eval()
    parameters = {_published(path): parameter for path, parameter in model.named_parameters()}
    gains_less_one = case.config["model_type"] == "gemma3_text"
    with torch.no_grad():
        for path, parameter in parameters.items():
            drawn = _value(path, tuple(parameter.shape), gains_less_one, generator)
            parameter.copy_(torch.from_numpy(drawn))
    ids, labels, attended = _batch(case, generator)
    unshifted = np.concatenate([np.full((case.batch, 1), NO_LABEL), labels[:, :-1]], axis=1)
    result = model(
        input_ids=torch.from_numpy(ids),
        labels=torch.from_numpy(unshifted),
        attention_mask=torch.from_numpy(attended),
    )
    result.loss.backward()
    arrays = {
        "config": np.array(json.dumps(case.config)),
        "ids": ids,
        "labels": labels,
    }
    if case.adapter:
        arrays["adapter"] = np.array(json.dumps(case.adapter))
    logits = result.logits.detach().numpy()
    if case.padded:
        arrays["attended"] = attended
        logits = np.where(attended[..., None], logits, 0.0)
    arrays |= {"logits": logits, "loss": result.loss.detach().numpy()}
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


def _value(
    path: str, shape: tuple[int, ...], gains_less_one: bool, generator: np.random.Generator
) -> np.ndarray:
    """A value that float32 holds exactly, large enough that every path through the model matters."""
    drawn = generator.standard_normal(shape)
    if ".ln_" in path and path.endswith("weight"):
        drawn = 1 + 0.2 * drawn
    elif len(shape) == 1 and path.endswith("norm.weight"):
        drawn = (0.0 if gains_less_one else 1.0) + 0.2 * drawn
    else:
        drawn *= 0.3
    return drawn.astype(np.float32).astype(np.float64)


def _batch(case: Case, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, shifted labels, and where the tokens are; a masked batch has gaps, and one row without any label.

    Rows of a padded batch end early, each elsewhere but for the last: by fewer places than a sliding window
    has, as `transformers` makes NaN of a place that sees nothing.
    """
    shape = (case.batch, case.sequence)
    ids = generator.integers(0, case.config["vocab_size"], shape)
    labels = np.concatenate([ids[:, 1:], np.full((case.batch, 1), NO_LABEL)], axis=1)
    if case.masked:
        labels[generator.random(shape) < 0.4] = NO_LABEL
        labels[0] = NO_LABEL
    attended = np.ones(shape, bool)
    if case.padded:
        ends = case.sequence - 2 * np.arange(case.batch)[::-1]
        places = np.arange(case.sequence)
        attended = places < ends[:, None]
        ids[~attended] = 0
        labels[places >= ends[:, None] - 1] = NO_LABEL
    return ids, labels, attended


def _stored(array: np.ndarray) -> np.ndarray:
    kept = {"f": np.float32, "i": np.int32}.get(array.dtype.kind)
    return array.astype(kept) if kept else array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the directory the files are written to")
    out: Path = parser.parse_args().out
    for name, case in CASES.items():
        np.savez_compressed(out / f"{name}.npz", **make(name, case))


if __name__ == "__main__":
    main()
