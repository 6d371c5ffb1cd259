# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A user's loss as the step contract: what it returns, which of the model's state it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from daypack.errors import TraceError
from daypack.user_step.model import Model
from daypack.user_step.named import Named, kind

CONTRACT = "return a scalar that is the mean over the examples, or (sum, weight)"
Flat = Mapping[str, Any]


@dataclass(frozen=True)
class Loss:
    """The user's loss over named arrays; `changed` are the names of the model's state that it replaces."""

    model: Model
    function: Callable[[Any, Any], Any]
    batch: Named
    changed: frozenset[str]

    def __call__(self, trainable: Flat, frozen: Flat, mutable: Flat, batch: Flat, clock: Flat) -> Any:
        """The step contract: (loss sum, weight, new mutable). A scalar counts as the mean of its examples."""
        params = self.model.params.tree(trainable)
        rest = self.model.rest.tree({**frozen, **mutable})
        loss_sum, weight, _, after = self.evaluate(params, rest, batch)
        new = self.model.rest.flat(after)
        return loss_sum, weight, {name: new[name] for name in mutable}

    def evaluate(self, params: Any, rest: Any, batch: Flat) -> tuple[Any, Any, Any, Any]:
        """(loss sum, weight, parameters after, state after)."""
        built = self.model.built(params, rest)
        value, weight, collections = _parts(self.function(built, self.batch.tree(batch)))
        after = self.model.after(built, params, rest, collections)
        value = _scalar(value, "the loss")
        if weight is None:
            weight = jnp.float32(len(next(iter(batch.values()))))
            value = value * weight
        else:
            weight = _scalar(weight, "the weight").astype(jnp.float32)
        return value, weight, *after


def loss_of(model: Model, function: Callable[[Any, Any], Any], batch: Named, example: Flat) -> Loss:
    """The loss, after looking at what it does on the shapes of `example`.

    Raises:
        TraceError: it returns something else than the contract, its weight depends on the parameters, it
            assigns to a parameter, or it changes the shape of a state array.
    """
    if not callable(function):
        raise TraceError(f"loss: expected a function loss(model, batch), found a {type(function).__name__}")
    loss = Loss(model, function, batch, frozenset())
    closed, out = jax.make_jaxpr(loss.evaluate, return_shape=True)(*model.parts(), dict(example))
    params, rest = len(model.params.names), len(model.rest.names)
    _check_weight(closed.jaxpr, params)
    kept = _kept(closed.jaxpr, params + rest)
    assigned = [name for name, same in zip(model.params.names, kept[:params], strict=True) if not same]
    if assigned:
        raise TraceError(
            f"loss: assigns to the parameter {assigned[0]!r}; only the optimizer may change a "
            "parameter: hold what the loss changes in another kind of variable"
        )
    changed = [name for name, same in zip(model.rest.names, kept[params:], strict=True) if not same]
    before, after = (
        model.rest.structure.flatten_up_to(model.parts()[1]),
        model.rest.structure.flatten_up_to(out[3]),
    )
    for name, old, new in zip(model.rest.names, before, after, strict=True):
        _check_state(name, old, new)
    return Loss(model, function, batch, frozenset(changed))


def _parts(result: Any) -> tuple[Any, Any, Mapping[str, Any] | None]:
    """(value, weight or None, collections or None) of what the loss returned."""
    match result:
        case (value, Mapping() as collections):
            return value, None, collections
        case (value, weight):
            return value, weight, None
        case (value, weight, Mapping() as collections):
            return value, weight, collections
        case tuple() | list() | Mapping() | None:
            found = "nothing" if result is None else f"a {type(result).__name__} of {len(result)}"
            raise TraceError(f"loss: returned {found}; {CONTRACT}, each with the new collections after it")
        case _:
            return result, None, None


def _scalar(value: Any, what: str) -> Any:
    array = jnp.asarray(value)
    if array.shape:
        raise TraceError(f"loss: {what} is {kind(array)}, not a scalar; {CONTRACT}")
    if what == "the loss" and array.dtype != jnp.float32:
        raise TraceError(f"loss: {what} is {array.dtype}; convert it with .astype(jnp.float32)")
    return array


def _kept(jaxpr: Any, count: int) -> list[bool]:
    """For each array of the model, whether it leaves the loss as it came in; loss and weight come first."""
    outputs, inputs = jaxpr.outvars[2 : 2 + count], jaxpr.invars[:count]
    return [out is given for out, given in zip(outputs, inputs, strict=True)]


def _check_weight(jaxpr: Any, params: int) -> None:
    """The weight counts examples or labels. (loss, accuracy) would otherwise be taken for (sum, weight)."""
    wanted = [number == 1 for number in range(len(jaxpr.outvars))]
    _, used = partial_eval.dce_jaxpr(jaxpr, wanted)
    if any(used[:params]):
        raise TraceError(
            "loss: its second result depends on the parameters, so it is no number of examples or labels; "
            f"{CONTRACT}, without further results"
        )


def _check_state(name: str, before: Any, after: Any) -> None:
    if tuple(before.shape) != tuple(after.shape) or before.dtype != after.dtype:
        raise TraceError(
            f"loss: changes {name!r} from {kind(before)} to {kind(after)}; keep its shape and type"
        )
