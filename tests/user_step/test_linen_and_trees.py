"""Linen variables, pytrees and windows of NNX modules train as they do under JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import daypack
from daypack.errors import SpecError

LOSS, DELTA = 5e-6, 1e-3
Arrays = dict[str, Any]


def batches(count: int, examples: int = 8) -> list[Arrays]:
    random = np.random.Generator(np.random.PCG64(3))
    made = []
    for _ in range(count):
        x = random.normal(size=(examples, 5)).astype(np.float32)
        made.append({"in": {"x": x}, "y": (x[:, :2] ** 2 + 0.1).astype(np.float32)})
    return made


def train(loss: Any, optimizer: Any, params: Any, rest: Any, data: list[Any]) -> tuple[list[float], Any, Any]:
    """Plain JAX: `loss(params, rest, batch)` gives (mean, new rest)."""
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, rest: Any, state: Any, batch: Any) -> Any:
        (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params, rest, batch)
        updates, state = optimizer.update(gradient, state, params)
        return value, optax.apply_updates(params, updates), rest, state

    losses = []
    for batch in data:
        value, params, rest, state = step(params, rest, state, batch)
        losses.append(float(value))
    return losses, params, rest


def assert_trained_alike(start: Any, ours: Any, theirs: Any) -> None:
    paths = jax.tree_util.tree_flatten_with_path(start)[0]
    assert jax.tree_util.tree_structure(start) == jax.tree_util.tree_structure(ours)
    leaves = zip(paths, jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(theirs), strict=True)
    for (path, before), mine, expected in leaves:
        assert mine.dtype == expected.dtype
        before, mine, expected = (np.asarray(a, np.float64) for a in (before, mine, expected))
        change = np.linalg.norm(expected - before)
        assert change > 0, path
        assert np.linalg.norm(mine - expected) <= DELTA * change, path


class Net(linen.Module):
    """Batch normalization with running statistics, and dropout."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.BatchNorm(use_running_average=False, momentum=0.8)(linen.Dense(16, use_bias=False)(x))
        x = linen.Dropout(0.25, deterministic=False)(linen.relu(x))
        return linen.Dense(2)(x)


def linen_loss(variables: Any, batch: Any) -> Any:
    """The state holds a counter, so that each step draws its own dropout."""
    key = jax.random.fold_in(jax.random.key(7), variables["random"]["count"])
    out, new = Net().apply(variables, batch["in"]["x"], mutable=["batch_stats"], rngs={"dropout": key})
    new["random"] = {"count": variables["random"]["count"] + jnp.uint32(1)}
    return jnp.mean((out - batch["y"]) ** 2), new


def test_linen_with_batch_statistics_and_dropout(tmp_path: Path) -> None:
    data = batches(6)
    made = Net().init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, data[0]["in"]["x"])
    variables = {**made, "random": {"count": jnp.uint32(0)}}
    optimizer = optax.adamw(1e-2)
    bundle = daypack.compile(variables, linen_loss, optimizer, data[0], out=tmp_path / "linen.bundle")
    result = daypack.run(bundle, data)

    def split(params: Any, rest: Any, batch: Any) -> Any:
        value, new = linen_loss({"params": params, **rest}, batch)
        return value, dict(new)

    rest = {name: tree for name, tree in variables.items() if name != "params"}
    losses, params, after = train(split, optimizer, variables["params"], rest, data)
    np.testing.assert_allclose(result.losses, losses, rtol=LOSS)
    assert_trained_alike(variables, result.update(variables), {"params": params, **after})
    assert "params/Dense_0/kernel" in result.params
    assert not any(name.startswith(("opt", "mutable", "clock")) for name in result.params)
    assert result.state["mutable/random/count"] == 6


def tree_loss(model: Any, batch: Any) -> Any:
    """A sum and a weight, as where the number of labels differs from example to example."""
    x, y = batch
    for matrix in model["layers"]:
        x = jnp.tanh(x @ matrix)
    errors = jnp.sum((x * model["scale"] - y) ** 2, axis=-1)
    labelled = y[:, 0] > 0.5
    return jnp.sum(jnp.where(labelled, errors, 0.0)), jnp.sum(labelled)


