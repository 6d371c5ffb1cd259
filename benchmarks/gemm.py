# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportMissingTypeStubs=false
"""The large matrix products of GPT-2 124M and Qwen2.5-0.5B: ours, OpenBLAS, Eigen (XLA's), MKL (PyTorch's).

Every product is timed with its packing, on as many threads as there are cores, all contenders in turns in
one process; ours on the threads of the engine. A ratio is the median over the turns of their time by ours.
The peak is that of a loop of multiply-adds in registers on the same threads, the best of its turns.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OPENBLAS_THREAD_TIMEOUT"] = "20"  # its threads spin for 2^20 cycles after a product, not 2^26
os.environ["XLA_FLAGS"] = "--xla_cpu_experimental_ynn_fusion_type="  # Eigen; else XLA may take YNNPACK
sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
import jax.numpy as jnp
import numpy as np
from parity.figures import Figure, commit, keep
from parity.threads import Array, Team, aligned

from daypack.compiler.graph import Node, Role
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.select import schedule
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.pipeline import kernel_target, optimize
from daypack.compiler.trace import Argument, trace
from daypack.devices import load_profile

REPOSITORY = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))
OURS, OPENBLAS, EIGEN, MKL = "ours", "OpenBLAS", "Eigen", "MKL"
HEAD_ROW = f"| product | {OURS} | {OPENBLAS} | {EIGEN} | {MKL} | of the peak | schedule |"
PEAK = "multiply-adds in registers"
TURN_S, PAUSE_S, WARM_CALLS = 0.02, 0.01, 3
FORMS = {"x·W": "mk,kn->mn", "dy·Wᵀ": "mk,nk->mn", "xᵀ·dy": "km,kn->mn"}


@dataclass(frozen=True)
class Product:
    """rows × depth by depth × columns; `equation` tells how the operands lie."""

    form: str
    rows: int
    columns: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.form} {self.rows}x{self.columns}x{self.depth}"

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.columns * self.depth

    def shapes(self) -> list[tuple[int, ...]]:
        sizes = {"m": self.rows, "n": self.columns, "k": self.depth}
        return [tuple(sizes[axis] for axis in part) for part in FORMS[self.form].split("->")[0].split(",")]


def of_layer(tokens: int, inputs: int, outputs: int) -> list[Product]:
    """Forward, gradient of the input, gradient of the matrix."""
    return [
        Product("x·W", tokens, outputs, inputs),
        Product("dy·Wᵀ", tokens, inputs, outputs),
        Product("xᵀ·dy", inputs, outputs, tokens),
    ]


GPT2 = [p for i, o in ((768, 768), (768, 2304), (768, 3072), (3072, 768)) for p in of_layer(512, i, o)]
HEAD = [Product("dy·Wᵀ", 512, 4032, 768), Product("x·W", 512, 768, 4032), Product("xᵀ·dy", 4032, 768, 512)]
QWEN = [p for i, o in ((896, 896), (896, 4864), (4864, 896), (896, 128)) for p in of_layer(256, i, o)[:2]]
CASES = {"gpt2": GPT2, "head": HEAD, "qwen": QWEN}


def node_of(product: Product) -> Node:
    """The fused node that the compiler makes of it."""

    def step(*trees: Any) -> dict[str, Any]:
        operands = [tree[str(n)] for n, tree in enumerate(trees)]
        return {"y": jnp.einsum(FORMS[product.form], *operands)}

    shapes = product.shapes()
    arguments = [Argument({str(n): np.zeros(s, np.float32)}, Role.BATCH) for n, s in enumerate(shapes)]
    (node,) = optimize(trace("product", step, arguments)).nodes
    return node


def code_of(product: Product, target: KernelTarget) -> KernelCode:
    """Its schedule."""
    node = node_of(product)
    if node.body is None:
        raise SystemExit(f"{product.name}: not a kernel")
    return schedule(node.attrs["kind"], node.body, target)


def operands(product: Product) -> list[Array]:
    """Random operands, each on a boundary of a cache line."""
    generator = np.random.Generator(np.random.PCG64(1))
    made: list[Array] = []
    for shape in product.shapes():
        array = aligned(int(np.prod(shape))).reshape(shape)
        array[...] = generator.standard_normal(shape, np.float32)
        made.append(array)
    return made


def peers(product: Product, x: Array, y: Array) -> dict[str, Callable[[], Any]]:
    """What each contender calls; all leave the product in memory before they return."""
    equation = FORMS[product.form]
    compiled = jax.jit(lambda a, b: jnp.einsum(equation, a, b))
    a, b = jax.device_put(x), jax.device_put(y)
    left, right = (x.T if product.form == "xᵀ·dy" else x), (y.T if product.form == "dy·Wᵀ" else y)
    out = np.empty((product.rows, product.columns), np.float32)
    calls: dict[str, Callable[[], Any]] = {
        OPENBLAS: lambda: np.matmul(left, right, out=out),
        EIGEN: lambda: compiled(a, b).block_until_ready(),
    }
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(CORES)
        s, t, into = torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(np.empty_like(out))
        calls[MKL] = lambda: torch.matmul(s, t, out=into)
    return calls


def in_turns(calls: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of one call of each, by turn.

    A turn lasts TURN_S whoever's it is. It begins after a pause in which the threads of the one before go to
    sleep, with calls that are not counted: they wake its own threads and bring its memory into the caches.
    """
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        _timed(call, WARM_CALLS)
        repeats[name] = max(3, round(TURN_S / _timed(call, WARM_CALLS)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns):
        names = list(calls)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE_S)
            _timed(calls[name], WARM_CALLS)
            times[name].append(_timed(calls[name], repeats[name]))
    return times


