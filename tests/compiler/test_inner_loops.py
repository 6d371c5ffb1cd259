# pyright: reportUnknownMemberType=false
"""The inner loop of a matrix product in each processor's assembly, and the time LLVM's models give it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from daypack.compiler.kernels.lower import lowered
from daypack.compiler.pipeline import kernel_target
from daypack.devices import load_profile
from tests.compiler.graphs import fused, fused_in_half
from tests.compiler.harness import Array, kernel_of

MCA = "llvm-mca-19"
ITERATIONS = 100
VECTOR_UPDATES = 8 * 3 * 8  #: rows, vectors a row, steps written out
VECTORS = {"float32": "4s", "float16": "8h"}


@dataclass(frozen=True)
class Row:
    """One profile and element type; `per_cycle` are multiply-adds of vectors that the core starts."""

    profile: str
    model: str
    per_cycle: int
    at_least: float
    dtype: str = "float32"


ROWS = (
    Row("cortex-a76", "neoverse-n1", 2, 0.95),
    Row("cortex-x3", "neoverse-v2", 4, 0.95),
    Row("cortex-a510", "cortex-a510", 2, 0.75),
    Row("cortex-a76", "neoverse-n1", 2, 0.95, "float16"),
    Row("cortex-x3", "neoverse-v2", 4, 0.95, "float16"),
    Row("cortex-a510", "cortex-a510", 2, 0.75, "float16"),
)
FORMS = {"x·W": "mk,kn->mn", "dy·Wᵀ": "mk,nk->mn", "xᵀ·dy": "km,kn->mn"}
SIZES = {"m": 64, "k": 768, "n": 96}


def operand(axes: str) -> Array:
    return np.zeros([SIZES[axis] for axis in axes], np.float32)


def inner_loop(assembly: str) -> list[str]:
    """The instructions of the shortest backward jump's body that multiplies and adds vectors."""
    lines = [line.strip() for line in assembly.splitlines()]
    places = {line[:-1]: n for n, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    bodies: list[list[str]] = []
    for number, line in enumerate(lines):
        jump = re.match(r"(?:b|b\.\w+|cbn?z|tbn?z)\s(?:.*\s)?(\.L\w+)$", line)
        if jump and places.get(jump[1], number) < number:
            body = [text for text in lines[places[jump[1]] : number + 1] if text[0] not in "./"]
            if any(text.startswith("fmla") for text in body):
                bodies.append(body)
    return min(bodies, key=len)


def cycles(loop: list[str], model: str, folder: Path) -> tuple[float, str]:
    """Cycles of one turn by LLVM's model, and the report."""
    source = folder / "loop.s"
    source.write_text("\n".join(loop) + "\n")
    command = [MCA, "-mtriple=aarch64", f"-mcpu={model}", f"-iterations={ITERATIONS}"]
    done = subprocess.run(
        [*command, "-bottleneck-analysis", str(source)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1]) / ITERATIONS, done.stdout


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.profile} {row.dtype}")
def test_the_inner_loop_keeps_the_multipliers_busy(row: Row, form: str, tmp_path: Path) -> None:
    left, right = FORMS[form].split("->")[0].split(",")
    arrays = (operand(left), operand(right))

    def product(x: Any, y: Any) -> Any:
        return jnp.einsum(FORMS[form], x, y)

    graph = (fused if row.dtype == "float32" else fused_in_half)(product, *arrays)
    (node,) = [n for n in graph.nodes if n.attrs["kind"] == "gemm"]
    target = kernel_target(load_profile(row.profile))
    phase = kernel_of(node, target).code.phases[-1]
    loop = inner_loop(lowered({"product": phase.function}, target).inspect_source("asm"))
    updates = sum(text.startswith("fmla") for text in loop)
    assert updates == VECTOR_UPDATES
    assert all(VECTORS[row.dtype] in text for text in loop if text.startswith("fmla"))
    assert not [text for text in loop if re.search(r"\bsp\b", text)], "accumulators are spilled"
    assert not [text for text in loop if text.startswith("st")], "the loop stores"
    if shutil.which(MCA) is None:
        pytest.skip(f"the registers are right; {MCA} is not installed to model the time (Debian: llvm-19)")
    turn, report = cycles(loop, row.model, tmp_path)
    share = updates / row.per_cycle / turn
    print(f"{row.profile} {row.dtype} {form}: {updates} fmla of {len(loop)}, {turn:.2f} cycles, {share:.1%}")
    assert share >= row.at_least, report