@pytest.mark.parametrize("window", [1, 2])
def test_a_tree_in_windows_with_a_masked_optimizer_goes_on_where_it_stopped(
    tmp_path: Path, window: int
) -> None:
    random = np.random.Generator(np.random.PCG64(4))
    matrix = [(random.normal(size=shape) * 0.4).astype(np.float32) for shape in ((5, 9), (9, 2))]
    model = {"layers": matrix, "scale": np.ones(2, np.float32)}
    data = [(batch["in"]["x"], batch["y"]) for batch in batches(7)]
    optimizer = optax.multi_transform(
        {"fast": optax.adam(3e-2), "slow": optax.sgd(1e-2, momentum=0.5)},
        {"layers": ["fast", "slow"], "scale": "slow"},
    )
    bundle = daypack.compile(
        model, tree_loss, optimizer, data[0], out=tmp_path / "tree.bundle", window=window
    )
    parts = [daypack.run(bundle, part) for part in (data[:2], data[2:5], data[5:])]

    def mean(params: Any, rest: Any, batch: Any) -> Any:
        total, weight = tree_loss(params, batch)
        return total / weight, rest

    losses, params, _ = train(mean, optimizer, model, {}, data)
    np.testing.assert_allclose([loss for part in parts for loss in part.losses], losses, rtol=LOSS)
    assert_trained_alike(model, parts[-1].update(model), params)
    assert [step.step for step in parts[1].steps] == [3, 4, 5]
    with pytest.raises(
        SpecError, match="'other' is not in the trained state; give the model that was compiled"
    ):
        parts[-1].update({"other": np.ones(2, np.float32)})
    with pytest.raises(SpecError, match=r"'scale' has shape \[3\], and \[2\] in the trained state"):
        parts[-1].update({**model, "scale": np.ones(3, np.float32)})


def test_parameters_and_inputs_may_share_names(tmp_path: Path) -> None:
    model = {"x": np.full((5, 2), 0.3, np.float32)}
    data = [{"x": batch["in"]["x"], "y": batch["y"]} for batch in batches(2)]

    def loss(model: Any, batch: Any) -> Any:
        return jnp.mean((batch["x"] @ model["x"] - batch["y"]) ** 2)

    bundle = daypack.compile(model, loss, optax.sgd(0.1), data[0], out=tmp_path / "same.bundle")
    result = daypack.run(bundle, data)
    losses, params, _ = train(lambda p, rest, b: (loss(p, b), rest), optax.sgd(0.1), model, {}, data)
    np.testing.assert_allclose(result.losses, losses, rtol=LOSS)
    assert_trained_alike(model, result.update(model), params)


def test_batches_that_do_not_fit(tmp_path: Path) -> None:
    model = {"w": np.full((5, 2), 0.3, np.float32)}

    def loss(model: Any, batch: Any) -> Any:
        return jnp.mean((batch["in"]["x"] @ model["w"] - batch["y"]) ** 2)

    data = batches(2)
    bundle = daypack.compile(model, loss, optax.sgd(0.1), data[0], out=tmp_path / "m.bundle", window=2)
    with pytest.raises(SpecError, match="expected at least one example of data, found none"):
        daypack.run(bundle, [])
    with pytest.raises(SpecError, match="batch 1: 7 examples, which a window of 2 does not divide"):
        daypack.run(bundle, [data[0], jax.tree.map(lambda a: a[:7], data[1])])
    with pytest.raises(SpecError, match=r"batch 0\['y'\].*float64; convert it with .astype\(np.float32\)"):
        daypack.run(bundle, [{**data[0], "y": data[0]["y"].astype(np.float64)}])
    with pytest.raises(SpecError, match="example 0, input 'in/x': expected an array, found"):
        daypack.run(bundle, [data[0]["in"]])
    with pytest.raises(SpecError, match="example 0, input 'in/x': expected 80 bytes of F32, found 60"):
        daypack.run(bundle, batches(1, 6))


def test_an_nnx_module_that_has_keys_and_no_dropout_may_be_split(tmp_path: Path) -> None:
    class Module(nnx.Module):
        def __init__(self) -> None:
            self.dense = nnx.Linear(5, 2, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

        def __call__(self, x: Any) -> Any:
            return self.dropout(self.norm(self.dense(x)))

    module = Module()
    module.eval()
    data = batches(3)

    def loss(model: Any, batch: Any) -> Any:
        return jnp.mean((model(batch["in"]["x"]) - batch["y"]) ** 2)

    optimizer = optax.lion(1e-2)
    bundle = daypack.compile(module, loss, optimizer, data[0], out=tmp_path / "n.bundle", window=4)
    result = daypack.run(bundle, data)
    graph, start, rest = nnx.split(module, nnx.Param, ...)
    pure = jax.tree.map(jnp.array, start)

    def split(params: Any, rest: Any, batch: Any) -> Any:
        return loss(nnx.merge(graph, params, rest), batch), rest

    losses, params, _ = train(split, optimizer, pure, rest, data)
    np.testing.assert_allclose(result.losses, losses, rtol=LOSS)
    assert result.update(module) is module
    assert_trained_alike(pure, nnx.state(module, nnx.Param), params)
    assert not any(name.startswith("mutable/") for name in result.state)
