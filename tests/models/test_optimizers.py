"""The chains against hand-written updates, and the schedules against their definition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from daypack.models.optimizers import Decay, Method, OptimizerConfig, build_optimizer

# optax's own bias correction raises a float to an integer, which strict promotion refuses.
pytestmark = pytest.mark.usefixtures("standard_promotion")

START = {
    "matrix": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "bias": np.random.default_rng(1).normal(size=4).astype(np.float32),
}


@pytest.fixture
def standard_promotion(strict_promotion: None) -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


def gradient(step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(step + 10)
    return {name: generator.normal(size=array.shape).astype(np.float32) for name, array in START.items()}


def train(config: OptimizerConfig, steps: int = 5) -> dict[str, np.ndarray]:
    optimizer = build_optimizer(config)
    parameters: Any = jax.tree.map(jnp.asarray, START)
    state = optimizer.init(parameters)
    for step in range(steps):
        updates, state = jax.jit(optimizer.update)(gradient(step), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return {name: np.asarray(array) for name, array in parameters.items()}


def clipped(step: int, limit: float) -> dict[str, np.ndarray]:
    """The gradient in float64, scaled down to norm `limit` if it is longer."""
    found = {name: array.astype(np.float64) for name, array in gradient(step).items()}
    norm = math.sqrt(sum(float((array**2).sum()) for array in found.values()))
    return {name: array * min(1.0, limit / norm) for name, array in found.items()}


def expect(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-6, atol=2e-6, err_msg=name)


def test_adamw_with_clip_and_decay() -> None:
    config = OptimizerConfig(
        Method.ADAMW, 1e-2, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1, max_grad_norm=1.5
    )
    weights = {name: array.astype(np.float64) for name, array in START.items()}
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    second = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(5):
        for name, slope in clipped(step, 1.5).items():
            first[name] = 0.8 * first[name] + 0.2 * slope
            second[name] = 0.9 * second[name] + 0.1 * slope**2
            direction = first[name] / (1 - 0.8 ** (step + 1))
            direction /= np.sqrt(second[name] / (1 - 0.9 ** (step + 1))) + 1e-6
            decay = 0.1 * weights[name] if weights[name].ndim >= 2 else 0.0
            weights[name] = weights[name] - 1e-2 * (direction + decay)
    expect(train(config), weights)


def test_sgd_with_momentum_and_coupled_decay() -> None:
    config = OptimizerConfig(Method.SGD, 1e-2, momentum=0.9, weight_decay=0.1)
    weights = {name: array.astype(np.float64) for name, array in START.items()}
    speed = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(5):
        for name, slope in gradient(step).items():
            decay = 0.1 * weights[name] if weights[name].ndim >= 2 else 0.0
            speed[name] = 0.9 * speed[name] + slope + decay
            weights[name] = weights[name] - 1e-2 * speed[name]
    expect(train(config), weights)


def test_lion() -> None:
    config = OptimizerConfig(Method.LION, 1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    weights = {name: array.astype(np.float64) for name, array in START.items()}
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(5):
        for name, slope in gradient(step).items():
            direction = np.sign(0.9 * first[name] + 0.1 * slope)
            first[name] = 0.99 * first[name] + 0.01 * slope
            decay = 0.1 * weights[name] if weights[name].ndim >= 2 else 0.0
            weights[name] = weights[name] - 1e-2 * (direction + decay)
    expect(train(config), weights)


def test_adafactor_is_optax_s_without_scaling_by_the_parameter() -> None:
    found = train(OptimizerConfig(Method.ADAFACTOR, 1e-2, eps=1e-30, momentum=0.9))
    reference = optax.adafactor(1e-2, momentum=0.9, multiply_by_parameter_scale=False)
    parameters: Any = jax.tree.map(jnp.asarray, START)
    state = reference.init(parameters)
    for step in range(5):
        updates, state = reference.update(gradient(step), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    expect(found, {name: np.asarray(array) for name, array in parameters.items()})


def rate(config: OptimizerConfig, step: int) -> float:
    """The learning rate of update `step`, read off plain SGD on a gradient of one."""
    optimizer = build_optimizer(config)
    parameters = {"x": jnp.zeros(1, jnp.float32)}
    state = optimizer.init(parameters)
    update = jax.jit(optimizer.update)
    found: Any = None
    for _ in range(step + 1):
        found, state = update({"x": jnp.ones(1, jnp.float32)}, state, parameters)
    return -float(found["x"][0])


@pytest.mark.parametrize("schedule", Decay)
def test_schedules(schedule: Decay) -> None:
    config = OptimizerConfig(Method.SGD, 0.5, schedule=schedule, warmup_steps=4, max_steps=12)
    after = {
        Decay.CONSTANT: lambda progress: 1.0,
        Decay.LINEAR: lambda progress: 1.0 - progress,
        Decay.COSINE: lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    }[schedule]
    for step, expected in ((0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (7, after(3 / 8)), (14, after(1.0))):
        assert rate(config, step) == pytest.approx(0.5 * expected, rel=1e-6, abs=1e-8), step


def test_a_warmup_as_long_as_the_run() -> None:
    config = OptimizerConfig(Method.SGD, 0.5, schedule=Decay.LINEAR, warmup_steps=3, max_steps=3)
    assert rate(config, 2) == pytest.approx(0.5 * 2 / 3, rel=1e-6)
    assert math.isfinite(rate(config, 4))


def test_what_does_nothing_is_not_in_the_chain() -> None:
    state = build_optimizer(OptimizerConfig(Method.SGD, 1e-3)).init({"x": jnp.zeros(1, jnp.float32)})
    assert jax.tree.leaves(state) == []
