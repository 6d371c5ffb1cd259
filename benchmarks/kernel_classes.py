"""Where a step's time goes: each class of kernels' share, and how near it comes to the machine's peaks.

GPT-2 124M, LoRA and full, 4 x 128. The engine times every kernel (`--profile`); its arguments' bytes and its
operations are counted at compile time; what memory and cores give at most is measured in the same run. A
class that takes more than a tenth of a step must move its bytes at 70 % of the measured rate or more; matrix
products and attention are told by their arithmetic and have limits of their own elsewhere. Bytes that lie in
a cache from the kernel before count as moved, so that a share may exceed one.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import Figure, keep
from parity.machine import Peaks, measured_peaks
from parity.specs import FULL, LORA, gpt2
from parity.workspace import Workspace

from daypack import api

REPOSITORY = Path(__file__).resolve().parent.parent
CASES: dict[str, dict[str, Any]] = {"lora": LORA, "full": FULL}
WARM_STEPS = 2
ARITHMETIC = ("gemm", "attention")
"""Classes that are bound by arithmetic."""
SCATTER = "scatter"
SHARE, OF_BANDWIDTH = 0.10, 0.70


@dataclass(frozen=True, slots=True)
class Kernel:
    """One distinct kernel of a step: all its calls together."""

    name: str
    group: str
    source: str
    calls: int
    seconds: float
    bytes_moved: float
    flops: float


@dataclass(frozen=True, slots=True)
class Class:
    """All kernels of a kind, by step."""

    name: str
    calls: int
    seconds: float
    share: float
    bytes_moved: float
    flops: float

    def of_bandwidth(self, peaks: Peaks) -> float:
        return self.bytes_moved / self.seconds / peaks.bytes_per_s if self.seconds else 0.0

    def of_peak(self, peaks: Peaks) -> float:
        return self.flops / self.seconds / peaks.flops_per_s if self.seconds else 0.0


def class_of(kernel: dict[str, Any]) -> str:
    """A kernel's kind; the optimizer's update stands by itself."""
    kind = str(kernel["name"]).rsplit("_", 1)[0]
    return "optimizer update" if "trace_update" in str(kernel["source"]) and kind == "elementwise" else kind


def profiled(bundle: Path, steps: int) -> list[Kernel]:
    """Every kernel's median seconds over `steps` steps.

    The parts of a table that is cut by rows each get all updates of the table, and drop those that fall into
    another part: together the scatters of one source line move the rows once.
    """
    events = list(api.run_bundle(bundle, steps=WARM_STEPS + steps, fresh=True, profile=True))[WARM_STEPS:]
    known = json.loads((bundle / "bundle.json").read_text())["kernels"]
    timings = [[e.profile["kernels"][n] for e in events if e.profile] for n in range(len(known))]
    sharers = Counter[str]()
    for about, timed in zip(known, timings, strict=True):
        sharers[about["source"]] += int(timed[-1]["calls"]) if class_of(about) == SCATTER else 0
    kernels: list[Kernel] = []
    for about, timed in zip(known, timings, strict=True):
        calls = int(timed[-1]["calls"])
        parts = sharers[about["source"]] if class_of(about) == SCATTER else 1
        kernels.append(
            Kernel(
                about["name"],
                class_of(about),
                about["source"],
                calls,
                statistics.median(float(entry["seconds"]) for entry in timed),
                float(about["bytes"]) * calls / parts,
                float(about["flops"]) * calls,
            )
        )
    return kernels


def classes_of(kernels: Sequence[Kernel]) -> list[Class]:
    """The classes, that of the longest time first."""
    total = sum(kernel.seconds for kernel in kernels)
    found: list[Class] = []
    for name in dict.fromkeys(kernel.group for kernel in kernels):
        own = [kernel for kernel in kernels if kernel.group == name]
        seconds = sum(kernel.seconds for kernel in own)
        moved, flops = sum(kernel.bytes_moved for kernel in own), sum(kernel.flops for kernel in own)
        calls = sum(kernel.calls for kernel in own)
        found.append(Class(name, calls, seconds, seconds / total, moved, flops))
    return sorted(found, key=lambda entry: -entry.seconds)


def figures_of(section: str, classes: Sequence[Class], peaks: Peaks) -> list[Figure]:
    """Each class's share of the step, at most a tenth where it moves its bytes more slowly than asked."""
    figures: list[Figure] = []
    for entry in classes:
        free = entry.name in ARITHMETIC or entry.of_bandwidth(peaks) >= OF_BANDWIDTH
        name = f"{entry.name}: share of the kernels' time"
        figures.append(Figure(section, name, entry.share, "ratio", None if free else SHARE))
    return figures


