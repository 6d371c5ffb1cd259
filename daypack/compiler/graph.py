"""The step graph: typed values, nodes in single-assignment order, named inputs and outputs.

A graph is data: frozen, hashable by value identity, printed and parsed by `text.py`, judged by `verify.py`,
run by `interpret.py`. Passes return new graphs.

Worked example, used again in the tests::

    graph tiny {
      in  %0: float32[2,3] batch "x"
      in  %1: float32[3] trainable "b"
      %2: float32[2,3] = broadcast_in_dim(%1) {dims=(1,)}
      %3: float32[2,3] = add(%0, %2)
      out "y" %3
    }
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {"float32": 4, "int32": 4, "uint32": 4, "bool": 1, "uint8": 1, "int8": 1, "float16": 2, "bfloat16": 2}
)
"""Element types a step may hold, with their size in the arena. A bool is one byte, 0 or 1."""


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy element type of a value's dtype."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


class Role(StrEnum):
    """What a graph input is, which decides where its bytes live and whether they persist."""

    TRAINABLE = "trainable"  # updated by the step, saved
    FROZEN = "frozen"  # read only, in the weights file
    FLASH = "flash"  # read only, in the weights file, never in memory: rows are read from it by id
    STATE = "state"  # optimizer moments, running statistics, the step counter: updated, saved
    BATCH = "batch"  # one micro-batch, read from the data file
    CLOCK = "clock"  # scalars that tell which step and micro-step this is
    GRADIENT = "gradient"  # summed over the window
    CONSTANT = "constant"  # an array the step closes over
    ACTIVATION = "activation"  # everything computed


@dataclass(frozen=True, slots=True)
class Value:
    """One array: its number within the graph, its shape (elements) and its element type."""

    id: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]

    def __hash__(self) -> int:
        return self.id


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `attrs` are plain Python values; `body` is the inside of a fused node."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""
    body: StepGraph | None = None

    @property
    def output(self) -> Value:
        """The only output, for operations that have one."""
        (value,) = self.outputs
        return value


@dataclass(frozen=True, slots=True)
class Input:
    """A graph input: the value, its role and its published name."""

    value: Value
    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class Output:
    """A graph output: its name and the value that carries it."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class StepGraph:
    """Nodes in a valid order between named inputs and named outputs.

    `constants` holds the array of every input whose role is `constant`.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    constants: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=lambda: MappingProxyType({}))

    def producers(self) -> dict[int, Node]:
        """Value id → the node that computes it (inputs have none)."""
        return {value.id: node for node in self.nodes for value in node.outputs}

    def consumers(self) -> dict[int, list[Node]]:
        """Value id → the nodes that read it, in order, one entry a node."""
        readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value_id in dict.fromkeys(value.id for value in node.inputs):
                readers.setdefault(value_id, []).append(node)
        return readers

    def next_id(self) -> int:
        """The smallest number that no value of the graph has."""
        ids = [i.value.id for i in self.inputs]
        ids += [v.id for node in self.nodes for v in node.outputs]
        return max(ids, default=-1) + 1


class GraphBuilder:
    """Collects nodes with fresh value numbers. Not a graph until `build` is called."""

    def __init__(self, name: str, first_id: int = 0) -> None:
        self.name = name
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self._next = first_id

    def value(self, shape: Iterable[int], dtype: str) -> Value:
        value = Value(self._next, tuple(int(n) for n in shape), dtype)
        self._next += 1
        return value

    def input(self, shape: Iterable[int], dtype: str, role: Role, name: str) -> Value:
        value = self.value(shape, dtype)
        self.inputs.append(Input(value, role, name))
        return value

    def constant(self, array: np.ndarray[Any, Any], name: str) -> Value:
        value = self.input(array.shape, str(array.dtype), Role.CONSTANT, name)
        self.constants[name] = array
        return value

    def node(
        self,
        op: str,
        inputs: Iterable[Value],
        shape: Iterable[int],
        dtype: str,
        attrs: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> Value:
        """Append a node with one output and return that output."""
        output = self.value(shape, dtype)
        frozen = MappingProxyType(dict(attrs or {}))
        self.nodes.append(Node(op, tuple(inputs), (output,), frozen, source))
        return output

    def build(self, outputs: Iterable[Output]) -> StepGraph:
        return StepGraph(
            self.name,
            tuple(self.inputs),
            tuple(self.nodes),
            tuple(outputs),
            MappingProxyType(dict(self.constants)),
        )