def _timed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def library_of_xla() -> str:
    """What XLA calls for a product: a plain `dot` of its runtime is Eigen's."""
    x = jnp.zeros((512, 768))
    text = jax.jit(lambda a: a @ a.T).lower(x).compile().as_text() or ""
    found = [name for name in ("ynn", "xnn", "onednn", "custom-call") if name in text]
    return found[0] if found else EIGEN


@dataclass(frozen=True)
class Measured:
    """One product: each contender's FLOP/s, and our rate by that of each other, the median over the turns."""

    product: Product
    schedule: str
    peak: float
    rates: dict[str, float]
    ratios: dict[str, float]

    def row(self) -> str:
        """Markdown."""
        cells = [f"{self.rates[OURS] / 1e9:.0f}"]
        cells += [f"{self.rates[name] / 1e9:.0f} ({ratio:.2f})" for name, ratio in self.ratios.items()]
        share = self.rates[OURS] / self.peak
        return f"| {self.product.name} | {' | '.join(cells)} | {share:.2f} | {self.schedule} |"

    def figures(self) -> list[Figure]:
        """Ours and the ratios, of which OpenBLAS's and Eigen's must be one at least."""
        share = self.rates[OURS] / self.peak
        return [
            Figure(self.product.name, OURS, self.rates[OURS], "FLOP/s"),
            *(Figure(self.product.name, f"ours by {name}", r, "ratio") for name, r in self.ratios.items()),
            Figure(self.product.name, "share of the measured peak", share, "ratio"),
        ]


def measured(product: Product, team: Team, number: int, code: KernelCode, turns: int) -> Measured:
    """Every contender's time of a product, and whether ours is right.

    Raises:
        SystemExit: ours is wrong.
    """
    x, y = operands(product)
    out = aligned(product.rows * product.columns)
    ours = team.call(number, [x, y, out, *(aligned(size // 4) for size in code.workspace_bytes)])
    ours()
    wanted = np.einsum(FORMS[product.form], x, y, optimize=True)
    gap = float(np.abs(out.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
    if gap > 1e-5:
        raise SystemExit(f"{product.name}: wrong by {gap:.1e}")
    loop, work = team.peak()
    times = in_turns({OURS: ours, **peers(product, x, y), PEAK: loop}, turns)
    peak = work / min(times.pop(PEAK))
    rates = {name: product.flops / median(seconds) for name, seconds in times.items()}
    own = times.pop(OURS)
    ratios = {
        name: median(b / a for a, b in zip(own, seconds, strict=True)) for name, seconds in times.items()
    }
    return Measured(product, code.schedule, peak, rates, ratios)


def kept(results: Path, runs: list[Measured]) -> Path:
    """Keep the results; those of other products that a run of the same commit kept today stay."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    path = results / f"{date}-gemm.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    same = earlier.get("commit") == commit(REPOSITORY)
    rows = {name: row for name, row in earlier["details"]["rows"].items()} if same else {}
    rows |= {run.product.name: run.row() for run in runs}
    figures = [Figure(**figure) for figure in earlier["figures"]] if same else []
    own = {run.product.name for run in runs}
    figures = [f for f in figures if f.section not in own] + [f for run in runs for f in run.figures()]
    table = [HEAD_ROW, "|---" * (HEAD_ROW.count("|") - 1) + "|", *rows.values()]
    details = {"threads": CORES, "rows": rows, "tables": {"GFLOP/s (our rate by theirs)": table}}
    command = shlex.join(["python", "benchmarks/gemm.py", *sys.argv[1:]])
    return keep(results, "gemm", command, figures, details, REPOSITORY)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--only", default="", help="products whose name has this in it")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    given = parser.parse_args()
    if library_of_xla() != EIGEN:
        raise SystemExit(f"XLA takes {library_of_xla()} for products here, not Eigen")
    target = kernel_target(load_profile("host"))
    products = [p for name in given.cases or CASES for p in CASES[name] if given.only in p.name]
    codes = [code_of(product, target) for product in products]
    runs: list[Measured] = []
    print(HEAD_ROW)
    with tempfile.TemporaryDirectory(prefix="daypack-gemm-") as folder:
        team = Team(codes, 3, target, CORES, Path(folder))
        for number, (product, code) in enumerate(zip(products, codes, strict=True)):
            runs.append(measured(product, team, number, code, given.turns))
            print(runs[-1].row(), flush=True)
    behind = [r.product.name for r in runs if min(r.ratios[OPENBLAS], r.ratios[EIGEN]) < 1]
    print(f"behind OpenBLAS or Eigen: {', '.join(behind) or 'none'}")
    if not given.dry:
        print(f"kept in {kept(given.results, runs)}")


if __name__ == "__main__":
    main()
