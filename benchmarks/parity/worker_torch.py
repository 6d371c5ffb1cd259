"""The PyTorch peer: transformers' model, peft's adapters, AdamW, clipping; as many steps as a line says."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from parity.process import forget_peak, own_peak_rss_bytes

DROPOUT = {"gpt2": ("embd_pdrop", "attn_pdrop", "resid_pdrop"), "qwen2": ("attention_dropout",)}
"""Where a config has its rates of dropout."""


def model_of(setting: dict[str, Any]) -> Any:
    rates = dict.fromkeys(DROPOUT[setting["model_type"]], setting["dropout"])
    config: Any = AutoConfig.for_model(
        setting["model_type"], **setting["config"], **rates, use_cache=False, dtype="float32"
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    if setting["lora"] is not None:
        from peft import LoraConfig, get_peft_model

        rank, alpha, targets = setting["lora"]
        transposed = setting["model_type"] == "gpt2"
        wanted = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, fan_in_fan_out=transposed)
        model = get_peft_model(model, wanted)
    return model.train()


def main() -> None:
    setting = json.loads(sys.stdin.readline())
    torch.manual_seed(0)
    torch.set_num_threads(setting["threads"])
    model = model_of(setting)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=setting["learning_rate"], weight_decay=0.0)
    vocabulary = model.config.vocab_size
    ids = torch.randint(0, vocabulary, (setting["batch"], setting["sequence"]))

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, setting["clip"])
        optimizer.step()
        return time.perf_counter() - began

    step()
    forget_peak()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        seconds = [step() for _ in range(int(line))]
        print(json.dumps({"seconds": seconds, "peak_rss_bytes": own_peak_rss_bytes()}), flush=True)


if __name__ == "__main__":
    main()
