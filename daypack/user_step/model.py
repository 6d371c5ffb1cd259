# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A user's model taken apart: what is trained, what else it holds, and how the loss gets it back.

An NNX module is trained in its `nnx.Param` variables; its other variables (running means, counts and keys of
random streams) are the rest. A Linen dict of variables is trained in `params`; its other collections are the
rest. Any other pytree of arrays is trained whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen, nnx

from daypack.errors import SpecError, TraceError
from daypack.user_step.named import Named, flat_names, named, path_name, variable_name

LINEN_PARAMS = "params"
MUTABLE_PREFIX = "mutable/"
_RESERVED = ("clock", "constant", "mutable", "opt", "sum")


class Model(ABC):
    """A model in two pytrees, `params` and `rest`, each with the names of its arrays."""

    params: Named
    rest: Named

    @abstractmethod
    def parts(self) -> tuple[Any, Any]:
        """The pytrees as they stand."""

    @abstractmethod
    def built(self, params: Any, rest: Any) -> Any:
        """What the loss gets."""

    @abstractmethod
    def after(
        self, model: Any, params: Any, rest: Any, collections: Mapping[str, Any] | None
    ) -> tuple[Any, Any]:
        """`params` and `rest` after the loss, which may have changed `model` or returned `collections`."""

    @abstractmethod
    def with_arrays(self, params: Any, rest: Any) -> Any:
        """The user's own object with other arrays; an NNX module is changed in place."""


def model_of(model: Any) -> Model:
    """Take a model apart.

    Raises:
        SpecError, TraceError: nothing to train, arrays that cannot be trained, a module without variables.
    """
    if isinstance(model, linen.Module):
        raise SpecError(
            f"model: a Linen module ({type(model).__name__}) holds no arrays; give its variables, "
            f"module.init(key, inputs), and call module.apply(variables, …) in the loss"
        )
    taken = _Nnx(model) if isinstance(model, nnx.Module) else _Pytree(model)
    _check_params(taken)
    return taken


class _Nnx(Model):
    def __init__(self, module: Any) -> None:
        self._module = module
        self._graph, params, rest = nnx.split(module, nnx.Param, ...)
        self.params = named(params, "model", variable_name)
        self.rest = named(rest, "model", variable_name)

    def parts(self) -> tuple[Any, Any]:
        _, params, rest = nnx.split(self._module, nnx.Param, ...)
        return params, rest

    def built(self, params: Any, rest: Any) -> Any:
        return nnx.merge(self._graph, params, rest)

    def after(
        self, model: Any, params: Any, rest: Any, collections: Mapping[str, Any] | None
    ) -> tuple[Any, Any]:
        if collections is not None:
            raise TraceError(
                "loss: returned collections, but an NNX module carries its own state; return the loss alone, "
                "or (sum, weight)"
            )
        _, new_params, new_rest = nnx.split(model, nnx.Param, ...)
        _same_variables(self.rest, new_rest)
        return new_params, new_rest

    def with_arrays(self, params: Any, rest: Any) -> Any:
        nnx.update(self._module, params, rest)
        return self._module


class _Pytree(Model):
    def __init__(self, tree: Any) -> None:
        self._original = tree
        self._linen = isinstance(tree, Mapping) and LINEN_PARAMS in tree
        params, rest = self.parts()
        self.params = named(params, "model", path_name)
        self.rest = named(rest, "model", path_name)

    def parts(self) -> tuple[Any, Any]:
        if not self._linen:
            return self._original, {}
        rest = {name: tree for name, tree in self._original.items() if name != LINEN_PARAMS}
        return {LINEN_PARAMS: self._original[LINEN_PARAMS]}, rest

    def built(self, params: Any, rest: Any) -> Any:
        return {**params, **rest} if self._linen else params

    def after(
        self, model: Any, params: Any, rest: Any, collections: Mapping[str, Any] | None
    ) -> tuple[Any, Any]:
        given = dict(collections or {})
        for name in given:
            if name not in rest:
                known = ", ".join(map(repr, rest)) or "none"
                raise TraceError(
                    f"loss: returned the collection {name!r}; the model's collections besides "
                    f"{LINEN_PARAMS!r} are: {known}"
                )
        changed = {**rest, **{name: _like(rest[name], tree, name) for name, tree in given.items()}}
        return params, changed

    def with_arrays(self, params: Any, rest: Any) -> Any:
        built = self.built(params, rest)
        return type(self._original)(built) if self._linen else built


