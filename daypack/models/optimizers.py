# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

"""The optax chain of a training run.

Clip by global norm, the optimizer's own scaling, decoupled weight decay, the learning rate. As the field does
(`transformers.Trainer`): matrices and embeddings decay, biases and norm gains (one-dimensional arrays) do
not; SGD adds the decay to the gradient before the momentum, as PyTorch does. Steps that do nothing are left
out of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from daypack.errors import SpecError


class Method(Enum):
    """The supported optimizers, each with the defaults of its paper or of PyTorch."""

    ADAMW = "adamw"
    SGD = "sgd"
    ADAFACTOR = "adafactor"
    LION = "lion"


class Decay(Enum):
    """What the learning rate does after the warmup; LINEAR and COSINE end at zero after the last step."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """`warmup_steps` and `max_steps` count updates; `max_grad_norm` 0 does not clip."""

    method: Method
    learning_rate: float
    betas: tuple[float, float] | None = None
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    max_grad_norm: float = 0.0
    schedule: Decay = Decay.CONSTANT
    warmup_steps: int = 0
    max_steps: int = 1


_BETAS = {Method.ADAMW: (0.9, 0.999), Method.LION: (0.9, 0.99)}


def build_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The chain for a flat dictionary of float32 arrays."""
    decay = [optax.add_decayed_weights(config.weight_decay, mask=_decays)] if config.weight_decay else []
    chain: list[Any] = [optax.clip_by_global_norm(config.max_grad_norm)] if config.max_grad_norm else []
    if config.method is Method.SGD:
        chain += decay + ([optax.trace(config.momentum)] if config.momentum else [])
    else:
        chain += [*_scaling(config), *decay]
    chain.append(optax.scale_by_learning_rate(_learning_rate(config)))
    return optax.chain(*chain)


def _scaling(config: OptimizerConfig) -> list[Any]:
    """How gradients become updates, before weight decay and learning rate."""
    match config.method:
        case Method.ADAMW:
            first, second = config.betas or _BETAS[Method.ADAMW]
            return [optax.scale_by_adam(first, second, config.eps)]
        case Method.LION:
            first, second = config.betas or _BETAS[Method.LION]
            return [optax.scale_by_lion(first, second)]
        case _:
            # With a given learning rate updates are not scaled by the parameter (Shazeer and Stern 2018, 8).
            return [optax.scale_by_factored_rms(decay_rate=0.8, epsilon=1e-30), optax.clip_by_block_rms(1.0)]


def _decays(parameters: Any) -> Any:
    return jax.tree.map(lambda parameter: parameter.ndim >= 2, parameters)


def _learning_rate(config: OptimizerConfig) -> Any:
    """The rate of update `count` (0-based), as in `transformers.get_scheduler`: warmup starts at zero."""
    if config.warmup_steps >= config.max_steps and config.schedule is not Decay.CONSTANT:
        raise SpecError(
            f"train: {config.warmup_steps} warmup steps of {config.max_steps} steps leave none for the "
            f"{config.schedule.value} schedule; shorten the warmup or raise max_steps"
        )
    if config.schedule is Decay.CONSTANT and config.warmup_steps == 0:
        return config.learning_rate

    def rate(count: Array) -> Array:
        step = count.astype(jnp.float32)
        factor = _decayed(step, config)
        if config.warmup_steps:
            factor = jnp.where(step < config.warmup_steps, step / config.warmup_steps, factor)
        return config.learning_rate * factor

    return rate


def _decayed(step: Array, config: OptimizerConfig) -> Array:
    if config.schedule is Decay.CONSTANT:
        return jnp.ones_like(step)
    progress = (step - config.warmup_steps) / (config.max_steps - config.warmup_steps)
    if config.schedule is Decay.LINEAR:
        return jnp.maximum(1.0 - progress, 0.0)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0)))
