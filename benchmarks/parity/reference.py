"""The reference: the whole batch through `jax.jit` of the step that the spec declares."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from daypack.models.task import Task, build_task
from daypack.runtime.bundle import read_bundle_plan
from daypack.runtime.data_file import read_data
from daypack.spec import TrainSpec

Array = np.ndarray[Any, Any]
QUICK_COMPILE: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""XLA takes minutes over many threefry sites; without LLVM's optimizations, seconds."""


@dataclass(frozen=True)
class Trained:
    """What a training left: losses and seconds by step, trained arrays by published name."""

    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    arrays: Mapping[str, Array]


class Reference:
    """One spec's step in JAX: the whole batch at once, whatever window the spec declares.

    A dropout mask belongs to an example and not to a micro-batch, so the masks are those of every window.
    """

    def __init__(self, spec: TrainSpec, compiler_options: Mapping[str, Any] | None = None) -> None:
        self.task: Task = build_task(spec)
        self._read = self.task.source.read
        self._frozen = {name: jnp.asarray(self._read(name)) for name in self.task.frozen}
        self._step = jax.jit(
            self._plain_step, compiler_options=dict(compiler_options or {}), donate_argnums=(0, 1)
        )
        self.restart()

    def initial(self) -> dict[str, Array]:
        """The trained arrays before the first step."""
        return {name: self._read(name) for name in self.task.trainable}

    def restart(self) -> None:
        """Back to the state before the first step."""
        self.trainable: Any = {name: jnp.asarray(self._read(name)) for name in self.task.trainable}
        with jax.numpy_dtype_promotion("standard"):
            self.state = self.task.optimizer.init(self.trainable)
        self.count = 0

    def _plain_step(self, trainable: Any, state: Any, frozen: Any, batch: Any, count: Any) -> Any:
        clock = {"seed": jnp.uint32(self.task.seed), "step": count, "micro": jnp.uint32(0)}

        def mean(weights: Any) -> Any:
            total, labels, _ = self.task.loss(weights, frozen, {}, batch, clock)
            return total / labels

        loss, gradient = jax.value_and_grad(mean)(trainable)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.task.optimizer.update(gradient, state, trainable)
        return loss, optax.apply_updates(trainable, updates), state

    def step(self, batch: Mapping[str, Array]) -> tuple[float, float]:
        """One update; (loss, seconds)."""
        began = time.perf_counter()
        loss, self.trainable, self.state = self._step(
            self.trainable, self.state, self._frozen, dict(batch), jnp.uint32(self.count)
        )
        jax.block_until_ready(self.trainable)
        self.count += 1
        return float(loss), time.perf_counter() - began

    def run(self, batches: Sequence[Mapping[str, Array]]) -> Trained:
        """Train from the start on these batches."""
        self.restart()
        figures = [self.step(batch) for batch in batches]
        arrays = {name: np.asarray(array) for name, array in self.trainable.items()}
        return Trained(tuple(loss for loss, _ in figures), tuple(seconds for _, seconds in figures), arrays)


def batches_of(bundle: Path, spec: TrainSpec, steps: int) -> list[dict[str, Array]]:
    """The batch of every step as the engine takes it from the bundle's data: micro-batches end to end."""
    window = spec.train.window or 1
    inputs = read_bundle_plan(bundle).inputs
    records = list(read_data(bundle / "data.bin", inputs))
    shape = (-1, spec.train.sequence)
    return [
        {
            entry.name: np.concatenate(
                [
                    records[(step * window + micro) % len(records)][entry.name].reshape(shape)
                    for micro in range(window)
                ]
            )
            for entry in inputs
        }
        for step in range(steps)
    ]
