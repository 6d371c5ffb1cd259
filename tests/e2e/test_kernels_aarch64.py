# pyright: reportUnknownMemberType=false
"""Every distinct kernel of the 124M model with its loops cut short, for aarch64, under the emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.bodies import Body, bodies_of, cut
from parity.kernels import Suite
from parity.specs import FULL, GPT2_124M, LORA, gpt2

from daypack.compiler.graph import StepGraph
from daypack.compiler.kernels.build import canonical
from daypack.compiler.pipeline import kernel_target
from daypack.devices import load_profile
from tests.compiler.graphs import fused, fused_in_half

B, T, H, D, F, P, V, CHUNK, REST = 3, 27, 3, 49, 597, 115, 1001, 204, 77
W = H * D
SIZES = {
    8: 8,
    12: H,
    64: D,
    128: T,
    512: 4 * T,
    768: W,
    896: P - T,
    1024: P,
    1536: 2 * W,
    1873: REST,
    2304: 3 * W,
    3072: F,
    4032: CHUNK,
    50257: V,
    98304: T * W,
    196608: H * T * T,
    393216: T * F,
}
"""Published sizes, and sizes of two or more tiles and a tail in their place: 8 x 12 tiles of products, 64
columns of column sums, 8192 elements of element-wise kernels. The batch of 4 stays below what is replaced."""
DEPTH = 450
"""The reduction is cut into blocks of at most this, so that the longest, V, takes three."""
RELATIVE, LARGEST = 2e-6, 1e-5


@pytest.fixture(scope="module")
def bodies(ids: Callable[[int], Path]) -> list[Body]:
    """All kernels of the plain steps, and a third of those that dropout and a window of 4 add."""
    file = ids(50257)
    config = {
        **GPT2_124M,
        "n_layer": 2,
    }  # more layers bring no other kernels, but for the longer sum of the norm
    dropped = {"dropout": 0.1, "gradient_accumulation_steps": 4}
    plain = [gpt2(file, config, LORA), gpt2(file, config, FULL)]
    found = bodies_of(
        [*plain, gpt2(file, config, FULL, **dropped), gpt2(file, config, LORA, **dropped, lora_dropout=0.1)]
    )
    count = len(bodies_of(plain))
    return found[:count] + found[count::3]


def test_every_kernel_with_its_loops_cut(bodies: list[Body], emulator: str, tmp_path: Path) -> None:
    target = replace(kernel_target(load_profile("cortex-a76")), l2_bytes=2 * 4 * 12 * DEPTH)
    suite = Suite([cut(body, SIZES) for body in bodies], target, tmp_path, [emulator])
    results = [suite.judge(number) for number in range(len(bodies))]
    worst = max(results, key=lambda result: result.relative)
    print(f"{len(results)} kernels: {worst.relative:.1e} relative at most ({worst.name}, {worst.schedule})")
    wrong = [r for r in results if r.relative > RELATIVE or r.largest > LARGEST or r.computed != r.elements]
    assert not wrong
    assert len(results) > 100


def test_a_wrong_kernel_is_found(bodies: list[Body], tmp_path: Path) -> None:
    """The judge itself: the interpreter is asked about another operation than the one that was compiled."""
    body = next(b for b in bodies if b.kind == "rows" and any(n.op == "mul" for n in b.graph.nodes))
    graph = body.graph
    changed = tuple(replace(n, op="add") if n.op == "mul" else n for n in graph.nodes)
    assert changed != graph.nodes
    suite = Suite([cut(body, SIZES)], kernel_target(load_profile("host")), tmp_path, [])
    assert suite.judge(0).relative <= RELATIVE
    assert suite.judge(0, some_tiles=True).relative <= RELATIVE
    suite.bodies[0] = cut(replace(body, graph=replace(graph, nodes=changed)), SIZES)
    assert suite.judge(0).relative > 0.1


TAILS = (7, 8, 9, 31, 32, 33, 127, 128, 129)
FORMS = (
    "mk,kn->mn",
    "mk,nk->mn",
    "km,kn->mn",
    "km,nk->mn",
    "bmk,bkn->bmn",
    "bmk,bnk->bmn",
    "bkm,bkn->bmn",
    "mbk,nbk->bmn",
    "bkm,bnk->bmn",
)


def product(form: str, sizes: dict[str, int], fused: Callable[..., StepGraph] = fused) -> Body:
    """A matrix product with an epilogue, as the compiler fuses it."""
    operands = form.split("->")[0].split(",")
    arrays = [np.zeros([sizes[axis] for axis in part], np.float32) for part in operands]

    def function(x: Any, y: Any) -> Any:
        return jax.nn.relu(jnp.einsum(form, x, y)) * 0.5

    (node,) = [n for n in fused(function, *arrays).nodes if n.attrs["kind"] == "gemm"]
    assert node.body is not None
    name = f"{form} {'x'.join(str(sizes[axis]) for axis in 'mnk')}"
    return Body(name, "gemm", canonical(node.body), node.source)


@pytest.mark.parametrize("device", ["cortex-a76", "cortex-a510"])
def test_products_at_the_tails_of_their_tiles(device: str, emulator: str, tmp_path: Path) -> None:
    """Every form; over the forms every tail occurs in every direction. Two depth blocks from 64 on."""
    shift = 0 if device == "cortex-a76" else 4
    count = len(TAILS)
    bodies = [
        product(
            form,
            {
                "b": 2,
                "m": TAILS[(n + shift) % count],
                "n": TAILS[(2 * n + 3) % count],
                "k": TAILS[(4 * n + 5) % count],
            },
        )
        for n, form in enumerate(FORMS)
    ]
    target = replace(kernel_target(load_profile(device)), l2_bytes=2 * 4 * 12 * 64)
    suite = Suite(bodies, target, tmp_path, [emulator])
    results = [suite.judge(number) for number in range(len(bodies))]
    wrong = [r for r in results if r.relative > RELATIVE or r.largest > LARGEST or r.computed != r.elements]
    assert not wrong


def test_products_in_float16_have_the_bits_of_their_law(emulator: str, tmp_path: Path) -> None:
    """The processor's own float16 arithmetic, at the tails of tiles, depth blocks and blocks of sums."""
    tails = (32, 33, 127, 128, 129)
    bodies = [
        product(
            form,
            {"b": 2, "m": tails[n % 5], "n": tails[(2 * n + 3) % 5], "k": tails[(3 * n + 1) % 5]},
            fused_in_half,
        )
        for n, form in enumerate(FORMS)
    ]
    target = replace(kernel_target(load_profile("cortex-a76")), l2_bytes=8 * 24 * 64)
    assert target.half
    suite = Suite(bodies, target, tmp_path, [emulator, "-cpu", "cortex-a76"])
    results = [suite.judge(number) for number in range(len(bodies))]
    assert all("half" in result.schedule for result in results)
    assert not [r for r in results if r.relative or r.largest or r.computed != r.elements]
