"""The reference: the whole batch through `jax.jit` of the step that the spec declares."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax

from daypack.models.document import NO_LABEL
from daypack.models.task import Task, build_task
from daypack.runtime.bundle import read_bundle_plan
from daypack.runtime.data_file import read_data
from daypack.spec import TrainSpec

Array = np.ndarray[Any, Any]
QUICK_COMPILE: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""XLA takes minutes over many threefry sites; without LLVM's optimizations, seconds."""


def optax_losses(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(sum of the labelled positions' losses, their number) as JAX users compute them, by optax."""
    labelled = labels != NO_LABEL
    target = jnp.where(labelled, labels, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return jnp.sum(jnp.where(labelled, losses, 0.0)), jnp.sum(labelled.astype(jnp.float32))


def optax_head_loss(hidden: jax.Array, head: jax.Array, labels: jax.Array, ignored: int) -> jax.Array:
    """The same from the hidden state, all logits at once."""
    return optax_losses(jnp.einsum("btc,vc->btv", hidden, head), labels)[0]


PLAIN: dict[str, Any] = {"token_losses": optax_losses, "frozen_head_loss": optax_head_loss}
"""What takes the place of our own forms of the loss in a plain reference."""


@dataclass(frozen=True)
class Trained:
    """What a training left: losses and seconds by step, trained arrays by published name."""

    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    arrays: Mapping[str, Array]


class Reference:
    """One spec's step in JAX: the whole batch at once, whatever window the spec declares.

    A dropout mask belongs to an example and not to a micro-batch, so the masks are those of every window.
    `plain` computes the loss as JAX users do, from all logits at once, rather than by our own operators: the
    same mathematics in another order of additions. `dtype` is that of all floating-point arrays; "float64"
    needs JAX's x64 mode.
    """

    def __init__(
        self,
        spec: TrainSpec,
        compiler_options: Mapping[str, Any] | None = None,
        *,
        plain: bool = False,
        dtype: str = "float32",
    ) -> None:
        self.task: Task = build_task(spec)
        self._plain, self._dtype = plain, dtype
        self._frozen = {name: self._wide(self.read(name)) for name in self.task.frozen}
        options = dict(compiler_options or {})
        self._step = jax.jit(self._one_step, compiler_options=options, donate_argnums=(0, 1))
        self.restart()

    def read(self, name: str) -> Array:
        """An array before the first step."""
        return self.task.source.read(name)

    def _wide(self, array: Array) -> jax.Array:
        """float32 as this reference has it; stored forms of frozen matrices stay, the loss decodes them."""
        return jnp.asarray(array, self._dtype if array.dtype == np.float32 else None)

    def initial(self) -> dict[str, Array]:
        """The trained arrays before the first step."""
        return {name: self.read(name) for name in self.task.trainable}

    def restart(self) -> None:
        """Back to the state before the first step."""
        self.trainable: Any = {
            name: jnp.asarray(self.read(name), self._dtype) for name in self.task.trainable
        }
        with jax.numpy_dtype_promotion("standard"):
            self.state = self.task.optimizer.init(self.trainable)
        self.count = 0

    def _one_step(self, trainable: Any, state: Any, frozen: Any, batch: Any, count: Any) -> Any:
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
        with self._forms():
            loss, self.trainable, self.state = self._step(
                self.trainable, self.state, self._frozen, dict(batch), jnp.uint32(self.count)
            )
        jax.block_until_ready(self.trainable)
        self.count += 1
        return float(loss), time.perf_counter() - began

    @contextmanager
    def _forms(self) -> Generator[None]:
        """What holds while the step is traced; float64 meets the float32 that models name."""
        with ExitStack() as stack:
            if self._plain:
                stack.enter_context(patch.multiple("daypack.models.loss", **PLAIN))
            if self._dtype != "float32":
                stack.enter_context(jax.numpy_dtype_promotion("standard"))
            yield

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
    parts = list(read_data(bundle / "data.bin", inputs, steps * window))
    shape = (-1, spec.train.sequence)
    return [
        {
            entry.name: np.concatenate(
                [parts[step * window + micro][entry.name].reshape(shape) for micro in range(window)]
            )
            for entry in inputs
        }
        for step in range(steps)
    ]
