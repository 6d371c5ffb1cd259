# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportMissingTypeStubs=false
"""The large matrix products of GPT-2 124M and Qwen2.5-0.5B: ours, OpenBLAS, Eigen (XLA's), MKL (PyTorch's).

Every product is timed with its packing, on as many threads as there are cores, all contenders in turns in one
process. A ratio is the median over the turns of their time by ours; the peak is that of a loop of
multiply-adds in registers on as many threads.
"""

from __future__ import annotations

import argparse
import importlib.util
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

os.environ["XLA_FLAGS"] = "--xla_cpu_experimental_ynn_fusion_type="  # Eigen; else XLA may take YNNPACK
sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
import jax.numpy as jnp
import numpy as np
from parity.figures import Figure, keep
from parity.threads import Array, Team, aligned

from daypack.compiler.graph import Node, Role
from daypack.compiler.kernels.select import schedule
from daypack.compiler.pipeline import kernel_target, optimize
from daypack.compiler.trace import Argument, trace
from daypack.devices import load_profile

REPOSITORY = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))
OPENBLAS, EIGEN, MKL = "OpenBLAS", "Eigen", "MKL"
PEAK = "multiply-adds in registers"
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


def in_turns(calls: dict[str, Callable[[], Any]], turns: int, flops: float) -> dict[str, list[float]]:
    """Seconds of one call of each, by turn; each turn lasts some 20 ms and begins with a call not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeats = max(1, round(0.02 / (flops / 100e9)))
    for turn in range(turns):
        names = list(calls)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            calls[name]()
            start = time.perf_counter()
            for _ in range(repeats):
                calls[name]()
            times[name].append((time.perf_counter() - start) / repeats)
    return times


def library_of_xla() -> str:
    """What XLA calls for a product: a plain `dot` of its runtime is Eigen's."""
    x = jnp.zeros((512, 768))
    text = jax.jit(lambda a: a @ a.T).lower(x).compile().as_text() or ""
    found = [name for name in ("ynn", "xnn", "onednn", "custom-call") if name in text]
    return found[0] if found else EIGEN


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; else all")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    given = parser.parse_args()
    if library_of_xla() != EIGEN:
        raise SystemExit(f"XLA takes {library_of_xla()} for products here, not Eigen")
    target = kernel_target(load_profile("host"))
    products = [product for name in given.cases or CASES for product in CASES[name]]
    codes = []
    for node in map(node_of, products):
        assert node.body is not None
        codes.append(schedule(node.attrs["kind"], node.body, target))
    figures: list[Figure] = []
    rows = ["| product | ours | " + " | ".join((OPENBLAS, EIGEN, MKL)) + " | of the peak |", "|---" * 6 + "|"]
    with tempfile.TemporaryDirectory(prefix="daypack-gemm-") as folder:
        team = Team(codes, 3, target, CORES, Path(folder))
        loop, work = team.peak()
        for number, product in enumerate(products):
            x, y = operands(product)
            out = aligned(product.rows * product.columns)
            spaces = [aligned(size // 4) for size in codes[number].workspace_bytes]
            ours = team.call(number, [x, y, out, *spaces])
            ours()
            left, right = (x.T if product.form == "xᵀ·dy" else x), (y.T if product.form == "dy·Wᵀ" else y)
            wanted = left @ right
            gap = float(np.abs(out.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
            if gap > 1e-5:
                raise SystemExit(f"{product.name}: wrong by {gap:.1e}")
            times = in_turns({"ours": ours, **peers(product, x, y), PEAK: loop}, given.turns, product.flops)
            peak = work / median(times.pop(PEAK))
            rate = product.flops / median(times["ours"])
            cells = [f"{rate / 1e9:.0f}"]
            figures.append(Figure(product.name, "ours", rate, "FLOP/s"))
            for name, seconds in times.items():
                if name != "ours":
                    ratio = median(b / a for a, b in zip(times["ours"], seconds, strict=True))
                    figures.append(Figure(product.name, f"ours by {name}", ratio, "ratio"))
                    cells.append(f"{product.flops / median(seconds) / 1e9:.0f} ({ratio:.2f})")
            figures.append(Figure(product.name, "share of the measured peak", rate / peak, "ratio"))
            rows.append(f"| {product.name} | {' | '.join(cells)} | {rate / peak:.2f} |")
            print(rows[-1], codes[number].schedule, flush=True)
    if not given.dry:
        head = "GFLOP/s (our rate by theirs)"
        details = {"threads": CORES, "tables": {head: rows}}
        command = shlex.join(["python", "benchmarks/gemm.py", *sys.argv[1:]])
        print(f"kept in {keep(given.results, 'gemm', command, figures, details, REPOSITORY)}")


if __name__ == "__main__":
    main()
