# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""The training step the compiler takes, and its two traces: one micro-step and one update.

A step is a window of `window` micro-steps (loss sum and gradient of one micro-batch, summed) and one update
(gradients divided by the label count, the optax chain, the new parameters).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daypack.compiler.graph import Role, StepGraph
from daypack.compiler.interpret import run
from daypack.compiler.trace import Argument, leaf_names, trace

Shapes = Mapping[str, jax.ShapeDtypeStruct]
Loss = Callable[..., tuple[Any, Any, Mapping[str, Any]]]
Score = Callable[..., tuple[Any, Any]]

STEP = "clock/step"
SEED = "clock/seed"
MICRO = "clock/micro"


@dataclass(frozen=True, slots=True)
class InputRange:
    """Integers of a batch input lie in [0, `bound`) or equal `ignore`."""

    bound: int
    ignore: int | None = None


@dataclass(frozen=True)
class TrainStep:
    """What to train. Names are published names; every leaf of `batch` has the micro-batch as its first
    dimension.

    `loss(trainable, frozen, mutable, batch, clock)` returns (sum of losses, number of labels, new mutable),
    with `clock` = {"seed", "step", "micro"}, each uint32[].

    `score(trainable, frozen, batch)`, where the step can be evaluated, returns two float32 (rows,): of each
    row the sum of the log-likelihoods of its labels, and the number of these.

    `half`: wide matrix products are computed in float16 (`passes/half_products.py`).
    """

    loss: Loss
    optimizer: Any
    trainable: Shapes
    frozen: Shapes
    mutable: Shapes
    batch: Shapes
    window: int = 1
    seed: int = 0
    ranges: Mapping[str, InputRange] | None = None
    score: Score | None = None
    half: bool = False

    @property
    def optimizer_state(self) -> Any:
        """Shapes of the optimizer's state, as a pytree."""
        return jax.eval_shape(self.optimizer.init, dict(self.trainable))


def trace_micro(step: TrainStep) -> StepGraph:
    """The micro-step: inputs by role; outputs `loss_sum`, `weight`, `grad:NAME`, `mutable:NAME`.

    With a window above 1 the sums so far are inputs `grad/NAME`, `loss_sum`, `weight`, and are added to.
    """
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    counter = jax.ShapeDtypeStruct((), jnp.uint32)
    trainable, frozen, mutable = dict(step.trainable), dict(step.frozen), dict(step.mutable)
    sums: dict[str, Any] = (
        {"grad": trainable, "loss_sum": scalar, "weight": scalar} if step.window > 1 else {}
    )

    def micro(
        trainable: Any, frozen: Any, mutable: Any, batch: Any, seed: Any, number: Any, index: Any, sums: Any
    ) -> dict[str, Any]:
        clock = {"seed": seed, "step": number, "micro": index}

        def scalar_loss(weights: Any) -> Any:
            loss_sum, weight, new = step.loss(weights, frozen, mutable, batch, clock)
            return loss_sum, (weight, dict(new))

        (loss_sum, (weight, new)), grad = jax.value_and_grad(scalar_loss, has_aux=True)(trainable)
        result = {"grad": grad, "loss_sum": loss_sum, "weight": jnp.asarray(weight, jnp.float32)}
        if sums:
            result = jax.tree_util.tree_map(jnp.add, sums, result)
        return {**result, "mutable": new}

    arguments = [
        Argument(trainable, Role.TRAINABLE),
        Argument(frozen, Role.FROZEN),
        Argument(mutable, Role.STATE, "mutable/"),
        Argument(dict(step.batch), Role.BATCH),
        Argument({"clock": {"seed": counter}}["clock"], Role.CLOCK, "clock/"),
        Argument({"step": counter}, Role.STATE, "clock/"),
        Argument({"micro": counter}, Role.CLOCK, "clock/"),
        Argument(sums, Role.GRADIENT, "sum/"),
    ]

    def unpacked(
        t: Any, f: Any, m: Any, b: Any, seed: Any, number: Any, index: Any, sums: Any
    ) -> dict[str, Any]:
        return micro(t, f, m, b, seed["seed"], number["step"], index["micro"], sums)

    with jax.threefry_partitionable(True):
        return trace("micro", unpacked, arguments)


