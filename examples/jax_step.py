"""A spec's step under JAX in a process of its own: losses, time and peak memory as one JSON object.

Usage: `python examples/jax_step.py SPEC STEPS`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from daypack.models.task import build_task
from daypack.runtime.data_file import Arrangement
from daypack.spec import load_spec


def train(spec_path: Path, steps: int) -> dict[str, Any]:
    """The first steps of a spec, whole batches, parameters and moments donated as a careful user would."""
    spec = load_spec(spec_path)
    task = build_task(spec)
    frozen = {name: jnp.asarray(task.source.read(name)) for name in task.frozen}
    weights = {name: jnp.asarray(task.source.read(name)) for name in task.trainable}
    state = task.optimizer.init(weights)

    def step(weights: Any, state: Any, frozen: Any, batch: Any, count: Any) -> Any:
        clock = {"seed": jnp.uint32(task.seed), "step": count, "micro": jnp.uint32(0)}

        def mean(weights: Any) -> Any:
            loss_sum, labels, _ = task.loss(weights, frozen, {}, batch, clock)
            return loss_sum / labels

        loss, gradient = jax.value_and_grad(mean)(weights)
        updates, state = task.optimizer.update(gradient, state, weights)
        return loss, optax.apply_updates(weights, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    losses, seconds = [], []
    examples, order = task.examples(), Arrangement(spec.train.batch, spec.shuffle_seed)
    for count in range(steps):
        batch = examples.take(order.examples(count, examples.count))
        began = time.perf_counter()
        loss, weights, state = compiled(weights, state, frozen, batch, jnp.uint32(count))
        losses.append(float(loss))
        seconds.append(time.perf_counter() - began)
    return {
        "losses": losses,
        "seconds": statistics.median(seconds[1:] or seconds),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def peak_rss_bytes() -> int:
    """This process's VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmHWM in /proc/self/status")


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]), int(sys.argv[2]))))
