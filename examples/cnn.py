"""A small convolutional network in plain Flax NNX and optax, trained by Daypack and by JAX, and compared.

Batch normalization (with running statistics) and dropout (with its own random stream) are state of the module
that the loss changes: Daypack keeps them as the module would. They belong to the batch as a whole, so the
window is 1.

Run it: `python examples/cnn.py`.
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

CLASSES, SIZE, BATCH, STEPS = 4, 16, 32, 30


class Network(nnx.Module):
    """Two convolutions, max and average pooling, batch normalization, dropout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(16 * 2 * 2, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.first(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.second(x))
        x = nnx.avg_pool(x, (2, 2), strides=(2, 2))
        return self.head(self.dropout(x.reshape(x.shape[0], -1)))


def loss(model: Network, batch: dict[str, jax.Array]) -> jax.Array:
    """The mean cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(model(batch["image"]), batch["label"]).mean()


def batches(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Noisy stripes in four directions."""
    random = np.random.Generator(np.random.PCG64(seed))
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    along = np.stack([row, column, row + column, row - column]).astype(np.float32)
    made = []
    for _ in range(STEPS):
        label = random.integers(0, CLASSES, BATCH)
        phase = random.uniform(0, 2 * np.pi, (BATCH, 1, 1))
        image = np.sin(along[label] * 0.9 + phase) + 0.5 * random.normal(size=(BATCH, SIZE, SIZE))
        made.append({"image": image[..., None].astype(np.float32), "label": label.astype(np.int32)})
    return made


def optimizer() -> optax.GradientTransformation:
    """Momentum, with a rate that falls."""
    return optax.sgd(optax.cosine_decay_schedule(0.05, STEPS), momentum=0.9)


def main() -> Comparison:
    """Compile, train, compare; `model` is trained afterwards."""
    model, data = Network(nnx.Rngs(0)), batches()
    with tempfile.TemporaryDirectory() as folder:
        bundle = daypack.compile(model, loss, optimizer(), data[0], out=Path(folder) / "cnn.bundle")
        result = daypack.run(bundle, data)
    comparison = compare(result, Network(nnx.Rngs(0)), loss, optimizer(), data)
    print_comparison(comparison)

    result.update(model)
    model.eval()
    accuracy = float(jnp.mean(jnp.argmax(model(data[-1]["image"]), -1) == data[-1]["label"]))
    print(f"accuracy of the trained model, in evaluation mode, on the last batch: {accuracy:.0%}")
    return comparison


if __name__ == "__main__":
    main()
