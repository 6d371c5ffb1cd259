"""What the element type of frozen matrices costs: loss, step time, memory, size of the bundle, compilation.

Loss: a small GPT-2 is first trained on text in float32; LoRA then goes on from that checkpoint, its frozen
matrices stored in each type, and the losses are compared with float32's. Time and memory: LoRA on GPT-2 124M,
4 x 128, no budget, the types in turns. `--layers 2` tries the script out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.contenders import Engine, in_turns
from parity.engine import run_engine, state_file
from parity.figures import Figure, keep, table
from parity.specs import LORA, gpt2
from parity.workspace import Workspace
from safetensors.numpy import load_file, save_file

from daypack import api
from daypack.spec import TrainSpec, check_spec

REPOSITORY = Path(__file__).resolve().parent.parent
DTYPES = ("float32", "bfloat16", "float16", "int8", "int4")
LOSS_LIMITS = {"bfloat16": 0.005, "float16": 0.005, "int8": 0.005}
"""How far a loss may be from float32's, relative; int4's is only told."""
TIME_LIMITS = {"bfloat16": 1.05}
SMALL: dict[str, Any] = {
    "n_layer": 2,
    "n_embd": 128,
    "n_head": 4,
    "n_positions": 128,
    "vocab_size": 256,
}
TEXT: dict[str, Any] = {"batch": 8, "sequence": 128, "gradient_accumulation_steps": 1, "dropout": 0.0}
PRETRAINING_STEPS, STEPS = 400, 50


def small(model: dict[str, Any], **train: Any) -> TrainSpec:
    """The small model on text, one token a byte."""
    data = {"builtin": "pydoc", "tokenizer": "bytes"}
    return check_spec({"model": model, "train": {**TEXT, **train}, "data": data})


def pretrained(folder: Path) -> tuple[Path, float]:
    """A checkpoint of the small model, trained in float32, and its last loss."""
    spec = small(
        {"family": "gpt2", "config": SMALL},
        method="full",
        learning_rate=2e-3,
        schedule="cosine",
        max_steps=PRETRAINING_STEPS,
    )
    bundle = folder / "pretraining.bundle"
    api.compile_spec(spec, out=bundle)
    losses = run_engine(bundle, PRETRAINING_STEPS).losses
    model = folder / "model"
    model.mkdir()
    arrays = load_file(state_file(bundle))
    save_file({n: a for n, a in arrays.items() if n.startswith("transformer.")}, model / "model.safetensors")
    (model / "config.json").write_text(json.dumps({"model_type": "gpt2", **SMALL}))
    return model, statistics.mean(losses[-20:])


def losses_of(folder: Path, model: Path, dtype: str) -> tuple[float, ...]:
    """LoRA from the checkpoint."""
    spec = small(
        {"checkpoint": str(model)},
        **LORA,
        learning_rate=1e-3,
        max_steps=STEPS,
        frozen_dtype=dtype,
    )
    bundle = folder / f"{dtype}.bundle"
    api.compile_spec(spec, out=bundle)
    return run_engine(bundle, STEPS).losses


def loss_figures(folder: Path) -> tuple[list[Figure], dict[str, Any]]:
    """Each type's first loss (of the stored weights alone) and mean loss, against float32's."""
    model, last = pretrained(folder)
    found = {dtype: losses_of(folder, model, dtype) for dtype in DTYPES}
    figures = [Figure("loss", f"float32: after {PRETRAINING_STEPS} steps of pretraining", last, "nat")]
    exact = found["float32"]
    for dtype in DTYPES[1:]:
        first = abs(found[dtype][0] / exact[0] - 1)
        mean = abs(statistics.mean(found[dtype]) / statistics.mean(exact) - 1)
        limit = LOSS_LIMITS.get(dtype)
        figures.append(Figure("loss", f"{dtype}: first loss, relative to float32", first, "", limit))
        figures.append(Figure("loss", f"{dtype}: mean of {STEPS} losses, relative", mean, "", limit))
    return figures, {"losses": found}


def step_figures(work: Workspace, rounds: int, steps: int) -> tuple[list[Figure], dict[str, Any]]:
    """Time, memory and sizes of the real shapes."""
    specs = {d: gpt2(work.ids, work.config, LORA, frozen_dtype=d) for d in DTYPES}
    built = {dtype: work.build(spec) for dtype, spec in specs.items()}
    times = in_turns([Engine(b.bundle, name=dtype) for dtype, b in built.items()], rounds, steps)
    exact = times[0].median
    figures: list[Figure] = []
    for entry in times:
        one, bundle = built[entry.name], built[entry.name].bundle
        weights = (bundle / "weights.bin").stat().st_size
        ratio, limit = entry.median / exact, TIME_LIMITS.get(entry.name)
        figures += [
            Figure(entry.name, f"step, median of {len(entry.seconds)}", entry.median, "s"),
            Figure(entry.name, "step, relative to float32", ratio, "ratio", limit),
            Figure(entry.name, "VmHWM of the steps", entry.peak_rss_bytes, "bytes"),
            Figure(entry.name, "weights in the bundle", weights, "bytes"),
            Figure(entry.name, "compilation", one.used.seconds, "s"),
            Figure(entry.name, "peak memory of the compilation", one.used.peak_rss_bytes, "bytes"),
        ]
    return figures, {"steps": [asdict(entry) for entry in times]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a turn")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daypack-precision-") as folder:
        figures, details = loss_figures(Path(folder))
        print("\n".join(table(figures)), flush=True)
        work = Workspace(Path(folder), given.layers, given.steps)
        more, others = step_figures(work, given.rounds, given.steps)
    print("\n".join(table(more)), flush=True)
    if given.results or given.layers == 12:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/precision.py", *sys.argv[1:]])
        where = keep(place, "precision", command, figures + more, {**details, **others}, REPOSITORY)
        print(f"kept in {where}")


if __name__ == "__main__":
    main()
