# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""A JAX function and example shapes → a step graph. Only this file and `tracing/` read jaxprs.

Calls, custom derivatives, rematerialization marks and composites are inlined; scans of static length are
unrolled; `cond` runs both branches and selects; random keys become pairs of uint32 and their operations
become threefry. What is left is one node an equation, in the operation set of `ops.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from daypack.compiler import ops
from daypack.compiler.graph import Output, Role, StepGraph, Value
from daypack.compiler.tracing import control, randomness, shapes
from daypack.compiler.tracing.walker import CALLS, Tracer, check_dtype, is_key
from daypack.errors import TraceError

_SPECIAL = {**control.HANDLERS, **shapes.HANDLERS, **randomness.HANDLERS}


def supported_primitives() -> frozenset[str]:
    """Every JAX primitive that a step may hold (docs/operations.md says what becomes of each)."""
    return ops.PRIMITIVES | CALLS | _SPECIAL.keys()


class Argument(NamedTuple):
    """One example argument: a pytree of arrays or shapes, the role of its leaves, their names' prefix."""

    tree: Any
    role: Role
    prefix: str = ""


def leaf_names(tree: Any, prefix: str = "") -> list[str]:
    """The published names of a pytree's leaves in flattening order: prefix + path joined by `/`."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths)
    return [prefix + name for name in names]


def trace(name: str, function: Callable[..., Mapping[str, Any]], arguments: Sequence[Argument]) -> StepGraph:
    """Trace `function(*trees)`, which returns a dict of pytrees.

    Outputs are named `KEY` for a single array under KEY, else `KEY:PATH`.

    Raises:
        TraceError: a primitive, an element type or a construct outside what Daypack plans, named with its
            shapes and the line of the model that made it.
    """
    closed, out_shape = jax.make_jaxpr(function, return_shape=True)(*(_shapes(a.tree) for a in arguments))
    tracer = Tracer(name, _SPECIAL)
    values: list[Value] = []
    for argument in arguments:
        leaves = jax.tree_util.tree_leaves(argument.tree)
        for leaf, leaf_name in zip(leaves, leaf_names(argument.tree, argument.prefix), strict=True):
            if is_key(leaf):
                raise TraceError(
                    f"input {leaf_name!r} is an array of random keys; pass its words (jax.random.key_data) "
                    "and make keys of them inside (jax.random.wrap_key_data)"
                )
            dtype = str(np.dtype(leaf.dtype))
            check_dtype(dtype, f"input {leaf_name!r}", "")
            values.append(tracer.builder.input(leaf.shape, dtype, argument.role, leaf_name))
    results = tracer.inline(closed, values)
    names = _output_names(out_shape)
    return tracer.builder.build(Output(n, v) for n, v in zip(names, results, strict=True))


def _shapes(tree: Any) -> Any:
    def shape_of(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)

    return jax.tree_util.tree_map(shape_of, tree)


def _output_names(out_shape: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for key in sorted(out_shape):
        tree = out_shape[key]
        if hasattr(tree, "shape") and hasattr(tree, "dtype"):
            names.append(key)
        else:
            names.extend(f"{key}:{n}" for n in leaf_names(tree))
    return names
