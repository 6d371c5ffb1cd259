"""The full-size and long checks: GPT-2 124M against JAX, its compilation, its step, its kernels for ARM.

`python benchmarks/proof.py` runs all sections, `python benchmarks/proof.py parity-lora time-full` some. Exit
code 1 if a figure is above its limit. Results go to benchmarks/results/ with date, machine, commit and
command; `--layers 2 --budgets 3` is for trying the script out and keeps nothing unless `--results` says
where.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
from parity.ablation import ablation_section
from parity.bodies import bodies_of
from parity.compare import Parity, compare, relative_losses
from parity.contenders import Engine, in_turns, jax_worker
from parity.engine import run_engine, state_file
from parity.families import FAMILIES
from parity.figures import Figure, keep, table
from parity.kernels import Suite
from parity.promise import DEEP, budgets_section, depth_section
from parity.reference import QUICK_COMPILE, Reference, batches_of
from parity.specs import FULL, LORA, gpt2
from parity.workspace import BUDGETS, Built, Workspace
from parity.zigzag import zigzag
from survival.sections import SURVIVAL
from tokenizing.section import token_ids

from daypack import api
from daypack.compiler.pipeline import kernel_target
from daypack.devices import load_profile
from daypack.runtime.launch import find_emulator
from daypack.spec import TrainSpec

REPOSITORY = Path(__file__).resolve().parent.parent
LOSS, CHANGE, ZERO = 5e-6, 1e-3, 1e-5
COMPILE_SECONDS, COMPILE_BYTES = 120.0, 4e9
STEP_RATIO = 2.0
EXACT_RATIO = 2.0
KERNEL_RELATIVE, KERNEL_LARGEST = 1e-5, 3e-5
"""The longest sums have 50257 terms: two orders of additions may differ by 224 roundings of 6e-8."""
ROUNDS, TURN_STEPS = 5, 3
WINDOW = {"gradient_accumulation_steps": 4}

Section = Callable[[Workspace, dict[str, Any]], list[Figure]]


def parity_section(name: str, method: dict[str, Any], **train: Any) -> Section:
    """Ten steps of the engine and of JAX from the same start and data; compile and memory besides."""

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = gpt2(work.ids, work.config, method, **train)
        built = work.build(spec)
        reference = Reference(spec, QUICK_COMPILE if spec.train.dropout else {})
        theirs = reference.run(batches_of(built.bundle, spec, work.steps))
        events = list(api.run_bundle(built.bundle, steps=1, fresh=True))
        found = compare(reference.initial(), run_engine(built.bundle, work.steps), theirs)
        details[name] = {**found.as_json(), "compile": built.said}
        print(f"{name}: {found.line()}", flush=True)
        return [
            *_parity(name, found),
            *_compile(name, built),
            *_memory(name, built, events[-1].peak_rss_bytes),
        ]

    return run


def exact_section(name: str, method: dict[str, Any]) -> Section:
    """How far ten steps of the engine and of XLA's float32 are from the same steps in float64.

    A first step of Adam moves by the sign of a gradient: where that is rounding, two float32 programs differ.
    """

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = gpt2(work.ids, work.config, method)
        bundle = work.build(spec).bundle
        batches = batches_of(bundle, spec, work.steps)
        ours = run_engine(bundle, work.steps)
        single = Reference(spec)
        initial, xla = single.initial(), single.run(batches)
        del single
        with jax.enable_x64(True):
            exact = Reference(spec, plain=True, dtype="float64").run(batches)
        near, theirs = (compare(initial, trained, exact) for trained in (ours, xla))
        details[name] = {"engine": near.as_json(), "xla": theirs.as_json()}
        print(f"{name}: engine {near.line()}\n{name}: XLA {theirs.line()}", flush=True)
        ratio = near.worst_array.relative / theirs.worst_array.relative
        return [
            Figure(name, "engine: loss against float64, relative", near.worst_loss, "", LOSS),
            Figure(name, "XLA: loss against float64, relative", theirs.worst_loss, ""),
            Figure(name, "engine: change against float64, worst array", near.worst_array.relative, ""),
            Figure(name, "XLA: change against float64, worst array", theirs.worst_array.relative, ""),
            Figure(name, "engine / XLA", ratio, "ratio", EXACT_RATIO),
        ]

    return run


def _parity(name: str, found: Parity) -> list[Figure]:
    worst = found.worst_array
    return [
        Figure(name, f"loss, worst of {len(found.losses)} steps, relative", found.worst_loss, "", LOSS),
        Figure(
            name, f"change, worst of {len(found.arrays)} arrays ({worst.name})", worst.relative, "", CHANGE
        ),
        Figure(
            name, f"change of {len(found.zero)} slices of zero gradient, absolute", found.worst_zero, "", ZERO
        ),
        Figure(name, "trainable arrays that did not change", len(found.unchanged), "count", 0),
    ]


def _compile(name: str, built: Built) -> list[Figure]:
    return [
        Figure(name, "compile, whole process", built.used.seconds, "s", COMPILE_SECONDS),
        Figure(name, "compile, peak resident memory", built.used.peak_rss_bytes, "bytes", COMPILE_BYTES),
        Figure(name, "kernels", built.said["kernels"], "count"),
    ]


def _memory(name: str, built: Built, peak_rss_bytes: int) -> list[Figure]:
    predicted = built.said["predicted"]["peak_bytes"]
    return [
        Figure(name, "engine, peak memory predicted", predicted, "bytes", source="modelled"),
        Figure(name, "engine, VmHWM", peak_rss_bytes, "bytes", predicted),
    ]


def threads(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """State and losses of 3 steps with 1, 2 and 4 threads, byte for byte."""
    figures: list[Figure] = []
    for name, method, train in (("lora", LORA, {}), ("full", FULL, WINDOW)):
        bundle = work.build(gpt2(work.ids, work.config, method, **train)).bundle
        results: set[tuple[tuple[float, ...], bytes]] = set()
        for count in (1, 2, 4):
            losses = run_engine(bundle, 3, threads=count).losses
            results.add((losses, state_file(bundle).read_bytes()))
        figures.append(
            Figure("threads", f"{name}: distinct results of 1, 2 and 4 threads", len(results), "count", 1)
        )
    return figures


def compile_cold(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """The first compilation on a machine: the engine's sources and the C library are built too."""
    spec = gpt2(work.ids, work.config, LORA)
    with tempfile.TemporaryDirectory(dir=work.folder) as cache:
        places = {"XDG_CACHE_HOME": cache, "ZIG_GLOBAL_CACHE_DIR": f"{cache}/zig"}
        built = work.compile(spec, None, "cold.bundle", places)
    return [Figure("compile-cold", "compile with empty caches", built.used.seconds, "s")]


