"""A personal case, whole: a model learns one person's days and answers questions about later ones.

    python examples/wearable.py          # some minutes
    python examples/wearable.py --quick  # less than one

There is no pretrained model at hand, so first a small GPT-2 is trained on the days of many made-up people:
it learns how days are told and that habits differ. Then it is fine-tuned by LoRA on the days of one person,
and asked about weeks that it has not seen, before and after, as `daypack eval` does, from the same bundle.
Every step of training and evaluation runs in the native engine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from wearable_days import write_general, write_personal

from daypack import api
from daypack.errors import DaypackError
from daypack.spec import TrainSpec, check_spec

FOLDER = Path("wearable-out")
VOCABULARY, SEQUENCE = 512, 64
BUDGET = "40MB"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is made and learnt."""

    people: int
    general_steps: int
    weeks: int
    held_out_weeks: int
    personal_steps: int
    layers: int
    width: int


QUICK = Size(60, 200, 16, 4, 120, 2, 64)
FULL = Size(400, 1500, 30, 8, 300, 4, 128)


@dataclass(frozen=True, slots=True)
class Result:
    """Of the held-out weeks, before and after: questions, and the answers' perplexity by themselves."""

    questions: tuple[api.Evaluated, api.Evaluated]
    answers: tuple[api.Evaluated, api.Evaluated]


def main(size: Size, folder: Path = FOLDER) -> Result:
    """Make the data, train twice, evaluate."""
    folder.mkdir(parents=True, exist_ok=True)
    general = write_general(folder / "people.jsonl", size.people, seed=1)
    days, later, questions = write_personal(folder, size.weeks, size.held_out_weeks, seed=2)
    tokenizer = make_tokenizer(general, folder / "tokenizer.json")
    train(general_spec(size, general, tokenizer), folder / "general.bundle")
    base = make_checkpoint(folder / "general.bundle", tokenizer, folder / "base")
    bundle = folder / "personal.bundle"
    train(personal_spec(size, days, base), bundle)
    result = Result(before_and_after(bundle, questions), before_and_after(bundle, later))
    show(result)
    return result


def make_tokenizer(text: Path, path: Path) -> Path:
    """A byte-level BPE of the general text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    made.train([str(text)], trainer)
    made.save(str(path))
    return path


def general_spec(size: Size, text: Path, tokenizer: Path) -> TrainSpec:
    """Full fine-tuning from random weights."""
    config = {
        "n_layer": size.layers,
        "n_head": 4,
        "n_embd": size.width,
        "vocab_size": VOCABULARY,
        "n_positions": SEQUENCE,
    }
    return spec(
        {"family": "gpt2", "config": config, "seed": 1},
        {"method": "full", "learning_rate": 3e-3, "max_steps": size.general_steps},
        {"path": str(text), "kind": "jsonl", "tokenizer": str(tokenizer)},
    )


def personal_spec(size: Size, days: Path, base: Path) -> TrainSpec:
    """LoRA on top; only the answers are learnt."""
    method = {"method": "lora", "rank": 8, "alpha": 16, "targets": ["c_attn", "c_proj", "c_fc"]}
    return spec(
        {"checkpoint": str(base)},
        {**method, "learning_rate": 1e-2, "max_steps": size.personal_steps},
        {"path": str(days), "kind": "jsonl"},
    )


def spec(model: dict[str, Any], train: dict[str, Any], data: dict[str, Any]) -> TrainSpec:
    """What both trainings have in common."""
    shape = {"batch": 16, "micro_batch": 16, "sequence": SEQUENCE, "dropout": 0.0}
    rate = {"schedule": "cosine", "warmup_ratio": 0.05, "save_steps": train["max_steps"]}
    return check_spec(
        {"model": model, "train": {**train, **shape, **rate}, "data": data, "budget": {"memory": BUDGET}}
    )


def train(declared: TrainSpec, bundle: Path) -> None:
    """Compile and run to the end, from the start."""
    compiled = api.compile_spec(declared, out=bundle)
    losses = [event.loss for event in api.run_bundle(bundle, fresh=True)]
    print(
        f"{bundle.name}: compiled in {compiled.compile_seconds:.0f} s; "
        f"{len(losses)} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}"
    )


def make_checkpoint(bundle: Path, tokenizer: Path, folder: Path) -> Path:
    """The trained model as a Hugging Face directory, the tokenizer beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    api.merge_bundle(bundle, out=folder)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return folder


def before_and_after(bundle: Path, data: Path) -> tuple[api.Evaluated, api.Evaluated]:
    """Of the same bundle."""
    return api.evaluate_bundle(bundle, data=data, before=True), api.evaluate_bundle(bundle, data=data)


def show(result: Result) -> None:
    """What a reader wants to know."""
    before, after = result.questions
    print(f"{before.questions} questions about weeks that were not learnt   before   after")
    for name, figure in (
        ("answered rightly (chance: 0.25; knowing the habits: 0.93)", "accuracy"),
        ("answered rightly, by length", "accuracy_by_length"),
    ):
        print(f"  {name:<58}{getattr(before, figure):>7.2f} {getattr(after, figure):>7.2f}")
    lower, higher = result.answers
    print(f"  {'perplexity of the answers':<58}{lower.perplexity:>7.2f} {higher.perplexity:>7.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer days")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything is kept")
    given = parser.parse_args()
    try:
        main(QUICK if given.quick else FULL, given.folder)
    except DaypackError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(int(error.code))
