"""What packing the right operand costs: the most of a product's time that matrices stored packed could save.

Each product of a frozen matrix, forward (x·W) and backward (dy·Wᵀ), is timed as the compiler makes it and
with its multiplications left out, in turns. A matrix packed ahead of time would still be read.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gemm import CASES, CORES, REPOSITORY, code_of, in_turns, operands
from parity.figures import Figure, keep
from parity.threads import Team, aligned

from daypack.compiler.kernels.gemm import _Product
from daypack.compiler.pipeline import kernel_target
from daypack.devices import load_profile

WHOLE, PACKING = "whole", "packing alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    given = parser.parse_args()
    target = kernel_target(load_profile("host"))
    products = [p for case in CASES.values() for p in case if not p.form.startswith("xᵀ")]
    codes = [code_of(product, target) for product in products]
    with patch.object(_Product, "_register_tile", lambda *_: None):
        alone = [code_of(product, target) for product in products]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="daypack-packing-") as folder:
        team = Team([*codes, *alone], 3, target, CORES, Path(folder))
        for number, product in enumerate(products):
            x, y = operands(product)
            arrays = [x, y, aligned(product.rows * product.columns)]
            calls = {WHOLE: team.call(number, arrays), PACKING: team.call(number + len(codes), arrays)}
            times = in_turns(calls, given.turns)
            share = median(p / w for p, w in zip(times[PACKING], times[WHOLE], strict=True))
            figures.append(Figure(product.name, "packing of the right operand", share, "ratio"))
            print(f"{product.name}: {share:.3f}", flush=True)
    command = shlex.join(["python", "benchmarks/packing.py", *sys.argv[1:]])
    print(f"kept in {keep(given.results, 'packing', command, figures, {'threads': CORES}, REPOSITORY)}")


if __name__ == "__main__":
    main()