def time_section(name: str, method: dict[str, Any]) -> Section:
    """The engine's step against `jax.jit`'s, in turns: with the loss as JAX users write it, and with ours."""

    def run(work: Workspace, details: dict[str, Any]) -> list[Figure]:
        spec = gpt2(work.ids, work.config, method)
        bundle = work.build(spec).bundle
        peers = [jax_worker(bundle, spec), jax_worker(bundle, spec, plain=False)]
        ours, *theirs = in_turns([Engine(bundle), *peers], ROUNDS, TURN_STEPS)
        details[name] = [asdict(times) for times in (ours, *theirs)]
        best = min(theirs, key=lambda times: times.median)
        figures = [
            Figure(name, f"{times.name}: step, median", times.median, "s") for times in (ours, *theirs)
        ]
        figures += [
            Figure(name, f"{times.name}: VmHWM of the steps", times.peak_rss_bytes, "bytes")
            for times in (ours, *theirs)
        ]
        ratio = ours.median / best.median
        return [*figures, Figure(name, f"engine / {best.name}, medians", ratio, "ratio", STEP_RATIO)]

    return run


def kernels_aarch64(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Every distinct kernel at its published size, as compiled for a phone: the first two tiles of every
    phase and the last, under the emulator, against the interpreter.
    """
    dropped = {"dropout": 0.1, **WINDOW}
    specs = [
        gpt2(work.ids, work.config, LORA),
        gpt2(work.ids, work.config, FULL),
        gpt2(work.ids, work.config, FULL, **dropped),
        gpt2(work.ids, work.config, LORA, **dropped, lora_dropout=0.1),
    ]
    bodies = bodies_of(specs)
    with tempfile.TemporaryDirectory(dir=work.folder) as folder:
        suite = Suite(bodies, kernel_target(load_profile("cortex-a76")), Path(folder), [find_emulator()])
        results = []
        for number, body in enumerate(bodies):
            results.append(suite.judge(number, some_tiles=True))
            print(f"kernels-aarch64: {number + 1} of {len(bodies)}, {body.name}", flush=True)
    details["kernels-aarch64"] = [asdict(result) for result in results]
    worst = max(results, key=lambda result: result.relative)
    largest = max(results, key=lambda result: result.largest)
    none = sum(result.computed == 0 for result in results)
    title = "kernels-aarch64"
    return [
        Figure(title, "distinct kernels", len(results), "count"),
        Figure(title, "kernels of which nothing was computed", none, "count", 0),
        Figure(
            title,
            f"difference in norm, relative ({worst.name})",
            worst.relative,
            "",
            KERNEL_RELATIVE,
            "emulated",
        ),
        Figure(
            title,
            f"difference of an element by the largest ({largest.name})",
            largest.largest,
            "",
            KERNEL_LARGEST,
            "emulated",
        ),
    ]


def aarch64(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """Twenty steps of a small GPT-2 on both architectures."""
    small = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512, "n_positions": 32}
    from parity.specs import write_ids

    ids = write_ids(work.folder / "ids-512.jsonl", 512, 20_000)
    figures: list[Figure] = []
    for name, method in (("lora", LORA), ("full", FULL)):
        spec: TrainSpec = gpt2(ids, small, method, batch=2, sequence=32, max_steps=20)
        here = run_engine(work.build(spec).bundle, 20)
        there = run_engine(work.build(spec, "cortex-a76").bundle, 20, via="emulated")
        worst = max(relative_losses(there.losses, here.losses))
        figures.append(
            Figure("aarch64", f"{name}: loss, worst of 20 steps, relative", worst, "", LOSS, "emulated")
        )
    return figures


SECTIONS: dict[str, Section] = {
    "parity-lora": parity_section("parity-lora", LORA),
    "parity-full": parity_section("parity-full", FULL),
    "parity-lora-window": parity_section("parity-lora-window", LORA, **WINDOW),
    "parity-full-window": parity_section("parity-full-window", FULL, **WINDOW),
    "parity-lora-dropout": parity_section("parity-lora-dropout", LORA, dropout=0.1, lora_dropout=0.05),
    "parity-full-dropout": parity_section("parity-full-dropout", FULL, dropout=0.1, **WINDOW),
    "exact-lora": exact_section("exact-lora", LORA),
    "exact-full": exact_section("exact-full", FULL),
    "threads": threads,
    "compile-cold": compile_cold,
    "time-lora": time_section("time-lora", LORA),
    "time-full": time_section("time-full", FULL),
    "budgets-lora": budgets_section("budgets-lora", LORA),
    "budgets-full": budgets_section("budgets-full", FULL),
    "budgets-lora-dropout": budgets_section("budgets-lora-dropout", LORA, dropout=0.1, lora_dropout=0.05),
    "budgets-full-dropout": budgets_section("budgets-full-dropout", FULL, dropout=0.1),
    "depth-lora": depth_section("depth-lora", LORA, 160_000_000, 1.35, None),
    "depth-full": depth_section("depth-full", FULL, 256_000_000, 2.0, 2_100_000_000),
    "ablation-lora": ablation_section("ablation-lora", LORA, 160_000_000, **DEEP),
    "ablation-full": ablation_section("ablation-full", FULL, 256_000_000, **DEEP),
    **FAMILIES,
    "zigzag-lora": zigzag,
    "kernels-aarch64": kernels_aarch64,
    "aarch64": aarch64,
    "token-ids": token_ids,
    **SURVIVAL,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--budgets", type=int, default=BUDGETS, help="fewer, to try the budgets out")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long `soak` lasts")
    parser.add_argument("--work", type=Path, help="where bundles are kept; else a temporary folder")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    unknown = set(given.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    chosen = given.sections or list(SECTIONS)
    figures: list[Figure] = []
    details: dict[str, Any] = {"layers": given.layers, "steps": given.steps}
    with tempfile.TemporaryDirectory(prefix="daypack-proof-") as temporary:
        folder = given.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        work = Workspace(folder, given.layers, given.steps, given.budgets, given.seconds)
        for name in chosen:
            print(f"{name} ...", flush=True)
            found = SECTIONS[name](work, details)
            figures += found
            print("\n".join(table(found)), flush=True)
    published = (given.layers, given.budgets) == (12, BUDGETS)
    if given.results or published:
        every = len(chosen) == len(SECTIONS)
        title = "proof" if every else "proof-" + ("-".join(chosen) if len(chosen) < 3 else "some")
        sizes = ["--layers", str(given.layers), "--steps", str(given.steps), "--budgets", str(given.budgets)]
        trial = [] if published else sizes
        command = shlex.join(["python", "benchmarks/proof.py", *given.sections, *trial])
        place = given.results or REPOSITORY / "benchmarks" / "results"
        print(f"kept in {keep(place, title, command, figures, details, REPOSITORY)}")
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
