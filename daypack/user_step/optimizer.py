# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A user's optimizer over named arrays; it sees the user's own tree, so that masks of that tree hold."""

from __future__ import annotations

from typing import Any

import jax
import optax

from daypack.errors import SpecError
from daypack.user_step.named import Named, named, path_name, variable_name


def optimizer_by_name(optimizer: Any, names: Named, tree: Any) -> optax.GradientTransformation:
    """The same transformation from flat dicts to flat dicts; its state is flat too, named by paths.

    Raises:
        SpecError: not an optax transformation.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise SpecError(
            f"optimizer: expected an optax transformation such as optax.adamw(1e-3), found "
            f"{_described(optimizer)}"
        )
    state_names = _state_names(jax.eval_shape(optimizer.init, tree))

    def init(params: Any) -> Any:
        return state_names.flat(optimizer.init(names.tree(params)))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        weights = None if params is None else names.tree(params)
        changes, after = optimizer.update(names.tree(updates), state_names.tree(state), weights)
        return names.flat(changes), state_names.flat(after)

    return optax.GradientTransformation(init, update)


def _state_names(state: Any) -> Named:
    """Short names where they differ, else whole paths."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]
    short = len({variable_name(path) for path in paths}) == len(paths)
    return named(state, "optimizer state", variable_name if short else path_name)


def _described(optimizer: Any) -> str:
    name = type(optimizer).__name__
    inner = ", which holds one: give that" if hasattr(optimizer, "tx") else ""
    return (
        f"{name}{inner}"
        if not callable(optimizer)
        else f"the function {getattr(optimizer, '__name__', name)}"
    )
