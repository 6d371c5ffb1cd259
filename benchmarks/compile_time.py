"""Seconds of a compilation with nothing kept from before, and of the next one of the same step.

GPT-2 124M, LoRA and full, 4 x 128, and LoRA on the shapes of Gemma 3 1B in bfloat16, 1 x 256. A compilation
is a process of its own, its start included. The first finds an empty cache folder, so that the engine, the
planner's search and every kernel are compiled.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import Figure, keep, table
from parity.specs import FULL, GEMMA3_1B, LORA, LORA_QV, gpt2, training
from parity.workspace import Workspace

from daypack.spec import TrainSpec

REPOSITORY = Path(__file__).resolve().parent.parent
CASES: dict[str, dict[str, Any]] = {"lora": LORA, "full": FULL}
LARGE = "gemma3-1b"
COLD_SECONDS, WARM_SECONDS = 60.0, 15.0
LARGE_SECONDS = 120.0


def spec_of(work: Workspace, name: str) -> TrainSpec:
    """What a case compiles."""
    if name != LARGE:
        return gpt2(work.ids, work.config, CASES[name])
    train = {**LORA_QV, "frozen_dtype": "bfloat16"}
    return training("gemma3", work.ids, GEMMA3_1B, train, batch=1, sequence=256)


def measure(work: Workspace, name: str) -> list[Figure]:
    """Compile twice with a cache folder of its own."""
    spec = spec_of(work, name)
    folder = work.folder / f"cache-{name}"
    environment = {"XDG_CACHE_HOME": str(folder), "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}
    figures: list[Figure] = []
    cold = LARGE_SECONDS if name == LARGE else COLD_SECONDS
    for what, limit in (("nothing kept from before", cold), ("the second time", WARM_SECONDS)):
        used = work.compile(spec, None, f"{name}-{len(figures)}.bundle", environment).used
        figures.append(Figure(name, f"compile, {what}", used.seconds, "s", limit))
        figures.append(Figure(name, f"compile, {what}: peak memory", used.peak_rss_bytes, "bytes"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, LARGE, []], help="which; else all")
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="daypack-compile-") as folder:
        work = Workspace(Path(folder), given.layers, 1)
        for name in given.cases or [*CASES, LARGE]:
            found = measure(work, name)
            figures += found
            print("\n".join(table(found)), flush=True)
    if given.results or given.layers == 12:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/compile_time.py", *sys.argv[1:]])
        print(
            f"kept in {keep(place, 'compile-time', command, figures, {'layers': given.layers}, REPOSITORY)}"
        )
    sys.exit(0 if all(figure.kept for figure in figures) else 1)


if __name__ == "__main__":
    main()
