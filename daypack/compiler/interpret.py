"""A step graph run in numpy, one operation at a time: the readable oracle for every later stage.

`run(graph, arrays)` takes the inputs by name and returns the outputs by name. The operations are in
`reference/`, written for plainness, not speed; numpy's float32 arithmetic is used except where noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from daypack.compiler.graph import Node, StepGraph, numpy_dtype
from daypack.compiler.reference import elementwise, indexing, sums, views, windows
from daypack.compiler.reference.rule import Array, Rule
from daypack.errors import TraceError

_RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **views.RULES,
    **indexing.RULES,
    **sums.RULES,
    **windows.RULES,
}


def run(graph: StepGraph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The graph's outputs, by name, for inputs by name.

    Raises:
        TraceError: an input is missing, or has another shape or element type.
    """
    env: dict[int, Array] = {}
    for item in graph.inputs:
        given = graph.constants.get(item.name, arrays.get(item.name))
        if given is None:
            raise TraceError(f"graph {graph.name!r}: input {item.name!r} was not given")
        array = np.asarray(given)
        wanted = (item.value.shape, numpy_dtype(item.value.dtype))
        if (array.shape, array.dtype) != wanted:
            raise TraceError(
                f"graph {graph.name!r}: input {item.name!r} is {array.dtype}{list(array.shape)}, "
                f"expected {item.value.dtype}{list(item.value.shape)}"
            )
        env[item.value.id] = array
    with np.errstate(all="ignore"):
        evaluate(graph.nodes, env)
    return {out.name: env[out.value.id] for out in graph.outputs}


def evaluate(nodes: Sequence[Node], env: dict[int, Array]) -> None:
    """Compute each node's outputs into `env` (value id → array)."""
    for node in nodes:
        arrays = [env[v.id] for v in node.inputs]
        results = apply(node, arrays) if node.body is None else _fused(node.body, arrays)
        for value, result in zip(node.outputs, results, strict=True):
            env[value.id] = np.asarray(result, numpy_dtype(value.dtype)).reshape(value.shape)


def _fused(body: StepGraph, arrays: Sequence[Array]) -> list[Array]:
    env = {item.value.id: array for item, array in zip(body.inputs, arrays, strict=True)}
    evaluate(body.nodes, env)
    return [env[out.value.id] for out in body.outputs]


def apply(node: Node, arrays: Sequence[Array]) -> Sequence[Array]:
    """One operation's results."""
    rule = _RULES.get(node.op)
    if rule is None:
        raise TraceError(f"the interpreter has no operation {node.op!r}")
    result: Any = rule(node, arrays)
    return cast("tuple[Array, ...]", result) if isinstance(result, tuple) else (result,)
