# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A user's own model, loss and optimizer as the training step that the compiler takes.

See docs/your-own-model.md for what a model and a loss may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from daypack.compiler.step import TrainStep
from daypack.user_step.batch import batch_arrays, micro_batches, micro_size
from daypack.user_step.loss import loss_of
from daypack.user_step.mixing import check_window
from daypack.user_step.model import model_of, parts_by_name, updated
from daypack.user_step.named import Shape, flat_names, host_arrays, named, path_name, shapes
from daypack.user_step.optimizer import optimizer_by_name

__all__ = ["UserStep", "batch_arrays", "flat_names", "micro_batches", "updated", "user_step"]

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class UserStep:
    """A step and its arrays: `arrays` of what is trained or stays, `mutable` of what the loss changes."""

    step: TrainStep
    arrays: Arrays
    mutable: Arrays


def user_step(
    model: Any, loss: Callable[[Any, Any], Any], optimizer: Any, batch: Any, *, window: int, seed: int
) -> UserStep:
    """The step of `loss(model, batch)` and an optax `optimizer`, over one whole example `batch`.

    `model` is an NNX module (its nnx.Param are trained, its other variables are state), a Linen dict of
    variables (`params` is trained, the other collections are state), or a pytree of arrays (all trained).
    An array is named by its path, joined by `/`.

    `loss` returns a float32 scalar, the mean over the examples, or (sum, weight) with the weight a number of
    examples or labels; for a Linen dict a dict of new collections may follow either. `batch` is a dict
    (possibly nested) of arrays whose first dimension counts examples; a window cuts it into equal parts.

    State that the loss does not change is constant in the bundle. Random streams are state: dropout draws the
    same masks as under JAX.

    Raises:
        SpecError: the model, the optimizer or the batch cannot be used.
        TraceError: the loss breaks the contract, or does not add up over the window.
    """
    taken = model_of(model)
    example = batch_arrays(batch)
    part = micro_size(example, window)
    function = loss_of(taken, loss, named(batch, "batch", path_name), example)
    now = parts_by_name(taken)
    params, rest = host_arrays(now.params), host_arrays(now.rest)
    check_window(function, params, rest, example, window)
    mutable = {name: array for name, array in rest.items() if name in function.changed}
    frozen = {name: array for name, array in rest.items() if name not in function.changed}
    step = TrainStep(
        loss=function,
        optimizer=optimizer_by_name(optimizer, taken.params, taken.parts()[0]),
        trainable=shapes(params),
        frozen=shapes(frozen),
        mutable=shapes(mutable),
        batch={name: Shape((part, *array.shape[1:]), array.dtype) for name, array in example.items()},
        window=window,
        seed=seed,
    )
    return UserStep(step, {**params, **frozen}, mutable)
