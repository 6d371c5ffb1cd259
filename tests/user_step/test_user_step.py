"""What a user's step is made of, and every refusal: what is wrong, where, what to do."""

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
from daypack.errors import SpecError, TraceError
from daypack.user_step import UserStep, user_step

X = np.arange(24, dtype=np.float32).reshape(8, 3) / 24 - 0.4
BATCH: dict[str, Any] = {"x": X, "y": X[:, 0]}
TREE: dict[str, Any] = {"w": np.full(3, 0.5, np.float32), "b": np.float32(0.1) * np.ones((), np.float32)}


def errors(model: Any, batch: Any) -> Any:
    return (batch["x"] @ model["w"] + model["b"] - batch["y"]) ** 2


def mean(model: Any, batch: Any) -> Any:
    return jnp.mean(errors(model, batch))


def made(
    model: Any = TREE,
    loss: Any = mean,
    optimizer: Any = None,
    batch: Any = BATCH,
    window: int = 1,
) -> UserStep:
    return user_step(model, loss, optimizer or optax.sgd(0.1), batch, window=window, seed=0)


class Mixed(nnx.Module):
    """Everything that is state: running means, random streams, a count of its own, a fixed array."""

    def __init__(self) -> None:
        self.dense = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.layers = nnx.List([nnx.Linear(4, 1, rngs=nnx.Rngs(2))])
        self.calls = nnx.Variable(jnp.uint32(0))
        self.fixed = nnx.Variable(jnp.ones(4))

    def __call__(self, x: Any) -> Any:
        self.calls[...] = self.calls[...] + jnp.uint32(1)
        return self.layers[0](self.dropout(self.norm(self.dense(x))) * self.fixed[...])[:, 0]


def of_module(model: Any, batch: Any) -> Any:
    return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)


def test_an_nnx_module_is_parameters_state_and_constants() -> None:
    step = made(Mixed(), of_module)
    assert sorted(step.step.trainable) == [
        "dense/bias",
        "dense/kernel",
        "layers/0/bias",
        "layers/0/kernel",
        "norm/bias",
        "norm/scale",
    ]
    assert sorted(step.mutable) == ["calls", "dropout/rngs/count", "norm/mean", "norm/var"]
    assert sorted(step.step.frozen) == ["dropout/rngs/key", "fixed"]
    assert step.arrays["dropout/rngs/key"].dtype == np.uint32
    assert step.arrays.keys() == step.step.trainable.keys() | step.step.frozen.keys()


def test_the_step_of_a_module_is_its_loss() -> None:
    step, module = made(Mixed(), of_module), Mixed()
    trainable = {name: step.arrays[name] for name in step.step.trainable}
    frozen = {name: step.arrays[name] for name in step.step.frozen}
    loss_sum, weight, new = jax.jit(step.step.loss)(trainable, frozen, step.mutable, BATCH, {})
    assert weight == 8
    np.testing.assert_allclose(loss_sum / weight, of_module(module, BATCH), rtol=1e-6)
    np.testing.assert_array_equal(new["norm/mean"], module.norm.mean[...])
    assert (new["calls"], new["dropout/rngs/count"]) == (1, 1)


def test_an_optimizer_sees_the_users_own_tree() -> None:
    seen: list[Any] = []

    def mask(params: Any) -> Any:
        seen.append(params)
        return {"w": True, "b": False}

    step = made(optimizer=optax.masked(optax.adam(0.1), mask)).step
    assert seen[0].keys() == TREE.keys()
    state = step.optimizer.init(TREE)
    assert sorted(state) == ["inner_state/0/count", "inner_state/0/mu/w", "inner_state/0/nu/w"]
    updates, after = step.optimizer.update({"w": TREE["w"], "b": TREE["b"]}, state, TREE)
    assert after["inner_state/0/count"] == 1
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-4)


def test_the_optimizer_of_a_module_has_short_names() -> None:
    step = made(Mixed(), of_module, optax.adam(0.1)).step
    assert "0/mu/dense/kernel" in step.optimizer_state


def test_a_nested_batch_has_paths_for_names_and_is_cut() -> None:
    def loss(model: Any, batch: Any) -> Any:
        return mean(model, {"x": batch["in"]["x"], "y": batch["y"]})

    step = made(loss=loss, batch={"in": {"x": X}, "y": X[:, 0]}, window=4).step
    assert {name: shape.shape for name, shape in step.batch.items()} == {"in/x": (2, 3), "y": (2,)}


