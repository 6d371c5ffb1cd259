"""Plain JAX training of the same model, and how far Daypack's result is from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import daypack.api


@dataclass(frozen=True)
class Comparison:
    """`deltas` maps a trained array to ‖Δours − ΔJAX‖ / ‖ΔJAX‖, where Δ is its change since the start."""

    losses: list[float]
    jax_losses: list[float]
    deltas: Mapping[str, float]

    @property
    def loss_difference(self) -> float:
        """The largest relative difference of a loss."""
        return max(abs(a - b) / abs(b) for a, b in zip(self.losses, self.jax_losses, strict=True))


def compare(
    result: daypack.api.TrainResult,
    model: nnx.Module,
    loss: Callable[[Any, Any], jax.Array],
    optimizer: optax.GradientTransformation,
    batches: Sequence[Mapping[str, np.ndarray]],
) -> Comparison:
    """Train `model`, an untrained copy, with JAX on the same batches."""
    start = arrays_of(model)
    losses = train_with_jax(model, loss, optimizer, batches)
    end = arrays_of(model)
    trained = {**result.params, **{n.removeprefix("mutable/"): a for n, a in result.state.items()}}
    deltas = {}
    for name, before in start.items():
        change, ours = end[name] - before, trained[name].astype(np.float64) - before
        deltas[name] = float(np.linalg.norm(ours - change) / np.linalg.norm(change))
    return Comparison(result.losses, losses, deltas)


def arrays_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """The floating arrays of a module by path, as float64."""
    return {
        "/".join(map(str, path)): np.asarray(variable[...], np.float64)
        for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))
    }


def train_with_jax(
    model: nnx.Module,
    loss: Callable[[Any, Any], jax.Array],
    optimizer: optax.GradientTransformation,
    batches: Sequence[Mapping[str, np.ndarray]],
) -> list[float]:
    """The usual NNX training loop; changes `model` and returns the losses."""
    state = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, state: Any, batch: Any) -> jax.Array:
        value, gradient = nnx.value_and_grad(loss)(model, batch)
        state.update(model, gradient)
        return value

    return [float(step(model, state, batch)) for batch in batches]


def print_comparison(comparison: Comparison) -> None:
    """Some losses of both, then the differences."""
    print(" step    Daypack        JAX")
    last = len(comparison.losses) - 1
    for number in sorted({*range(0, last, max(1, last // 8)), last}):
        ours, theirs = comparison.losses[number], comparison.jax_losses[number]
        print(f"{number + 1:5}  {ours:9.6f}  {theirs:9.6f}")
    print(f"largest relative difference of a loss: {comparison.loss_difference:.1e}")
    print("change since the start, ‖Daypack − JAX‖ / ‖JAX‖:")
    for name, delta in comparison.deltas.items():
        print(f"  {name:24} {delta:.1e}")
