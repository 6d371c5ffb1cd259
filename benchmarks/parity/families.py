"""Sections of the proof on each family's published shapes: memory kept, and what the step pays for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizing.cases import corpus, grow, train

from daypack.models.task import base_model
from daypack.models.write_checkpoint import write_checkpoint
from daypack.spec import check_spec
from parity.budgets import plain, run_under, with_memory
from parity.compare import compare
from parity.contenders import Engine, in_turns
from parity.engine import run_engine
from parity.figures import Figure
from parity.reference import Reference, batches_of
from parity.specs import FULL, GEMMA3_1B, GEMMA3_270M, LORA_QV, QWEN25_05B, training, write_ids
from parity.workspace import Workspace

Section = Callable[[Workspace, dict[str, Any]], list[Figure]]
STEPS, ROUNDS, TURN_STEPS = 2, 2, 2
TRAINED_TOKENS = 20_000
"""Learnt from the corpus; the rest of a tokenizer is made up."""
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ALL_SEVEN: dict[str, Any] = {**LORA_QV, "targets": EVERYWHERE}
LONG = {"batch": 1, "sequence": 256}
SLOWER = 1.45
"""How much longer a LoRA step may take than its own without a budget."""


@dataclass(frozen=True)
class Model:
    """A published shape, the size of its vocabulary, and what its tokenizer is like."""

    family: str
    config: dict[str, Any]
    vocabulary: int
    tokenizer: str
    merges_a_token: int

    def tokenizer_in(self, folder: Path) -> Path:
        """A tokenizer.json with tables as large as the published one's."""
        grown = folder / f"{self.tokenizer}-{self.vocabulary}.json"
        if not grown.exists():
            trained = train(self.tokenizer, TRAINED_TOKENS, folder / f"{self.tokenizer}.json")
            grow(trained, self.vocabulary, self.merges_a_token, grown)
        return grown


QWEN = Model("qwen2", QWEN25_05B, 151936, "qwen", 1)
GEMMA_270M = Model("gemma3", GEMMA3_270M, 262144, "gemma", 2)
GEMMA_1B = Model("gemma3", GEMMA3_1B, 262144, "gemma", 2)


def model_section(
    name: str,
    model: Model,
    method: dict[str, Any],
    memory_bytes: int,
    ratio: float | None = SLOWER,
    **settings: Any,
) -> Section:
    """One step of a published shape, 1 x 256, within a memory; in turns with the same without a budget.

    Every run begins with the text, which the engine tokenizes.
    """

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        text = work.folder / "text.txt"
        text.write_text("\n".join(corpus()), "utf-8")
        tokenizer = model.tokenizer_in(work.folder)
        spec = training(model.family, None, model.config, method, tokenizer=tokenizer, **LONG, **settings)
        bundle, small = run_under(work, spec, memory_bytes, STEPS, text)
        details[name] = {"within": asdict(small)}
        figures = [
            Figure(name, "VmHWM, tokenizing included", small.peak_rss_bytes, "bytes", memory_bytes),
            Figure(name, "predicted peak", small.predicted_bytes, "bytes", source="modelled"),
            Figure(name, "read from flash a step", small.read_bytes, "bytes"),
            Figure(name, "written to flash a step", small.written_bytes, "bytes"),
        ]
        free_bundle, free = run_under(work, spec, None, STEPS, text)
        unbound, bound = in_turns(
            [
                Engine(free_bundle.bundle, data=text),
                Engine(bundle.bundle, name="within the memory", data=text),
            ],
            ROUNDS,
            TURN_STEPS,
        )
        details[name] |= {"free": asdict(free), "seconds": [asdict(unbound), asdict(bound)]}
        return [
            *figures,
            Figure(name, "VmHWM without a budget", free.peak_rss_bytes, "bytes"),
            Figure(name, "step, median, without a budget", unbound.median, "s"),
            Figure(name, "step, median, within the memory", bound.median, "s"),
            Figure(name, "ratio, warm page cache", bound.median / unbound.median, "ratio", ratio),
            Figure(name, "distinct results", len({free.digest, small.digest}), "count", 1),
        ]

    return run


FOUR_LAYERS: dict[str, Any] = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
}
FOUR_LAYERS_BYTES = 700_000_000
GIGABYTE = 1_000_000_000
LOSS, CHANGE = 5e-6, 1e-3
"""How far losses and changes of trained arrays may be from JAX's, relative."""


