"""The distinct kernels of a training step, and the same kernels with their loops cut short."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import Input, Node, Output, StepGraph, Value
from daypack.compiler.kernels.build import canonical
from daypack.compiler.pipeline import optimize_step
from daypack.compiler.step import TrainStep, trace_micro, trace_update
from daypack.compiler.text import render
from daypack.models.task import build_task
from daypack.spec import TrainSpec

SIZED = ("start", "limit", "slice_sizes")
"""Attributes that hold sizes; `config` of a pad does too, and every other one holds axes or settings."""


@dataclass(frozen=True)
class Body:
    """A kernel before it is scheduled. Its name tells the kind and is the same in every run."""

    name: str
    kind: str
    graph: StepGraph
    source: str


def bodies_of(specs: Iterable[TrainSpec]) -> list[Body]:
    """Every distinct fused body of these trainings, in order of first use.

    Bodies that differ in the values of constants alone (the number of a dropout site) count as one. What the
    engine does itself, reading rows from flash, has no kernel.
    """
    found: dict[str, Body] = {}
    for spec in specs:
        for node in _fused(spec):
            kind = str(node.attrs["kind"])
            if node.body is not None and kind != Kind.FLASH_ROWS:
                graph = canonical(node.body)
                key = hashlib.sha256(f"{kind}\n{render(_without_values(graph))}".encode()).hexdigest()
                found.setdefault(key, Body(f"{kind}_{key[:10]}", kind, graph, node.source))
    return list(found.values())


def _fused(spec: TrainSpec) -> Iterable[Node]:
    task = build_task(spec)
    window = spec.train.window or 1
    shapes = (task.trainable, task.frozen, task.mutable, task.batch)
    step = TrainStep(task.loss, task.optimizer, *shapes, window, task.seed)
    for graph in optimize_step(trace_micro(step), trace_update(step)):
        yield from graph.nodes


def _without_values(graph: StepGraph) -> StepGraph:
    nodes = tuple(_with_attrs(n, {k: v for k, v in n.attrs.items() if k != "value"}) for n in graph.nodes)
    return StepGraph(graph.name, graph.inputs, nodes, graph.outputs)


def _with_attrs(node: Node, attrs: Mapping[str, Any]) -> Node:
    return Node(node.op, node.inputs, node.outputs, MappingProxyType(dict(attrs)), node.source, node.body)


def cut(body: Body, sizes: Mapping[int, int]) -> Body:
    """The same operations on other sizes: every size of at least the smallest key is replaced.

    Raises:
        KeyError: a size that `sizes` does not have.
    """
    values: dict[int, Value] = {}

    def shrunk(value: Value) -> Value:
        if value.id not in values:
            shape = tuple(_size(n, sizes) for n in value.shape)
            values[value.id] = Value(value.id, shape, value.dtype)
        return values[value.id]

    graph = body.graph
    inputs = tuple(Input(shrunk(i.value), i.role, i.name) for i in graph.inputs)
    nodes = tuple(
        Node(
            node.op,
            tuple(shrunk(v) for v in node.inputs),
            tuple(shrunk(v) for v in node.outputs),
            MappingProxyType({key: _attribute(key, value, sizes) for key, value in node.attrs.items()}),
            node.source,
        )
        for node in graph.nodes
    )
    outputs = tuple(Output(o.name, shrunk(o.value)) for o in graph.outputs)
    return Body(body.name, body.kind, StepGraph(graph.name, inputs, nodes, outputs), body.source)


def _size(size: int, sizes: Mapping[int, int]) -> int:
    return sizes[size] if size >= min(sizes) else size


def _attribute(key: str, value: Any, sizes: Mapping[int, int]) -> Any:
    if key in SIZED:
        return tuple(_size(n, sizes) for n in value)
    if key == "config":
        return tuple(tuple(_size(n, sizes) for n in axis) for axis in value)
    return value
