# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""Whether a loss may be split: a window of micro-batches must give the loss and gradient of the whole batch.

What mixes the examples of a batch (batch normalization in training, a contrastive loss, random numbers drawn
for the batch as a whole) gives something else when the batch is cut, so a window above 1 is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daypack.errors import TraceError
from daypack.user_step.batch import micro_batches
from daypack.user_step.loss import Loss

Arrays = Mapping[str, np.ndarray[Any, Any]]
RELATIVE = 1e-3
"""Of an array's own norm: float32 sums in another order differ by far less, mixing by far more."""
RELATIVE_16_BIT = 2e-2
OF_ALL = 1e-5
"""Of the norm of the whole gradient: for arrays whose gradient is zero but for rounding."""


def check_window(loss: Loss, params: Arrays, rest: Arrays, batch: Arrays, window: int) -> None:
    """Raise TraceError if `window` micro-batches do not add up to the batch.

    Compares on the values of `batch`: loss and gradient of the whole against the sums over the parts, jitted.
    """
    if window == 1:
        return
    _check_state(loss, window)
    whole = _mean(loss, params, rest, [dict(batch)])
    parts = _mean(loss, params, rest, list(micro_batches(batch, window)))
    limit = RELATIVE_16_BIT if any(_is_16_bit(a) for a in (*params.values(), *batch.values())) else RELATIVE
    _check_loss(whole[0], parts[0], window, limit)
    _check_gradient(whole[1], parts[1], window, limit)


def _check_state(loss: Loss, window: int) -> None:
    """State that the loss changes would be changed once a micro-batch instead of once a step."""
    if not loss.changed:
        return
    listed = ", ".join(repr(name) for name in sorted(loss.changed)[:3]) + (
        ", …" if len(loss.changed) > 3 else ""
    )
    raise TraceError(
        f"loss: changes {listed} each time it runs, so {window} micro-batches are not the whole batch "
        "(running means and random streams belong to the batch as a whole); use window=1, or put the model "
        "in evaluation mode (model.eval()) where that is meant"
    )


def _mean(loss: Loss, params: Arrays, rest: Arrays, parts: list[Any]) -> tuple[float, dict[str, Any]]:
    """Loss and gradient of the parts together: sums over the parts divided by the sum of the weights."""

    @jax.jit
    def one(params: Any, rest: Any, batch: Any) -> Any:
        def loss_sum(params: Any) -> Any:
            value, weight, _ = loss(params, rest, {}, batch, {})
            return value, weight

        return jax.value_and_grad(loss_sum, has_aux=True)(params)

    with jax.threefry_partitionable(True):
        results = [one(dict(params), dict(rest), part) for part in parts]
    weight = sum(float(w) for (_, w), _ in results)
    value = sum(float(v) for (v, _), _ in results) / weight
    total = jax.tree_util.tree_map(
        lambda *g: sum(np.asarray(x, np.float64) for x in g) / weight, *[g for _, g in results]
    )
    return value, total


def _check_loss(whole: float, parts: float, window: int, limit: float) -> None:
    if abs(whole - parts) <= limit * abs(whole) + 1e-7:
        return
    raise TraceError(
        f"loss: {whole:.6g} for the whole batch and {parts:.6g} for its {window} micro-batches together: it "
        "is no mean over the examples, or it mixes them; return the mean or (sum, weight), or use window=1"
    )


def _check_gradient(whole: Mapping[str, Any], parts: Mapping[str, Any], window: int, limit: float) -> None:
    of_all = OF_ALL * float(np.sqrt(sum(np.sum(g * g) for g in whole.values())))
    for name, gradient in whole.items():
        size, off = float(np.linalg.norm(gradient)), float(np.linalg.norm(gradient - parts[name]))
        if off <= limit * size + of_all:
            continue
        share = off / size if size else float("inf")
        raise TraceError(
            f"loss: the gradient of {name!r} over {window} micro-batches differs from that of the whole "
            f"batch by {share:.2g} of its norm: the loss mixes the examples of a batch; use window=1"
        )


def _is_16_bit(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize == 2
