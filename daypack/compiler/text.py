"""The printed form of a step graph, and its parser: `parse(render(g))` has the text of `g` again.

One line a value; names are JSON strings and attributes Python literals, floats in hex so that every bit
survives; a fused node carries its body indented between brackets. Arrays of constants print as base64 of
their raw little-endian bytes. The text says everything about a graph: two graphs are equal where their texts
are.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NoReturn, cast

import numpy as np

from daypack.compiler.graph import DTYPE_BYTES, Input, Node, Output, Role, StepGraph, Value, numpy_dtype
from daypack.errors import TraceError

_STRING = r'("(?:[^"\\]|\\.)*")'
_TYPED = r"%\d+: \w+\[[\d,]*\]"
_GRAPH = re.compile(r"graph (\S+) \{$")
_VALUE = re.compile(r"%(\d+): (\w+)\[([\d,]*)\]")
_INPUT = re.compile(rf"in  ({_TYPED}) (\w+) {_STRING}(?: = (\S*))?$")
_NODE = re.compile(
    rf"({_TYPED}(?:, {_TYPED})*) = ([\w-]+)\(((?:%\d+(?:, %\d+)*)?)\)(?: \{{(.*)\}})?(?: @{_STRING})?( \[)?$"
)
_OUTPUT = re.compile(rf"out {_STRING} %(\d+)$")


def render(graph: StepGraph, indent: str = "") -> str:
    """The graph as text, one line an input, node or output."""
    lines = [f"{indent}graph {graph.name} {{"]
    inner = indent + "  "
    for item in graph.inputs:
        line = f"{inner}in  {_typed(item.value)} {item.role} {json.dumps(item.name)}"
        if item.name in graph.constants:
            raw = np.ascontiguousarray(graph.constants[item.name]).tobytes()
            line += " = " + base64.b64encode(raw).decode()
        lines.append(line)
    for node in graph.nodes:
        lines.extend(_node_lines(node, inner))
    lines.extend(f"{inner}out {json.dumps(out.name)} %{out.value.id}" for out in graph.outputs)
    return "\n".join([*lines, f"{indent}}}"])


def _typed(value: Value) -> str:
    return f"%{value.id}: {value.dtype}[{','.join(map(str, value.shape))}]"


def _node_lines(node: Node, indent: str) -> Iterator[str]:
    left = ", ".join(_typed(v) for v in node.outputs)
    args = ", ".join(f"%{v.id}" for v in node.inputs)
    line = f"{indent}{left} = {node.op}({args})"
    if node.attrs:
        line += " {" + ", ".join(f"{k}={_literal(v)}" for k, v in sorted(node.attrs.items())) + "}"
    if node.source:
        line += f" @{json.dumps(node.source)}"
    if node.body is None:
        yield line
        return
    yield line + " ["
    yield from render(node.body, indent + "  ").split("\n")
    yield indent + "]"


def _literal(value: Any) -> str:
    """A Python literal; a float is a string of its hexadecimal form, so that infinities and NaN have one
    too."""
    if isinstance(value, float):
        return f"'f:{value.hex()}'"
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)
        return "(" + "".join(_literal(v) + "," for v in items) + ")"
    return repr(value)


def _thaw(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("f:"):
        return float.fromhex(value[2:])
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)
        return tuple(_thaw(v) for v in items)
    return value


def parse(text: str) -> StepGraph:
    """The graph a text stands for.

    Raises:
        TraceError: a line is not of the printed form; the message has its number and what is wrong with it.
    """
    parser = _Parser(text)
    graph = parser.graph()
    parser.end()
    return graph


class _Parser:
    """Reads lines one after the other; blank ones do not count."""

    def __init__(self, text: str) -> None:
        numbered = enumerate((line.strip() for line in text.split("\n")), 1)
        self._lines = [(number, line) for number, line in numbered if line]
        self._at = 0
        self._values: dict[int, Value] = {}

    def _line(self) -> str:
        return self._lines[self._at][1] if self._at < len(self._lines) else ""

    def _fail(self, problem: str) -> NoReturn:
        if self._at >= len(self._lines):
            raise TraceError(f"graph text, at its end: {problem}")
        number, line = self._lines[self._at]
        raise TraceError(f"graph text, line {number}: {problem}: {line!r}")

    def end(self) -> None:
        """Nothing may follow the graph."""
        if self._at < len(self._lines):
            self._fail("expected nothing after the graph")

    def graph(self) -> StepGraph:
        head = _GRAPH.match(self._line())
        if head is None:
            self._fail("expected 'graph NAME {'")
        outer, self._values = self._values, {}
        self._at += 1
        inputs: list[Input] = []
        nodes: list[Node] = []
        outputs: list[Output] = []
        constants: dict[str, np.ndarray[Any, Any]] = {}
        while self._line() != "}":
            if match := _INPUT.match(self._line()):
                inputs.append(self._input(match, constants))
            elif match := _OUTPUT.match(self._line()):
                outputs.append(Output(json.loads(match[1]), self._known(int(match[2]))))
                self._at += 1
            elif match := _NODE.match(self._line()):
                nodes.append(self._node(match))
            else:
                self._fail("expected an input, a node, an output or '}'")
        self._at += 1
        self._values = outer
        return StepGraph(head[1], tuple(inputs), tuple(nodes), tuple(outputs), MappingProxyType(constants))

    def _input(self, match: re.Match[str], constants: dict[str, np.ndarray[Any, Any]]) -> Input:
        value, name = self._defined(match[1]), json.loads(match[3])
        if match[2] not in Role.__members__.values():
            self._fail(f"expected a role, one of {', '.join(Role)}")
        if match[4] is not None:
            constants[name] = self._array(match[4], value)
        self._at += 1
        return Input(value, Role(match[2]), name)

    def _array(self, encoded: str, value: Value) -> np.ndarray[Any, Any]:
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            self._fail("expected base64 after '='")
        if len(raw) != value.size_bytes:
            self._fail(f"expected {value.size_bytes} bytes after '=', found {len(raw)}")
        return np.frombuffer(raw, numpy_dtype(value.dtype)).reshape(value.shape)

    def _node(self, match: re.Match[str]) -> Node:
        inputs = tuple(self._known(int(a[1:])) for a in match[3].split(", ") if a)
        attrs = self._attributes(match[4]) if match[4] else {}
        outputs = tuple(self._defined(v[0]) for v in re.finditer(_TYPED, match[1]))
        source = json.loads(match[5]) if match[5] else ""
        self._at += 1
        body = None
        if match[6]:
            body = self.graph()
            if self._line() != "]":
                self._fail("expected ']' after the body")
            self._at += 1
        return Node(match[2], inputs, outputs, MappingProxyType(attrs), source, body)

    def _attributes(self, text: str) -> dict[str, Any]:
        """`a=1, b='x'` is read as Python reads the arguments of a call."""
        try:
            call = ast.parse(f"f({text})", mode="eval").body
            if not isinstance(call, ast.Call) or call.args:
                raise ValueError
            return {str(k.arg): _thaw(ast.literal_eval(k.value)) for k in call.keywords}
        except (ValueError, SyntaxError):
            self._fail("expected attributes 'NAME=LITERAL, …' between braces")

    def _known(self, number: int) -> Value:
        if number not in self._values:
            self._fail(f"%{number} is used before it is defined")
        return self._values[number]

    def _defined(self, text: str) -> Value:
        ((digits, dtype, dims),) = _VALUE.findall(text)
        number = int(digits)
        if dtype not in DTYPE_BYTES:
            self._fail(f"expected an element type, one of {', '.join(DTYPE_BYTES)}, found {dtype}")
        if number in self._values:
            self._fail(f"%{number} is defined a second time")
        value = Value(number, tuple(int(n) for n in dims.split(",") if n), dtype)
        self._values[number] = value
        return value
