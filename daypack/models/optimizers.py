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
    """`warmup_steps` and `max_steps` count updates; a `max_grad_norm` of 0 does not clip.

    `betas` are read by AdamW and Lion, `eps` by AdamW and Adafactor, `momentum` by SGD and Adafactor.
    """

    method: Method
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0
    schedule: Decay = Decay.CONSTANT
    warmup_steps: int = 0
    max_steps: int = 1


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
            return [optax.scale_by_adam(*config.betas, eps=config.eps)]
        case Method.LION:
            return [optax.scale_by_lion(*config.betas)]
        case _:
            return _adafactor(config)


def _adafactor(config: OptimizerConfig) -> list[Any]:
    """As `optax.adafactor`, and, a learning rate being given, not scaled by the parameter's own size.

    Matrices with both sides of at least 128 keep row and column sums in place of the whole second moment
    (Shazeer and Stern 2018).
    """
    momentum = [optax.ema(config.momentum, debias=False)] if config.momentum else []
    return [optax.scale_by_factored_rms(epsilon=config.eps), optax.clip_by_block_rms(1.0), *momentum]


def _decays(parameters: Any) -> Any:
    return jax.tree.map(lambda parameter: parameter.ndim >= 2, parameters)


def _learning_rate(config: OptimizerConfig) -> Any:
    """The rate of update `count` (0-based), as in `transformers.get_scheduler`: warmup starts at zero."""
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
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    if config.schedule is Decay.LINEAR:
        return jnp.maximum(1.0 - progress, 0.0)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0)))
