"""A multilayer perceptron in plain Flax NNX and optax, trained by Daypack and by JAX, and compared.

Run it: `python examples/mlp.py`. The model, the loss and the optimizer know nothing of Daypack; the two calls
that are Daypack's are in `main`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from compare import Comparison, compare, print_comparison
from flax import nnx

import daypack

CLASSES, FEATURES, BATCH, STEPS = 3, 8, 64, 40


class Classifier(nnx.Module):
    """Two hidden layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(FEATURES, 64, rngs=rngs)
        self.second = nnx.Linear(64, 64, rngs=rngs)
        self.norm = nnx.LayerNorm(64, rngs=rngs)
        self.head = nnx.Linear(64, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.gelu(self.first(x))
        return self.head(self.norm(nnx.relu(self.second(x))))


def loss(model: Classifier, batch: dict[str, jax.Array]) -> jax.Array:
    """The mean cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(model(batch["x"]), batch["y"]).mean()


def batches(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Three overlapping clouds of points, the same for a seed on every machine."""
    random = np.random.Generator(np.random.PCG64(seed))
    centres = random.normal(size=(CLASSES, FEATURES))
    made = []
    for _ in range(STEPS):
        y = random.integers(0, CLASSES, BATCH)
        x = centres[y] + 0.7 * random.normal(size=(BATCH, FEATURES))
        made.append({"x": x.astype(np.float32), "y": y.astype(np.int32)})
    return made


def optimizer() -> optax.GradientTransformation:
    """AdamW behind a clip of the gradient's norm."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(3e-3, weight_decay=1e-2))


def main(window: int = 1) -> Comparison:
    """Compile, train, compare; a `window` above 1 cuts each batch into as many micro-batches."""
    model, data = Classifier(nnx.Rngs(0)), batches()
    with tempfile.TemporaryDirectory() as folder:
        bundle = daypack.compile(
            model, loss, optimizer(), data[0], out=Path(folder) / "mlp.bundle", window=window
        )
        result = daypack.run(bundle, data)
    comparison = compare(result, Classifier(nnx.Rngs(0)), loss, optimizer(), data)
    print_comparison(comparison)

    result.update(model)
    accuracy = float(jnp.mean(jnp.argmax(model(data[0]["x"]), -1) == data[0]["y"]))
    print(f"accuracy of the trained model on the first batch: {accuracy:.0%}")
    return comparison


if __name__ == "__main__":
    main()