def class_table(classes: Sequence[Class], peaks: Peaks) -> list[str]:
    """Markdown."""
    head = ("class", "calls", "ms", "share", "MB moved", "GB/s", "of bandwidth", "GFLOP/s", "of FMA peak")
    rows = [head, ("---",) * len(head)]
    for entry in classes:
        arithmetic = entry.name in ARITHMETIC
        rate = entry.flops / entry.seconds / 1e9 if entry.seconds else 0.0
        rows.append(
            (
                entry.name,
                str(entry.calls),
                f"{entry.seconds * 1e3:.1f}",
                f"{entry.share:.1%}",
                f"{entry.bytes_moved / 1e6:.0f}",
                f"{entry.bytes_moved / entry.seconds / 1e9:.1f}" if entry.seconds else "",
                f"{entry.of_bandwidth(peaks):.0%}",
                f"{rate:.1f}" if arithmetic else "",
                f"{entry.of_peak(peaks):.0%}" if arithmetic else "",
            )
        )
    return [f"| {' | '.join(row)} |" for row in rows]


def kernel_rows(kernels: Sequence[Kernel], peaks: Peaks, count: int = 20) -> list[str]:
    """The kernels that take longest, as Markdown."""
    head = ("kernel", "made at", "calls", "ms", "of bandwidth", "of FMA peak")
    rows = [head, ("---",) * len(head)]
    for kernel in sorted(kernels, key=lambda kernel: -kernel.seconds)[:count]:
        seconds = max(kernel.seconds, 1e-9)
        rows.append(
            (
                f"`{kernel.name}`",
                kernel.source,
                str(kernel.calls),
                f"{kernel.seconds * 1e3:.2f}",
                f"{kernel.bytes_moved / seconds / peaks.bytes_per_s:.0%}",
                f"{kernel.flops / seconds / peaks.flops_per_s:.0%}",
            )
        )
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script out")
    parser.add_argument("--steps", type=int, default=7, help="counted steps")
    parser.add_argument("--results", type=Path, help="where the results are kept")
    given = parser.parse_args()
    peaks = measured_peaks()
    figures = [
        Figure("machine", "memory, triad", peaks.bytes_per_s, "B/s"),
        Figure("machine", "fused multiply-adds", peaks.flops_per_s, "FLOP/s"),
    ]
    tables: dict[str, list[str]] = {}
    details: dict[str, Any] = {"layers": given.layers, "tables": tables}
    with tempfile.TemporaryDirectory(prefix="daypack-classes-") as folder:
        work = Workspace(Path(folder), given.layers, given.steps)
        for name in given.cases or CASES:
            built = work.build(gpt2(work.ids, work.config, CASES[name]))
            kernels = profiled(built.bundle, given.steps)
            classes = classes_of(kernels)
            figures += figures_of(name, classes, peaks)
            tables[f"{name}: classes"] = class_table(classes, peaks)
            tables[f"{name}: kernels"] = kernel_rows(kernels, peaks)
            details[name] = [asdict(kernel) for kernel in kernels]
            print("\n".join([f"## {name}", "", *class_table(classes, peaks), ""]), flush=True)
    if given.results or given.layers == 12:
        place = given.results or REPOSITORY / "benchmarks" / "results"
        command = shlex.join(["python", "benchmarks/kernel_classes.py", *sys.argv[1:]])
        print(f"kept in {keep(place, 'kernel-classes', command, figures, details, REPOSITORY)}")
    sys.exit(0 if all(figure.kept for figure in figures) else 1)


if __name__ == "__main__":
    main()
