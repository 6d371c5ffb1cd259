"""What passes and fusion make of a few small graphs, as text.

`python -m tests.compiler.golden_graphs --update` writes the files again; read the difference before
committing it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from daypack.compiler.fusion.fuse import fuse
from daypack.compiler.graph import StepGraph
from daypack.compiler.passes.canonicalize import canonicalize
from daypack.compiler.passes.cse import cse
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.fold import fold
from daypack.compiler.pipeline import optimize
from daypack.compiler.text import parse, render
from tests.compiler.graphs import traced

FOLDER = Path(__file__).parent / "goldens"

IDENTITIES = """
graph identities {
  in  %0: float32[2,3] batch "x"
  %1: float32[] = constant() {value=1.0}
  %2: float32[] = constant() {value=0.0}
  %3: float32[] = constant() {value=2.0}
  %4: float32[2,3] = mul(%0, %1)
  %5: float32[2,3] = add(%2, %4)
  %6: float32[] = mul(%3, %3)
  %7: float32[2,3] = broadcast_in_dim(%6) {dims=()}
  %8: float32[2,3] = broadcast_in_dim(%1) {dims=()}
  %9: float32[2,3] = add(%7, %8)
  %10: float32[2,3] = mul(%5, %9)
  %11: float32[2,3] = convert_element_type(%10)
  %12: float32[2,3] = transpose(%11) {permutation=(0, 1)}
  %13: float32[2,1,3] = reshape(%12)
  %14: float32[2,3] = reduce_sum(%13) {axes=(1,)}
  %15: float32[2,3] = sub(%2, %14)
  out "y" %15
}
"""

TWICE = """
graph twice {
  in  %0: float32[3] batch "x"
  %1: float32[] = constant() {value=0.0}
  %2: float32[] = constant() {value='f:-0x0.0p+0'}
  %3: int32[] = constant() {value=1}
  %4: bool[] = constant() {value=True}
  %5: float32[3] = tanh(%0)
  %6: float32[3] = tanh(%0)
  %7: float32[3] = add(%5, %1)
  %8: float32[3] = add(%6, %1)
  %9: float32[3] = add(%6, %2)
  %10: float32[3] = mul(%7, %8)
  out "a" %9
  out "b" %10
}
"""

UNUSED = """
graph unused {
  in  %0: float32[3] batch "x"
  in  %1: float32[3] batch "never"
  %2: float32[3] = tanh(%0)
  %3: float32[3] = exp(%2)
  %4: uint32[3], %5: uint32[3] = threefry2x32(%6, %6, %6, %6)
  %7: float32[3] = neg(%2)
  out "y" %7
}
""".replace("  %4:", "  %6: uint32[3] = iota() {axis=0}\n  %4:")

REWRITES = """
graph rewrites {
  in  %0: float32[4,5] batch "x"
  in  %1: float32[5,6] trainable "w"
  in  %2: float32[6,4] batch "other"
  in  %3: int32[3,1] batch "rows"
  in  %4: float32[3,4] batch "updates"
  %5: float32[4,6] = dot_general(%0, %1) {lhs_batch=(), lhs_contract=(1,), rhs_batch=(), rhs_contract=(0,)}
  %6: float32[6,4] = transpose(%5) {permutation=(1, 0)}
  %7: float32[] = constant() {value=0.0}
  %8: float32[6,4] = broadcast_in_dim(%7) {dims=()}
  %9: float32[6,4] = scatter-add(%8, %3, %4) {PLACES, mode='CLIP'}
  %10: float32[6,4] = add(%6, %9)
  %11: float32[] = constant() {value=3.0}
  %12: float32[6,4] = broadcast_in_dim(%11) {dims=()}
  %13: float32[6,4] = mul(%10, %12)
  %14: float32[4,6] = transpose(%13) {permutation=(1, 0)}
  %15: float32[6,4] = transpose(%14) {permutation=(1, 0)}
  %16: float32[24] = reshape(%15)
  %17: float32[8,3] = reshape(%16)
  out "y" %17
}
""".replace(
    "PLACES", "update_window=(1,), inserted=(0,), scatter_dims=(0,), operand_batching=(), indices_batching=()"
)


def _softmax() -> StepGraph:
    return optimize(traced(jax.nn.softmax, np.ones((6, 10), np.float32)))


def _dense() -> StepGraph:
    def layer(x: Any, w: Any, b: Any) -> Any:
        return jax.nn.gelu(x @ w + b)

    shapes = ((4, 5), (5, 7), (7,))
    return optimize(traced(layer, *(np.ones(s, np.float32) for s in shapes)))


def _dropout() -> StepGraph:
    def loss(x: Any, seed: Any) -> Any:
        def value(x: Any) -> Any:
            kept = jax.random.bernoulli(jax.random.key(seed), 0.75, x.shape)
            return jnp.where(kept, jnp.tanh(x) / 0.75, 0.0).sum()

        return jax.grad(value)(x)

    return optimize(traced(loss, np.ones((4, 6), np.float32), np.uint32(1)))


def _embedding() -> StepGraph:
    def loss(table: Any, ids: Any) -> Any:
        return jax.grad(lambda t: lax.square(t[ids]).sum())(table)

    return optimize(traced(loss, np.ones((9, 4), np.float32), np.array([1, 3, 1], np.int32)))


GOLDENS: dict[str, Callable[[], StepGraph]] = {
    "fold": lambda: fold(parse(IDENTITIES)),
    "cse": lambda: cse(parse(TWICE)),
    "dce": lambda: dce(parse(UNUSED)),
    "canonicalize": lambda: dce(canonicalize(parse(REWRITES))),
    "fuse_unused": lambda: fuse(dce(parse(UNUSED))),
    "optimize_softmax": _softmax,
    "optimize_dense": _dense,
    "optimize_dropout": _dropout,
    "optimize_embedding": _embedding,
}


def text_of(name: str) -> str:
    """What the golden file should hold. Lines of the user's source are left out: they move."""
    graph = GOLDENS[name]()
    return render(_without_sources(graph)) + "\n"


def _without_sources(graph: StepGraph) -> StepGraph:
    nodes = tuple(
        replace(n, source="", body=None if n.body is None else _without_sources(n.body)) for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


def main(arguments: list[str]) -> None:
    """Write every golden file."""
    if arguments != ["--update"]:
        raise SystemExit("usage: python -m tests.compiler.golden_graphs --update")
    FOLDER.mkdir(exist_ok=True)
    for name in GOLDENS:
        (FOLDER / f"{name}.txt").write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