def _same_variables(before: Named, after: Any) -> None:
    names = named(after, "model", variable_name).names
    new = sorted(set(names) - set(before.names))
    if new or names != before.names:
        which = f"adds {new[0]!r} to" if new else "removes variables from"
        raise TraceError(
            f"loss: {which} the model while it runs; every variable must exist before compiling (make it in "
            "__init__, or leave out sow)"
        )


def _like(before: Any, after: Any, collection: str) -> Any:
    """`after` in the structure of `before`."""
    old, new = flat_names(before), flat_names(after)
    if list(old) != list(new):
        name = sorted(set(old) ^ set(new))[0]
        raise TraceError(
            f"loss: returned the collection {collection!r} with other arrays than the model's: {name!r} is "
            "in one and not in the other"
        )
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(before), list(new.values()))


def _check_params(model: Model) -> None:
    params = model.params.flat(model.parts()[0])
    if not params:
        raise SpecError(
            "model: nothing to train: expected an NNX module with nnx.Param variables, a Linen dict with "
            f"{LINEN_PARAMS!r}, or a pytree of arrays"
        )
    if "" in params:
        raise SpecError("model: expected a container of arrays such as a dict, found one array")
    for name, array in params.items():
        _check_param(name, array)
        if name.split("/")[0] in _RESERVED:
            raise SpecError(
                f"model: {name!r} begins with a name that Daypack's own state uses ({', '.join(_RESERVED)}); "
                "rename it"
            )


def _check_param(name: str, array: Any) -> None:
    if str(array.dtype) == "float64":
        raise SpecError(
            f"model: {name!r} is float64; training is in float32: convert it with .astype(np.float32)"
        )
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
        raise SpecError(
            f"model: {name!r} is {array.dtype}, which no gradient can change; keep it outside the trained "
            "arrays (an nnx.Variable instead of an nnx.Param, a Linen collection besides params, or a "
            "constant of the loss)"
        )


@dataclass(frozen=True)
class Parts:
    """The arrays of a model by name."""

    params: Mapping[str, Any]
    rest: Mapping[str, Any]


def parts_by_name(model: Model) -> Parts:
    """The arrays as they stand."""
    params, rest = model.parts()
    return Parts(model.params.flat(params), model.rest.flat(rest))


def updated(model: Any, state: Mapping[str, Any]) -> Any:
    """The user's model with the arrays of a trained state: an NNX module in place, any other as a new tree.

    Raises:
        SpecError: the state has no such array, or one of another shape: it belongs to another model.
    """
    taken = model_of(model)
    now = parts_by_name(taken)
    params = {name: _found(state, name, name, array) for name, array in now.params.items()}
    rest = {
        name: _found(state, MUTABLE_PREFIX + name, name, array) if MUTABLE_PREFIX + name in state else array
        for name, array in now.rest.items()
    }
    return taken.with_arrays(taken.params.tree(params), taken.rest.tree(rest))


def _found(state: Mapping[str, Any], key: str, name: str, before: Any) -> Any:
    if key not in state:
        raise SpecError(f"model: {name!r} is not in the trained state; give the model that was compiled")
    array = state[key]
    if tuple(array.shape) != tuple(before.shape):
        raise SpecError(
            f"model: {name!r} has shape {list(before.shape)}, and {list(array.shape)} in the trained state; "
            "give the model that was compiled"
        )
    return jax.numpy.asarray(array)
