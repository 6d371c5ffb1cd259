"""From JAX functions to graphs and kernels, as the tests need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from daypack.compiler import interpret
from daypack.compiler.graph import Node, Role, StepGraph
from daypack.compiler.passes.half_products import half_products
from daypack.compiler.pipeline import PASSES, optimize
from daypack.compiler.trace import Argument, trace

Array = np.ndarray[Any, Any]


def named_results(result: Any) -> dict[str, Any]:
    """A function's results, one array or a tuple, under names in their order."""
    return {f"r{n}": r for n, r in enumerate(result if isinstance(result, tuple) else (result,))}


def traced(function: Callable[..., Any], *arrays: Array) -> StepGraph:
    """The graph of a function of arrays; its inputs are called 0, 1, … and its outputs r0, r1, …"""
    arguments = [Argument({str(n): a}, Role.BATCH) for n, a in enumerate(arrays)]

    def on_trees(*trees: Any) -> dict[str, Any]:
        return named_results(function(*(tree[str(n)] for n, tree in enumerate(trees))))

    return trace("case", on_trees, arguments)


def inputs_of(arrays: tuple[Array, ...]) -> dict[str, Array]:
    """Arrays under the names of a traced graph's inputs."""
    return {str(n): a for n, a in enumerate(arrays)}


def fused(function: Callable[..., Any], *arrays: Array) -> StepGraph:
    """The graph after every pass."""
    return optimize(traced(function, *arrays))


def fused_in_half(function: Callable[..., Any], *arrays: Array) -> StepGraph:
    """The same with the products in float16."""
    return optimize(traced(function, *arrays), (*PASSES, half_products))


def calls(graph: StepGraph, arrays: Mapping[str, Array]) -> Iterator[tuple[Node, list[Array], list[Array]]]:
    """Each node of a graph with its operands and results by the interpreter."""
    env: dict[int, Array] = {}
    for item in graph.inputs:
        given = graph.constants.get(item.name, arrays.get(item.name))
        assert given is not None
        env[item.value.id] = np.asarray(given)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            interpret.evaluate([node], env)
            yield node, [env[v.id] for v in node.inputs], [env[v.id] for v in node.outputs]