def full_billion(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Two steps of all of Gemma 3 1B within a gigabyte, its state in float32 on flash; and four of its
    layers, within a memory as tight, against JAX.
    """
    name = "gemma3-1b-full"
    ids = work.folder / f"ids-{GEMMA_1B.vocabulary}.jsonl"
    ids = ids if ids.exists() else write_ids(ids, GEMMA_1B.vocabulary, 20_000)
    spec = training("gemma3", ids, GEMMA_1B.config, FULL, **LONG)
    built, ran = run_under(work, spec, GIGABYTE, STEPS)
    details[name] = {"within": asdict(ran), "compile": built.said}
    four = training("gemma3", ids, {**GEMMA_1B.config, **FOUR_LAYERS}, FULL, **LONG)
    few = with_memory(four, FOUR_LAYERS_BYTES)
    small = work.build(few)
    reference = Reference(few)
    theirs = reference.run(batches_of(small.bundle, few, STEPS))
    found = compare(reference.initial(), run_engine(small.bundle, STEPS), theirs)
    details[name] |= {"four layers": found.as_json()}
    print(f"{name}: {found.line()}", flush=True)
    return [
        Figure(name, "VmHWM", ran.peak_rss_bytes, "bytes", GIGABYTE),
        Figure(name, "predicted peak", ran.predicted_bytes, "bytes", source="modelled"),
        Figure(name, "step, the longer of two", max(ran.seconds), "s"),
        Figure(name, "read from flash a step", ran.read_bytes, "bytes"),
        Figure(name, "written to flash a step", ran.written_bytes, "bytes"),
        Figure(name, "compile, whole process", built.used.seconds, "s"),
        Figure(name, "compile, peak resident memory", built.used.peak_rss_bytes, "bytes"),
        Figure(name, "four layers: loss against JAX, relative", found.worst_loss, "", LOSS),
        Figure(name, "four layers: change against JAX, worst array", found.worst_array.relative, "", CHANGE),
    ]


def compile_checkpoint(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """LoRA of Gemma 3 1B compiled from a checkpoint in four shards, float32 on disk, bfloat16 in the bundle:
    its peak against one copy of the weights.
    """
    name = "gemma3-1b-checkpoint"
    ids = work.folder / f"ids-{GEMMA_1B.vocabulary}.jsonl"
    ids = ids if ids.exists() else write_ids(ids, GEMMA_1B.vocabulary, 20_000)
    spec = with_memory(training("gemma3", ids, GEMMA_1B.config, LORA_QV, **LONG, **HALF), 300_000_000)
    base = base_model(spec)
    folder = work.folder / "checkpoint"
    if not folder.exists():
        write_checkpoint(folder, base.config, base.source, shards=4)
    document = plain(spec.model_dump(by_alias=True, exclude_unset=True))
    built = work.build(check_spec({**document, "model": {"checkpoint": str(folder)}}))
    details[name] = {"compile": built.said}
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return [
        Figure(name, "weights of the checkpoint", weights, "bytes"),
        Figure(name, "compile, whole process", built.used.seconds, "s"),
        Figure(name, "compile, peak resident memory", built.used.peak_rss_bytes, "bytes", weights),
    ]


HALF, QUARTER = {"frozen_dtype": "bfloat16"}, {"frozen_dtype": "int4", "frozen_group": 32}
FAMILIES: dict[str, Section] = {
    "gemma3-270m": model_section("gemma3-270m", GEMMA_270M, LORA_QV, 200_000_000, **HALF),
    "qwen2.5": model_section("qwen2.5", QWEN, LORA_QV, 150_000_000, **HALF),
    "qwen2.5-all": model_section("qwen2.5-all", QWEN, ALL_SEVEN, 180_000_000, **HALF),
    "qwen2.5-int4": model_section("qwen2.5-int4", QWEN, LORA_QV, 110_000_000, **QUARTER),
    "gemma3-1b": model_section("gemma3-1b", GEMMA_1B, LORA_QV, 300_000_000, **HALF),
    "gemma3-270m-full": model_section("gemma3-270m-full", GEMMA_270M, FULL, 400_000_000, None),
    "gemma3-1b-full": full_billion,
    "gemma3-1b-checkpoint": compile_checkpoint,
}
