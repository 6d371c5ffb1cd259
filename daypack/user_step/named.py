# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
"""A pytree of arrays as a flat dict of named arrays, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from daypack.errors import TraceError

Shape = jax.ShapeDtypeStruct
Path = tuple[Any, ...]
KEY_IMPLEMENTATION = "threefry2x32"


def path_name(path: Path) -> str:
    """The keys of a path joined by `/`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def variable_name(path: Path) -> str:
    """The same for the state of an NNX module, without the `value` at the end that is the variable's own."""
    value = jax.tree_util.GetAttrKey("value")
    return path_name(tuple(key for key in path if key != value))


@dataclass(frozen=True)
class Named:
    """The structure of a pytree whose leaves have names.

    `keys` are the leaves that are typed PRNG keys; flat, such a leaf is its uint32 data.
    """

    names: tuple[str, ...]
    structure: Any
    keys: frozenset[str]

    def flat(self, tree: Any) -> dict[str, Any]:
        """Name → array of a tree of this structure."""
        leaves = self.structure.flatten_up_to(tree)
        return {
            name: jax.random.key_data(leaf) if name in self.keys else leaf
            for name, leaf in zip(self.names, leaves, strict=True)
        }

    def tree(self, flat: Mapping[str, Any]) -> Any:
        """The tree of these arrays."""
        leaves = (
            jax.random.wrap_key_data(flat[name], impl=KEY_IMPLEMENTATION) if name in self.keys else flat[name]
            for name in self.names
        )
        return jax.tree_util.tree_unflatten(self.structure, leaves)


def named(tree: Any, what: str, name_of: Callable[[Path], str] = path_name) -> Named:
    """Name every leaf of a pytree by its path; `what` names the tree in messages.

    Raises:
        TraceError: a leaf that is no array, a key that is not threefry, two leaves of one name.
    """
    entries, structure = jax.tree_util.tree_flatten_with_path(tree)
    names: list[str] = []
    keys: set[str] = set()
    for path, leaf in entries:
        name = name_of(path)
        if name in names:
            raise TraceError(f"{what}: two arrays are called {name!r}; rename one of them")
        names.append(name)
        if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
            raise TraceError(f"{what}: {name!r} is {_described(leaf)}; expected an array (np.float32 of it)")
        if is_key(leaf):
            _check_key(leaf, name, what)
            keys.add(name)
    return Named(tuple(names), structure, frozenset(keys))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys."""
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def flat_names(tree: Any) -> dict[str, Any]:
    """Path joined by `/` → leaf, in flattening order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def host_arrays(flat: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The same arrays in this process's own memory."""
    return {name: np.asarray(array) for name, array in flat.items()}


def shapes(flat: Mapping[str, Any]) -> dict[str, Shape]:
    """Shape and element type of each array."""
    return {name: Shape(np.shape(array), array.dtype) for name, array in flat.items()}


def kind(array: Any) -> str:
    """`float32[2,3]`."""
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _described(leaf: Any) -> str:
    return f"the Python value {leaf!r}" if isinstance(leaf, int | float) else f"a {type(leaf).__name__}"


def _check_key(leaf: Any, name: str, what: str) -> None:
    found = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else str(leaf.dtype)
    if found not in (KEY_IMPLEMENTATION, "key<fry>"):
        raise TraceError(
            f"{what}: {name!r} is a PRNG key of {found}; Daypack draws random numbers with "
            f'{KEY_IMPLEMENTATION}: make it with jax.random.key(seed, impl="{KEY_IMPLEMENTATION}")'
        )
