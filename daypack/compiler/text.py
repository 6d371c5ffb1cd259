"""The printed form of a step graph, and its parser: `parse(render(g)) == g`.

One line a value; attributes are Python literals; a fused node carries its body indented between braces.
Arrays of constants print as base64 of their raw little-endian bytes.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from daypack.compiler.graph import Input, Node, Output, Role, StepGraph, Value
from daypack.errors import TraceError

_VALUE = re.compile(r"%(\d+): (\w+)\[([\d,]*)\]")
_INPUT = re.compile(r'in  (%\d+: \w+\[[\d,]*\]) (\w+) "(.*?)"(?: = (\S*))?$')
_NODE = re.compile(r'(.*?) = ([\w-]+)\((.*?)\)(?: \{(.*?)\})?(?: @"(.*?)")?( \[)?$')
_OUTPUT = re.compile(r'out "(.*?)" %(\d+)$')


def render(graph: StepGraph, indent: str = "") -> str:
    """The graph as text, one line an input, node or output."""
    lines = [f"{indent}graph {graph.name} {{"]
    inner = indent + "  "
    for item in graph.inputs:
        line = f'{inner}in  {_typed(item.value)} {item.role} "{item.name}"'
        if item.name in graph.constants:
            raw = np.ascontiguousarray(graph.constants[item.name]).tobytes()
            line += " = " + base64.b64encode(raw).decode()
        lines.append(line)
    for node in graph.nodes:
        lines.extend(_node_lines(node, inner))
    lines.extend(f'{inner}out "{out.name}" %{out.value.id}' for out in graph.outputs)
    return "\n".join([*lines, f"{indent}}}"])


def _typed(value: Value) -> str:
    return f"%{value.id}: {value.dtype}[{','.join(map(str, value.shape))}]"


def _node_lines(node: Node, indent: str) -> Iterator[str]:
    left = ", ".join(_typed(v) for v in node.outputs)
    args = ", ".join(f"%{v.id}" for v in node.inputs)
    line = f"{indent}{left} = {node.op}({args})"
    if node.attrs:
        line += " {" + "; ".join(f"{k}={_literal(v)}" for k, v in sorted(node.attrs.items())) + "}"
    if node.source:
        line += f' @"{node.source}"'
    if node.body is None:
        yield line
        return
    yield line + " ["
    yield from render(node.body, indent + "  ").split("\n")
    yield indent + "]"


def _literal(value: Any) -> str:
    """A Python literal; floats in hex so that every bit survives, infinities and NaN included."""
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
        TraceError: a line is not of the printed form; the message shows it and its number.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    graph, rest = _parse_graph(lines, 0)
    if rest != len(lines):
        raise _bad(lines[rest])
    return graph


def _bad(line: tuple[int, str]) -> TraceError:
    return TraceError(f"graph text, line {line[0]}: not an input, a node, an output or an end: {line[1]!r}")


def _parse_graph(lines: list[tuple[int, str]], at: int) -> tuple[StepGraph, int]:
    head = re.match(r"graph (\S+) \{$", lines[at][1])
    if head is None:
        raise TraceError(f"graph text, line {lines[at][0]}: expected 'graph NAME {{', found {lines[at][1]!r}")
    values: dict[int, Value] = {}
    inputs: list[Input] = []
    nodes: list[Node] = []
    outputs: list[Output] = []
    constants: dict[str, np.ndarray[Any, Any]] = {}
    at += 1
    while at < len(lines) and lines[at][1] != "}":
        line = lines[at]
        if match := _INPUT.match(line[1]):
            value = _parse_value(match[1], values)
            inputs.append(Input(value, Role(match[2]), match[3]))
            if match[4] is not None:
                raw = base64.b64decode(match[4])
                constants[match[3]] = np.frombuffer(raw, np.dtype(value.dtype)).reshape(value.shape)
            at += 1
        elif match := _OUTPUT.match(line[1]):
            outputs.append(Output(match[1], _known(int(match[2]), values, line)))
            at += 1
        elif match := _NODE.match(line[1]):
            node, at = _parse_node(match, lines, at, values)
            nodes.append(node)
        else:
            raise _bad(line)
    if at == len(lines):
        raise TraceError("graph text: the closing '}' is missing")
    graph = StepGraph(head[1], tuple(inputs), tuple(nodes), tuple(outputs), MappingProxyType(constants))
    return graph, at + 1


def _parse_node(
    match: re.Match[str], lines: list[tuple[int, str]], at: int, values: dict[int, Value]
) -> tuple[Node, int]:
    line = lines[at]
    args = [int(a[1:]) for a in match[3].split(", ") if a]
    inputs = tuple(_known(a, values, line) for a in args)
    outputs = tuple(_parse_value(v, values) for v in match[1].split(", "))
    attrs: dict[str, Any] = {}
    for item in (match[4] or "").split("; "):
        if item:
            key, _, literal = item.partition("=")
            attrs[key] = _thaw(ast.literal_eval(literal))
    body = None
    at += 1
    if match[6]:
        body, at = _parse_graph(lines, at)
        at += 1  # the closing bracket
    return Node(match[2], inputs, outputs, MappingProxyType(attrs), match[5] or "", body), at


def _known(number: int, values: dict[int, Value], line: tuple[int, str]) -> Value:
    if number not in values:
        raise TraceError(f"graph text, line {line[0]}: %{number} is used before it is defined")
    return values[number]


def _parse_value(text: str, values: dict[int, Value]) -> Value:
    match = _VALUE.match(text)
    if match is None:
        raise TraceError(f"graph text: expected '%N: dtype[shape]', found {text!r}")
    shape = tuple(int(n) for n in match[3].split(",") if n)
    value = Value(int(match[1]), shape, match[2])
    values[value.id] = value
    return value