def trace_update(step: TrainStep) -> StepGraph:
    """The update: outputs `trainable:NAME`, `opt:NAME`, `loss` (mean), `weight`, `step` (one more)."""
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    trainable = dict(step.trainable)

    def update(weights: Any, state: Any, sums: Any, clock: Any) -> dict[str, Any]:
        def mean(total: Any) -> Any:
            return total / sums["weight"]

        def moved(weight: Any, change: Any) -> Any:
            return (weight + change).astype(weight.dtype)

        grads = jax.tree_util.tree_map(mean, sums["grad"])
        updates, state = step.optimizer.update(grads, state, weights)
        return {
            "trainable": jax.tree_util.tree_map(moved, weights, updates),
            "opt": state,
            "loss": sums["loss_sum"] / sums["weight"],
            "weight": sums["weight"],
            "step": clock["step"] + jnp.uint32(1),
        }

    arguments = [
        Argument(trainable, Role.TRAINABLE),
        Argument(step.optimizer_state, Role.STATE, "opt/"),
        Argument({"grad": trainable, "loss_sum": scalar, "weight": scalar}, Role.GRADIENT, "sum/"),
        Argument({"step": jax.ShapeDtypeStruct((), jnp.uint32)}, Role.STATE, "clock/"),
    ]
    with jax.numpy_dtype_promotion("standard"):
        return trace("update", update, arguments)


def trace_evaluation(step: TrainStep, score: Score) -> StepGraph:
    """`score` of one micro-batch: inputs by role; outputs `log_likelihood` and `labels`."""

    def evaluate(trainable: Any, frozen: Any, batch: Any) -> dict[str, Any]:
        log_likelihood, labels = score(trainable, frozen, batch)
        return {"log_likelihood": log_likelihood, "labels": labels}

    arguments = [
        Argument(dict(step.trainable), Role.TRAINABLE),
        Argument(dict(step.frozen), Role.FROZEN),
        Argument(dict(step.batch), Role.BATCH),
    ]
    return trace("evaluation", evaluate, arguments)


_PERSISTS = {"trainable:": "", "opt:": "opt/", "grad:": "sum/grad/"}


def persists_as(output: str) -> str | None:
    """The name of the input that carries on what an output holds: a parameter, a moment, a gradient."""
    for prefix, persistent in _PERSISTS.items():
        if output.startswith(prefix):
            return persistent + output.removeprefix(prefix)
    return None


def initial_optimizer_state(step: TrainStep, read: Callable[[str], np.ndarray[Any, Any]]) -> InitialState:
    """The optimizer's state before the first step, one array at a time."""

    def initial(weights: Any) -> dict[str, Any]:
        return {"opt": step.optimizer.init(weights)}

    with jax.numpy_dtype_promotion("standard"):
        graph = trace("init", initial, [Argument(dict(step.trainable), Role.TRAINABLE)])
    return InitialState(graph, read)


class InitialState:
    """Computes one array of the state at a time, reading only the parameters that this one needs."""

    def __init__(self, graph: StepGraph, read: Callable[[str], np.ndarray[Any, Any]]) -> None:
        self._graph = graph
        self._read = read

    def names(self) -> list[str]:
        return [out.name for out in self._graph.outputs]

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The array called `opt:PATH` in the trace."""
        from daypack.compiler.passes.dce import dce

        (wanted,) = (out for out in self._graph.outputs if out.name == name)
        graph = dce(
            StepGraph("init", self._graph.inputs, self._graph.nodes, (wanted,), self._graph.constants)
        )
        used = {v.id for node in graph.nodes for v in node.inputs} | {wanted.value.id}
        inputs = tuple(i for i in graph.inputs if i.value.id in used)
        graph = StepGraph(graph.name, inputs, graph.nodes, graph.outputs, graph.constants)
        arrays = {i.name: self._read(i.name) for i in inputs if i.name not in graph.constants}
        return run(graph, arrays)[name]


__all__ = [
    "InputRange",
    "Loss",
    "Score",
    "TrainStep",
    "initial_optimizer_state",
    "leaf_names",
    "persists_as",
    "trace_evaluation",
    "trace_micro",
    "trace_update",
]