@pytest.mark.parametrize(
    "loss", [mean, lambda m, b: (jnp.sum(errors(m, b)), 8), lambda m, b: (mean(m, b) * 8, 8.0)]
)
def test_a_mean_or_a_sum_with_its_weight(loss: Any) -> None:
    total, weight, new = made(loss=loss).step.loss(TREE, {}, {}, BATCH, {})
    assert weight.dtype == jnp.float32 and new == {}
    np.testing.assert_allclose(total / weight, mean(TREE, BATCH), rtol=1e-6)


def masked(model: Any, batch: Any) -> Any:
    labelled = batch["y"] > 0
    return jnp.sum(jnp.where(labelled, errors(model, batch), 0.0)), jnp.sum(labelled)


def test_what_adds_up_may_be_split() -> None:
    for window in (2, 4, 8):
        made(window=window)
        made(loss=masked, window=window)


def sum_of_errors(model: Any, batch: Any) -> Any:
    return jnp.sum(errors(model, batch))


def mean_of_labelled(model: Any, batch: Any) -> Any:
    total, weight = masked(model, batch)
    return total / weight


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            sum_of_errors,
            "for the whole batch and .* for its 2 micro-batches together: it is no mean over the examples",
        ),
        (mean_of_labelled, "return the mean or \\(sum, weight\\), or use window=1"),
    ],
)
def test_a_loss_that_does_not_add_up_forbids_a_window(loss: Any, message: str) -> None:
    made(loss=loss)
    with pytest.raises(TraceError, match=message):
        made(loss=loss, window=2)


def test_a_gradient_that_does_not_add_up_is_named() -> None:
    def loss(model: Any, batch: Any) -> Any:
        out = batch["x"] @ model["w"]
        mixed = (out - jnp.mean(out)) * batch["y"]
        return jnp.mean(errors(model, batch) + mixed - jax.lax.stop_gradient(mixed))

    made(loss=loss)
    with pytest.raises(
        TraceError, match="the gradient of 'w' over 2 micro-batches differs .* of its norm.*window=1"
    ):
        made(loss=loss, window=2)


def test_state_that_changes_forbids_a_window() -> None:
    with pytest.raises(
        TraceError, match=r"changes 'calls', 'dropout/rngs/count', 'norm/mean', … .*use window=1"
    ):
        made(Mixed(), of_module, window=2)


class Assigns(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.ones(3))

    def __call__(self, x: Any) -> Any:
        self.w[...] = self.w[...] * 0.5
        return x @ self.w[...]


class Sows(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.ones(3))

    def __call__(self, x: Any) -> Any:
        self.seen = nnx.Variable(x)
        return x @ self.w[...]


class Grows(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.ones(3))
        self.seen = nnx.Variable(jnp.zeros(1))

    def __call__(self, x: Any) -> Any:
        self.seen.set_value(jnp.concatenate([self.seen[...], jnp.ones(1)]))
        return x @ self.w[...]


class Empty(nnx.Module):
    def __call__(self, x: Any) -> Any:
        return x[:, 0]


