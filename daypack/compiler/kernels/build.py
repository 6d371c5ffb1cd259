"""Fused nodes → a table of distinct kernels and one object file.

Two fused nodes with the same body, whatever their value numbers, names and source lines, are one kernel: all
layers of a model share theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from daypack.compiler.graph import Input, Node, Output, Role, StepGraph, Value
from daypack.compiler.kernels.cache import KernelCache, key_of
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object, fingerprint
from daypack.compiler.kernels.select import schedule
from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.text import render
from daypack.errors import NoKernel


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """One distinct kernel: its code, its canonical body, and the symbol of each phase."""

    name: str
    kind: str
    body: StepGraph
    code: KernelCode
    symbols: tuple[str, ...]
    source: str

    @property
    def argument_bytes(self) -> tuple[int, ...]:
        """Sizes of inputs, outputs and workspaces, in the order of the arguments."""
        values = [i.value for i in self.body.inputs] + [o.value for o in self.body.outputs]
        return tuple(v.size_bytes for v in values) + self.code.workspace_bytes


class KernelTable:
    """Distinct kernels in order of first use."""

    def __init__(self, target: KernelTarget) -> None:
        self.target = target
        self.kernels: list[BuiltKernel] = []
        self._numbers: dict[str, int] = {}

    def number_of(self, node: Node) -> int:
        """The kernel of a fused node, scheduled now if it is new.

        Raises:
            NoKernel: names the operation, its types and the source line that made it.
        """
        if node.body is None:
            raise ValueError("only fused nodes have kernels")
        body = canonical(node.body)
        kind = str(node.attrs["kind"])
        key = hashlib.sha256(f"{kind}\n{render(body)}".encode()).hexdigest()
        if key not in self._numbers:
            self._numbers[key] = len(self.kernels)
            self.kernels.append(self._built(kind, body, node.source, key))
        return self._numbers[key]

    def forget(self, count: int) -> None:
        """Keep only the first `count` kernels."""
        self.kernels = self.kernels[:count]
        self._numbers = {key: number for key, number in self._numbers.items() if number < count}

    def _built(self, kind: str, body: StepGraph, source: str, key: str) -> BuiltKernel:
        try:
            code = schedule(kind, body, self.target)
        except NoKernel as error:  # a canonical body does not know where it comes from
            raise NoKernel(f"{error.message} (made at {source or 'an unknown line'})") from None
        name = f"{kind}_{key[:12]}"
        symbols = tuple(f"dp_{name}_{n}" for n in range(len(code.phases)))
        return BuiltKernel(name, kind, body, code, symbols, source)

    def object_code(self, cache: KernelCache | None = None) -> bytes:
        """Every kernel compiled for the target, or what the cache has of the same kernels."""
        key = self.cache_key()
        found = cache.get(key) if cache else None
        if found is not None:
            return found
        code = self._compiled()
        if cache:
            cache.put(key, code)
        return code

    def cache_key(self) -> str:
        """Of all that decides the object: each kernel's body and its scheduled code, and the target."""
        parts = [repr(self.target)]
        for kernel in self.kernels:
            parts += [kernel.kind, render(kernel.body), *kernel.symbols]
            parts += [fingerprint(phase.function) for phase in kernel.code.phases]
        return key_of(parts)

    def _compiled(self) -> bytes:
        functions = {
            symbol: phase.function
            for kernel in self.kernels
            for symbol, phase in zip(kernel.symbols, kernel.code.phases, strict=True)
        }
        return compile_object(functions, self.target)


def canonical(body: StepGraph) -> StepGraph:
    """The body with values numbered in order of appearance, without names and source lines."""
    renamed: dict[int, Value] = {}

    def fresh(value: Value) -> Value:
        renamed[value.id] = Value(len(renamed), value.shape, value.dtype)
        return renamed[value.id]

    inputs = tuple(Input(fresh(i.value), Role.ACTIVATION, f"in{n}") for n, i in enumerate(body.inputs))
    nodes: list[Node] = []
    for node in body.nodes:
        operands = tuple(renamed[v.id] for v in node.inputs)
        nodes.append(Node(node.op, operands, tuple(fresh(v) for v in node.outputs), node.attrs))
    outputs = tuple(Output(f"out{n}", renamed[o.value.id]) for n, o in enumerate(body.outputs))
    return StepGraph("kernel", inputs, tuple(nodes), outputs, MappingProxyType({}))


def aligned(sizes: Sequence[int], alignment_bytes: int = 64) -> int:
    """The sum of sizes, each rounded up."""
    return sum(size + -size % alignment_bytes for size in sizes)
