"""The printed form parses back, bit for bit, and every malformed line is an error with its number."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daypack.compiler.graph import DTYPE_BYTES, Input, Node, Output, Role, StepGraph, Value, numpy_dtype
from daypack.compiler.text import parse, render
from daypack.errors import TraceError
from tests.compiler.cases import CASES
from tests.compiler.graphs import fused, traced

TINY = """\
graph tiny {
  in  %0: float32[2,3] batch "x"
  in  %1: float32[3] trainable "b"
  %2: float32[2,3] = broadcast_in_dim(%1) {dims=(1,)}
  %3: float32[2,3] = add(%0, %2) @"model.py:7 (loss)"
  out "y" %3
}"""


def test_the_worked_example() -> None:
    x, b = Value(0, (2, 3), "float32"), Value(1, (3,), "float32")
    spread, total = Value(2, (2, 3), "float32"), Value(3, (2, 3), "float32")
    graph = StepGraph(
        "tiny",
        (Input(x, Role.BATCH, "x"), Input(b, Role.TRAINABLE, "b")),
        (
            Node("broadcast_in_dim", (b,), (spread,), MappingProxyType({"dims": (1,)})),
            Node("add", (x, spread), (total,), source="model.py:7 (loss)"),
        ),
        (Output("y", total),),
    )
    assert render(graph) == TINY
    assert parse(TINY) == graph


@pytest.mark.parametrize("case", CASES[::9], ids=str)
def test_traced_graphs_parse_back(case: Any) -> None:
    graph = traced(case.function, *case.arrays)
    assert render(parse(render(graph))) == render(graph)


def test_fused_graphs_keep_their_bodies() -> None:
    def loss(x: Any, w: Any) -> Any:
        return jax.grad(lambda w: jnp.sum(jax.nn.softmax(jnp.tanh(x @ w)) ** 2))(w)

    graph = fused(loss, np.ones((5, 4), np.float32), np.ones((4, 6), np.float32))
    again = parse(render(graph))
    assert render(again) == render(graph)
    assert again == graph
    assert [len(n.body.nodes) for n in again.nodes if n.body] == [
        len(n.body.nodes) for n in graph.nodes if n.body
    ]
    assert max(len(n.body.nodes) for n in graph.nodes if n.body) > 1


def constant_graph(array: np.ndarray[Any, Any]) -> StepGraph:
    value = Value(0, array.shape, str(array.dtype))
    item = Input(value, Role.CONSTANT, "c")
    return StepGraph("g", (item,), (), (Output("c", value),), {"c": array})


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_constants_keep_every_byte(dtype: str) -> None:
    size = 24 // DTYPE_BYTES[dtype]
    raw = np.frombuffer(bytes(range(200, 224)), numpy_dtype(dtype)).reshape(size // 2, 2)
    again = parse(render(constant_graph(raw))).constants["c"]
    assert again.dtype == raw.dtype
    assert again.tobytes() == raw.tobytes()


def attribute(value: Any) -> Any:
    output = Value(0, (), "float32")
    node = Node("constant", (), (output,), MappingProxyType({"value": value}))
    graph = StepGraph("g", (), (node,), (Output("c", output),))
    (again,) = parse(render(graph)).nodes
    return again.attrs["value"]


@given(st.floats(allow_nan=False, width=64))
def test_floats_keep_every_bit(number: float) -> None:
    again = attribute(number)
    assert again == number
    assert math.copysign(1, again) == math.copysign(1, number)


def test_special_floats() -> None:
    assert math.isnan(attribute(math.nan))
    assert attribute(-math.inf) == -math.inf
    assert math.copysign(1, attribute(-0.0)) == -1.0
    assert attribute(5e-324) == 5e-324


@pytest.mark.parametrize("value", [True, 1, -3, "CLIP", (), (1,), ((1, 2.5), (-0.5, "x")), "}; = @\" {'"])
def test_attributes_keep_value_and_type(value: Any) -> None:
    again = attribute(value)
    assert again == value
    assert type(again) is type(value)


names = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=8)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def small_graphs(draw: st.DrawFn, depth: int = 1) -> StepGraph:
    """Graphs whose operations mean nothing but whose form is right."""
    values: list[Value] = []

    def fresh() -> Value:
        values.append(Value(len(values), draw(shapes), draw(st.sampled_from(list(DTYPE_BYTES)))))
        return values[-1]

    titles = draw(st.lists(names, max_size=3, unique=True))
    inputs = tuple(Input(fresh(), draw(st.sampled_from(Role)), name) for name in titles)
    attributes = st.dictionaries(
        st.from_regex(r"[a-z_]{1,6}", fullmatch=True).filter(str.isidentifier).map("k_".__add__),
        st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.just((1, (2.5, "x")))),
        max_size=2,
    )
    nodes: list[Node] = []
    for _ in range(draw(st.integers(0, 3))):
        operands = tuple(draw(st.lists(st.sampled_from(values), max_size=2))) if values else ()
        body = draw(small_graphs(depth - 1)) if depth and draw(st.booleans()) else None
        outputs = tuple(fresh() for _ in range(draw(st.integers(1, 2))))
        attrs = MappingProxyType(draw(attributes))
        op = draw(st.sampled_from(("add", "scatter-add", "fused")))
        nodes.append(Node(op, operands, outputs, attrs, draw(names), body))
    results = draw(st.lists(st.tuples(names, st.sampled_from(values)), max_size=2)) if values else []
    return StepGraph("g", inputs, tuple(nodes), tuple(Output(n, v) for n, v in results))


@settings(max_examples=50)
@given(small_graphs())
def test_any_graph_parses_back(graph: StepGraph) -> None:
    assert parse(render(graph)) == graph


MALFORMED = {
    "": "at its end: expected 'graph NAME {'",
    "grph g {\n}": "line 1: expected 'graph NAME {'",
    "graph g {": "at its end: expected an input, a node, an output or '}'",
    "graph g {\n}\nout": "line 3: expected nothing after the graph",
    "graph g {\n  what\n}": "line 2: expected an input, a node, an output or '}': 'what'",
    'graph g {\n  in  %0: float32[2] king "x"\n}': "line 2: expected a role, one of trainable, ",
    'graph g {\n  in  %0: float99[2] batch "x"\n}': "line 2: expected an element type, one of float32, ",
    'graph g {\n\n  in  %0: float32[2] constant "x" = AAA\n}': "line 3: expected base64 after '='",
    'graph g {\n  in  %0: float32[2] constant "x" = AAAA\n}': "line 2: expected 8 bytes after '=', found 3",
    'graph g {\n  in  %0: int32[] batch "x"\n  in  %0: int32[] batch "y"\n}': "line 3: %0 is defined a",
    "graph g {\n  %1: int32[] = neg(%0)\n}": "line 2: %0 is used before it is defined",
    'graph g {\n  out "x" %4\n}': "line 2: %4 is used before it is defined",
    "graph g {\n  %1: int32[] = constant() {value=1 2}\n}": "line 2: expected attributes 'NAME=LITERAL, …'",
    "graph g {\n  %1: int32[] = constant() {value=f(1)}\n}": "line 2: expected attributes 'NAME=LITERAL, …'",
    "graph g {\n  %1: int32[] = constant() {1}\n}": "line 2: expected attributes 'NAME=LITERAL, …'",
    "graph g {\n  %1: int32[] = fused() [\n  graph b {\n  }\n}": "line 5: expected ']' after the body",
    "graph g {\n  %1: int32[2 = neg()\n}": "line 2: expected an input, a node",
}


@pytest.mark.parametrize("text", MALFORMED, ids=MALFORMED.values())
def test_errors_name_the_line(text: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse(text)
    assert caught.value.message.startswith(f"graph text, {MALFORMED[text]}")


def test_values_of_a_body_are_its_own() -> None:
    text = (
        "graph g {\n  %1: int32[] = fused() [\n  graph b {\n  %1: int32[] = constant() {value=3}\n  }\n  ]\n}"
    )
    (node,) = parse(text).nodes
    assert node.body is not None
    assert node.body.nodes[0].attrs["value"] == 3
