# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""The training steps that `daypack calibrate` measures: ordinary bundles, so that any launcher runs them.

The first is one transformer block with an optimizer: matrix products of every form that models have,
attention, norms and activations; an array too long for any cache, and many tiny ones, whose updates take
what memory and the call of a kernel take. The second trains matrices within less memory than they need, so
that it reads and writes files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from daypack.compiler.pipeline import compile_step
from daypack.compiler.planning import Options
from daypack.devices import Profile
from daypack.operators.activations import gelu_tanh
from daypack.operators.attention import attention
from daypack.operators.norms import layer_norm
from daypack.runtime.bundle import read_bundle_plan
from daypack.runtime.data_file import write_data
from daypack.user_step import batch_arrays, micro_batches, user_step

Arrays = dict[str, np.ndarray[Any, Any]]
Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the programs. `long_elements` are float32 and should be more than caches hold; the paged matrices
    have `page_rows`² of them each.
    """

    sequences: int = 4
    tokens: int = 128
    width: int = 768
    heads: int = 12
    long_elements: int = 1 << 23
    tiny_arrays: int = 16
    pages: int = 8
    page_rows: int = 1024

    @property
    def page_budget_bytes(self) -> int:
        """Less than parameters and moments take, enough to update one matrix at a time."""
        return 8_000_000 + 5 * 4 * self.page_rows**2


def write_block(folder: Path, sizes: Sizes, profile: Profile) -> Path:
    """Compile the transformer block; returns the bundle."""
    width = sizes.width
    model = {
        "norm": np.ones(width, np.float32),
        "bias": np.zeros(width, np.float32),
        "qkv": _drawn(width, 3 * width),
        "out": _drawn(width, width),
        "up": _drawn(width, 4 * width),
        "down": _drawn(4 * width, width),
        "long": _drawn(sizes.long_elements),
        "tiny": {f"t{place:02}": _drawn(16) for place in range(sizes.tiny_arrays)},
    }
    x = np.random.default_rng(1).standard_normal((sizes.sequences, sizes.tokens, width), np.float32)
    return _written(folder / "block.bundle", model, _block_loss(sizes), {"x": x}, profile, None)


def write_pages(folder: Path, sizes: Sizes, profile: Profile) -> Path:
    """Compile the matrices that do not fit; returns the bundle."""
    rows = sizes.page_rows
    model = {f"w{place:02}": _drawn(rows, rows) for place in range(sizes.pages)}

    def loss(model: Any, batch: Any) -> Any:
        return sum(jnp.mean(jnp.square(w)) for w in model.values()) * jnp.mean(batch["x"])

    batch = {"x": np.ones((1, 1), np.float32)}
    return _written(folder / "pages.bundle", model, loss, batch, profile, sizes.page_budget_bytes)


def write_half(folder: Path, sizes: Sizes, profile: Profile) -> Path:
    """Compile products that are computed in float16; returns the bundle."""
    model = {"up": _drawn(sizes.width, 4 * sizes.width)}
    x = np.random.default_rng(1).standard_normal((sizes.sequences * sizes.tokens, sizes.width), np.float32)

    def loss(model: Any, batch: Any) -> Any:
        return jnp.mean(jnp.square(batch["x"] @ model["up"]))

    return _written(folder / "half.bundle", model, loss, {"x": x}, profile, None, half=True)


def data_of(bundle: Path) -> Path:
    """The data that a bundle of this module is run on; it was written beside the bundle."""
    return bundle.with_suffix(".data")


def _block_loss(sizes: Sizes) -> Loss:
    head = sizes.width // sizes.heads

    def loss(model: Any, batch: Any) -> Any:
        x = batch["x"]
        normed = layer_norm(x, model["norm"], model["bias"], 1e-5)
        parts = jnp.split(normed @ model["qkv"], 3, axis=-1)
        q, k, v = (part.reshape(*x.shape[:2], sizes.heads, head) for part in parts)
        mixed = attention(q, k, v, scale=head**-0.5).reshape(x.shape)
        x = x + mixed @ model["out"]
        normed = layer_norm(x, model["norm"], model["bias"], 1e-5)
        x = x + gelu_tanh(normed @ model["up"]) @ model["down"]
        small = sum(jnp.sum(tiny) for tiny in model["tiny"].values())
        return jnp.mean(jnp.square(x)) + 1e-6 * (jnp.mean(jnp.square(model["long"])) + small)

    return loss


def _drawn(*shape: int) -> np.ndarray[Any, Any]:
    return 0.02 * np.random.default_rng(0).standard_normal(shape, np.float32)


def _written(
    out: Path,
    model: Any,
    loss: Loss,
    batch: Arrays,
    profile: Profile,
    memory_bytes: int | None,
    *,
    half: bool = False,
) -> Path:
    made = user_step(model, loss, optax.adamw(1e-4), batch, window=1, seed=0)
    compile_step(
        replace(made.step, half=half),
        profile,
        read=made.arrays.__getitem__,
        mutable=made.mutable,
        out=out,
        options=Options(memory_bytes=memory_bytes, threads=profile.cores, save_steps=1_000_000),
        description={"names": "[]"},
    )
    plan = read_bundle_plan(out)
    write_data(data_of(out), plan.inputs, micro_batches(batch_arrays(batch, "batch"), 1, "batch"))
    return out
