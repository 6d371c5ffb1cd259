# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""Dropout whose masks belong to the example, not to how a window is cut into micro-batches.

Example e of window `step` has the key fold_in(fold_in(key(seed), step), e), with e = micro * micro_batch +
row; each dropout site of the model folds in its own number, and one example's bits are drawn from that key
alone. So a window drops the same elements whether it runs as one batch or as many micro-batches, and
recomputing a mask gives the same mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array


def example_keys(clock: Mapping[str, Array], micro_batch: int) -> Array:
    """One key an example, (micro_batch,), from clock = {seed, step, micro}, each uint32[]."""
    window = jax.random.fold_in(jax.random.key(clock["seed"], impl="threefry2x32"), clock["step"])
    first = clock["micro"] * jnp.uint32(micro_batch)
    examples = first + jnp.arange(micro_batch, dtype=jnp.uint32)

    def key(example: Array) -> Array:
        return jax.random.fold_in(window, example)

    return jax.vmap(key)(examples)


def drop(x: Array, rate: float, keys: Array | None, site: int) -> Array:
    """Zero elements of `x` with probability `rate` and scale the rest by 1 / (1 - rate).

    x (B, ...) float32; keys (B,), or None when not training; `site` numbers this place in the model. An
    element is kept when its 32 random bits lie below (1 - rate) * 2^32, so the probability is exact to 2^-32.
    """
    if keys is None or rate == 0.0:
        return x
    kept = 1.0 - rate
    below = jnp.uint32(min(round(kept * 2.0**32), 2**32 - 1))

    def draw(key: Array) -> Array:
        # The element-wise counter form of threefry, whatever the process-wide setting says.
        with jax.threefry_partitionable(True):
            return jax.random.bits(jax.random.fold_in(key, site), x.shape[1:], jnp.uint32)

    return jnp.where(jax.vmap(draw)(keys) < below, x * (1.0 / kept), 0.0)


def dropping(rate: float, keys: Array | None, site: int) -> Callable[[Array], Array] | None:
    """What `drop` does at one place, as a function; None where it changes nothing."""
    if keys is None or rate == 0.0:
        return None

    def dropped(x: Array) -> Array:
        return drop(x, rate, keys, site)

    return dropped