class Linear(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(1)(x)[:, 0]


LINEN = {"params": TREE, "stats": {"seen": np.zeros(2, np.float32)}}
RBG = jax.random.key(0, impl="rbg")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": Linear()}, SpecError, r"a Linen module \(Linear\) holds no arrays; give its variables"),
        ({"model": {}}, SpecError, "model: nothing to train: expected an NNX module with nnx.Param"),
        ({"model": {"params": {}, "a": TREE}}, SpecError, "model: nothing to train"),
        ({"model": Empty(), "loss": of_module}, SpecError, "model: nothing to train"),
        ({"model": X}, SpecError, "expected a container of arrays such as a dict, found one array"),
        (
            {"model": {"w": X.astype(np.float64)}},
            SpecError,
            "'w' is float64; .* with .astype\\(np.float32\\)",
        ),
        (
            {"model": {"w": np.arange(3, dtype=np.int32)}},
            SpecError,
            "'w' is int32, which no gradient can change",
        ),
        ({"model": {"w": 1.5}}, TraceError, "'w' is the Python value 1.5; expected an array"),
        ({"model": {"w": "a"}}, TraceError, "'w' is a str; expected an array"),
        ({"model": {"a/b": X, "a": {"b": X}}}, TraceError, "two arrays are called 'a/b'; rename one"),
        ({"model": {"opt": X}}, SpecError, "'opt' begins with a name that Daypack's own state uses"),
        ({"model": {"params": TREE, "key": RBG}}, TraceError, "'key' is a PRNG key of rbg; .*threefry2x32"),
        ({"optimizer": 0.1}, SpecError, "expected an optax transformation .* found float"),
        ({"optimizer": optax.sgd}, SpecError, "expected an optax transformation .* found the function sgd"),
        (
            {"optimizer": nnx.Optimizer(Assigns(), optax.sgd(0.1), wrt=nnx.Param)},
            SpecError,
            "found Optimizer, which holds one: give that",
        ),
        ({"batch": {}}, SpecError, "batch: expected a dict of arrays .* found nothing"),
        ({"batch": X}, SpecError, "batch: expected a dict of arrays .* found one ndarray"),
        ({"batch": {"x": X, "y": X[:3, 0]}}, SpecError, "first dimension of every array, found 'x' 8, 'y' 3"),
        ({"batch": {"x": X[:0], "y": X[:0, 0]}}, SpecError, "expected at least one example, found none"),
        ({"batch": {"x": X, "y": 3.0}}, SpecError, r"batch\['y'\]: expected an array, found float"),
        (
            {"batch": {"x": X, "y": X[0, 0]}},
            SpecError,
            r"batch\['y'\]: expected a first dimension that counts",
        ),
        (
            {"batch": {"x": X, "y": X[:, 0].astype(np.float64)}},
            SpecError,
            r"batch\['y'\]: .* found float64; convert it with .astype\(np.float32\)",
        ),
        (
            {"batch": {"x": X, "y": np.zeros(8, np.int64)}},
            SpecError,
            r"batch\['y'\]: .* found int64; convert it with .astype\(np.int32\)",
        ),
        ({"batch": {"x": X, "y": np.zeros(8, np.complex64)}}, SpecError, "found complex64$"),
        ({"window": 3}, SpecError, "batch: 8 examples, which a window of 3 does not divide; use 2, or"),
        ({"window": 0}, SpecError, "window: expected a whole number of at least 1, found 0"),
        ({"loss": 3}, TraceError, r"expected a function loss\(model, batch\), found a int"),
        (
            {"loss": errors},
            TraceError,
            r"the loss is float32\[8\], not a scalar; return a scalar that is the mean",
        ),
        ({"loss": lambda m, b: None}, TraceError, "loss: returned nothing; return a scalar"),
        ({"loss": lambda m, b: (1.0, 2, {}, 4)}, TraceError, "loss: returned a tuple of 4; return a scalar"),
        (
            {"loss": lambda m, b: {"loss": mean(m, b)}},
            TraceError,
            "loss: returned a dict of 1; return a scalar",
        ),
        (
            {"loss": lambda m, b: mean(m, b).astype(jnp.bfloat16)},
            TraceError,
            "the loss is bfloat16; convert it with .astype",
        ),
        (
            {"loss": lambda m, b: (mean(m, b), errors(m, b))},
            TraceError,
            r"the weight is float32\[8\], not a scalar; return",
        ),
        (
            {"loss": lambda m, b: (mean(m, b), jnp.mean(errors(m, b) < 0.1))},
            TraceError,
            "its second result depends on the parameters, so it is no number of examples or labels",
        ),
        (
            {"loss": lambda m, b: (mean(m, b), {"a": X})},
            TraceError,
            "collection 'a'; .* besides 'params' are: none",
        ),
        (
            {"model": LINEN, "loss": lambda m, b: (mean(m["params"], b), {"stats": {"other": X}})},
            TraceError,
            "the collection 'stats' with other arrays than the model's: 'other' is in one",
        ),
        (
            {"model": LINEN, "loss": lambda m, b: (mean(m["params"], b), {"stats": {"seen": X[0]}})},
            TraceError,
            r"changes 'stats/seen' from float32\[2\] to float32\[3\]; keep its shape",
        ),
        (
            {"model": Assigns(), "loss": of_module},
            TraceError,
            "assigns to the parameter 'w'; only the optimizer",
        ),
        ({"model": Sows(), "loss": of_module}, TraceError, "loss: adds 'seen' to the model while it runs"),
        (
            {"model": Grows(), "loss": of_module},
            TraceError,
            r"changes 'seen' from float32\[1\] to float32\[2\]",
        ),
        (
            {"model": Assigns(), "loss": lambda m, b: (jnp.sum(m.w[...]), {})},
            TraceError,
            "an NNX module carries its own state",
        ),
    ],
)
def test_every_refusal_says_what_to_do(change: dict[str, Any], kind: type[SpecError], message: str) -> None:
    with pytest.raises(kind, match=message):
        made(**change)


def test_a_state_is_saved_every_so_many_steps(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="save_steps: expected a whole number of at least 1, found 0"):
        daypack.compile(TREE, mean, optax.sgd(0.1), BATCH, out=tmp_path / "never.bundle", save_steps=0)


def test_linen_collections_that_the_loss_leaves_alone_are_constants() -> None:
    step = made(LINEN, lambda m, b: mean(m["params"], b))
    assert sorted(step.step.trainable) == ["params/b", "params/w"]
    assert list(step.step.frozen) == ["stats/seen"] and not step.mutable
