"""The verifier accepts what the compiler makes at every stage, and names what is wrong with anything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from daypack.compiler import ops
from daypack.compiler.fusion.fuse import fuse
from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import Input, Node, Output, Role, StepGraph, Value
from daypack.compiler.pipeline import PASSES
from daypack.compiler.text import parse
from daypack.compiler.verify import ANCHORS, LEGAL, SIGNATURES, Stage, verify
from daypack.errors import TraceError
from tests.compiler.cases import CASES, Case
from tests.compiler.graphs import traced
from tests.compiler.random_graphs import random_graph


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_compiler_makes_is_legal_at_each_stage(case: Case) -> None:
    graph = traced(case.function, *case.arrays)
    verify(graph, Stage.TRACED)
    for one in PASSES:
        graph = one(graph)
        verify(graph, Stage.OPTIMIZED)
    verify(fuse(graph), Stage.FUSED)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_are_legal(seed: int) -> None:
    graph = random_graph(seed)
    verify(graph, Stage.TRACED)
    for one in PASSES:
        graph = one(graph)
        verify(graph, Stage.OPTIMIZED)
    verify(fuse(graph), Stage.FUSED)


def test_the_tables_are_complete() -> None:
    assert set(SIGNATURES) == ops.ALL - {"fused"}
    assert set(LEGAL) == set(Stage)
    assert set(ANCHORS) == set(Kind)


# ---- hand-broken nodes ----

VALUES = """
  in  %0: float32[2,3] batch "x"
  in  %1: float32[3] batch "v"
  in  %2: int32[2,3] batch "n"
  in  %3: int32[4,1] batch "rows"
  in  %4: float32[4,3] batch "u"
  in  %5: bool[2,3] batch "p"
  in  %6: float32[5,6,7] batch "t"
  in  %7: int32[] batch "i"
  in  %8: float32[1,4,5,2] batch "image"
  in  %9: float32[3,3,2,6] batch "kernel"
  in  %10: uint32[2,3] batch "k"
  in  %11: float32[] batch "s"
  in  %12: float32[3,3] batch "square"
  in  %13: float32[1,2] batch "corner"
  in  %14: int32[4] batch "ids"
  in  %15: float32[4,9] batch "wide"
"""
GATHER = "offset_dims=(1,), collapsed=(0,), start_index_map=(0,), operand_batching=(), indices_batching=(), "
GATHER += "slice_sizes=(1,3), mode='CLIP', fill='f:nan'"
SCATTER = "update_window=(1,), inserted=(0,), scatter_dims=(0,), operand_batching=(), indices_batching=(), "
SCATTER += "mode='CLIP'"
CONV = "lhs_spec=(0,3,1,2), rhs_spec=(3,2,0,1), out_spec=(0,3,1,2), strides=(1,1), padding=((1,1),(1,1)), "
CONV += "lhs_dilation=(1,1), rhs_dilation=(1,1), feature_groups=1, batch_groups=1"
DOT = "lhs_contract=(1,), rhs_contract=(0,), lhs_batch=(), rhs_batch=()"
POOL = "window=(1,2,2), strides=(1,2,2), padding=((0,0),(0,0),(0,0))"
FULL = f"{POOL}, base_dilation=(1,1,1), window_dilation=(1,1,1)"

LEGAL_LINES = (
    f"float32[4,3] = gather(%0, %3) {{{GATHER}}}",
    f"float32[2,3] = scatter-add(%0, %3, %4) {{{SCATTER}}}",
    f"float32[1,4,5,6] = conv_general_dilated(%8, %9) {{{CONV}}}",
    f"float32[2,3] = dot_general(%0, %12) {{{DOT}}}",
    f"float32[5,3,3] = reduce_window_sum(%6) {{{FULL}}}",
    "float32[2,3] = dynamic_update_slice(%0, %13, %7, %7)",
    "float32[4,3] = read_rows(%0, %14)",
    "float32[5,7] = reduce_sum(%6) {axes=(1,)}",
)


def broken_nodes() -> dict[str, str]:
    """Node → how the message begins, from the table in broken_nodes.txt."""
    text = (Path(__file__).parent / "broken_nodes.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n")[1:] if line and not line.startswith("#")]
    return {node: message.strip() for node, message in zip(lines[::2], lines[1::2], strict=True)}


BROKEN = broken_nodes()


def one_line(line: str) -> StepGraph:
    text = f'graph g {{{VALUES}  %50: {line} @"model.py:7 (loss)"\n  out "y" %50\n}}'
    return parse(text)


@pytest.mark.parametrize("line", LEGAL_LINES)
def test_legal_nodes(line: str) -> None:
    verify(one_line(line), Stage.OPTIMIZED)


@pytest.mark.parametrize("line", BROKEN)
def test_broken_nodes(line: str) -> None:
    with pytest.raises(TraceError) as caught:
        verify(one_line(line), Stage.OPTIMIZED)
    where, _, problem = caught.value.message.partition(" made at model.py:7 (loss): ")
    op = line.split(" = ")[1].split("(")[0]
    assert where.startswith(f"graph 'g' at stage optimized, node 0, %50 = {op}(")
    assert problem.startswith(BROKEN[line])


def test_what_only_passes_make_is_not_traced() -> None:
    with pytest.raises(
        TraceError, match="at stage traced, node 0.*expected an operation of this stage, found 'read"
    ):
        verify(one_line("float32[4,3] = read_rows(%0, %14)"), Stage.TRACED)


# ---- hand-broken graphs ----

X, Y = Value(0, (2,), "float32"), Value(1, (2,), "float32")
TANH = Node("tanh", (X,), (Y,))
TINY = StepGraph("g", (Input(X, Role.BATCH, "x"),), (TANH,), (Output("y", Y),))
ARRAY = np.ones(2, np.float32)
BAD = Value(2, (2,), "float99")
NEGATIVE = Value(2, (-2,), "float32")
CONSTANT = replace(TINY, inputs=(Input(X, Role.CONSTANT, "x"),))

STRUCTURE = {
    "node 0, %0 = tanh(%0): expected one definition a value, found a second one of %0": replace(
        TINY, nodes=(Node("tanh", (X,), (X,)),)
    ),
    "node 0, %1 = tanh(%2): expected %2 to be defined before it is read, found no definition": replace(
        TINY, nodes=(Node("tanh", (replace(X, id=2),), (Y,)),)
    ),
    "node 0, %1 = tanh(%0): expected %0 as it is defined, float32[2], found float32[3]": replace(
        TINY, nodes=(Node("tanh", (replace(X, shape=(3,)),), (Y,)),)
    ),
    "node 0, %1 = tanh(%0): expected no body in tanh, found one": replace(
        TINY, nodes=(replace(TANH, body=TINY),)
    ),
    "input 'n': expected %2 to have sizes of at least 0, found (-2,)": replace(
        TINY, inputs=(*TINY.inputs, Input(NEGATIVE, Role.BATCH, "n"))
    ),
    "input 'x': expected a name of its own, found 2 such inputs": replace(
        TINY, inputs=(*TINY.inputs, Input(replace(X, id=5), Role.BATCH, "x"))
    ),
    "input 'x': expected an array for a constant, found none": CONSTANT,
    "input 'x': expected no array for the role batch, found one": replace(TINY, constants={"x": ARRAY}),
    "input 'x': expected an array of float32[2], found float32[3]": replace(
        CONSTANT, constants={"x": np.ones(3, np.float32)}
    ),
    "input 'x': expected an array of float32[2], found int32[2]": replace(
        CONSTANT, constants={"x": np.ones(2, np.int32)}
    ),
    ": expected an input for each array, found arrays of ['z']": replace(TINY, constants={"z": ARRAY}),
    "output 'y': expected a name of its own, found 2 such outputs": replace(
        TINY, outputs=(Output("y", X), Output("y", Y))
    ),
    "output 'y': expected %7 to be defined before it is read, found no definition": replace(
        TINY, outputs=(Output("y", replace(Y, id=7)),)
    ),
}


@pytest.mark.parametrize("message", STRUCTURE)
def test_broken_graphs(message: str) -> None:
    with pytest.raises(TraceError) as caught:
        verify(STRUCTURE[message], Stage.TRACED)
    assert caught.value.message.removeprefix("graph 'g' at stage traced").lstrip(", ") == message


def test_an_unknown_element_type() -> None:
    graph = replace(TINY, nodes=(Node("convert_element_type", (X,), (BAD,)),))
    with pytest.raises(TraceError, match="expected an element type, one of float32, .* found float99"):
        verify(graph, Stage.TRACED)


# ---- hand-broken fused graphs ----


def with_kind(kind: str, *lines: str, result: str = "%1", types: str = "float32[2,3]") -> StepGraph:
    """One fused node over a float32[2,3], with these lines in its body."""
    body = "\n".join(lines)
    return parse(
        f"""
        graph g {{
          in  %0: float32[2,3] batch "x"
          %1: {types} = fused(%0) {{kind='{kind}'}} [
            graph k0 {{
              in  %0: float32[2,3] activation "in0"
              {body}
              out "out0" {result}
            }}
          ]
          out "y" %1
        }}"""
    )


SUM = "%1: float32[2] = reduce_sum(%0) {axes=(1,)}"
SUM_TWICE = (SUM, "%2: float32[2] = reduce_max(%0) {axes=(1,)}")
JOIN = "%1: float32[4,3] = concatenate(%0, %0) {axis=0}"

FUSED = {
    "expected kind to be one of elementwise, ": with_kind("blue", "%1: float32[2,3] = tanh(%0)"),
    "expected a body of kind elementwise, found reduce_sum": with_kind(
        "elementwise", SUM, types="float32[2]"
    ),
    "expected at least one of reduce_and, reduce_max, ": with_kind("rows", "%1: float32[2,3] = tanh(%0)"),
    "expected exactly one of argmax, argmin, reduce_and, ": with_kind(
        "general", *SUM_TWICE, types="float32[2]"
    ),
    "expected exactly one of concatenate, found 2 of them": with_kind(
        "concatenate", JOIN, "%2: float32[8,3] = concatenate(%1, %1) {axis=0}", types="float32[4,3]"
    ),
    "expected a body that gives float32[2,3], found float32[2]": with_kind("rows", SUM),
    "body 'k0', node 0, %1 = tanh(%0): expected operands of shape [3, 2] or [], one of": with_kind(
        "elementwise", "%1: float32[3,2] = tanh(%0)", types="float32[3,2]"
    ),
}


@pytest.mark.parametrize("message", FUSED)
def test_broken_fused_nodes(message: str) -> None:
    with pytest.raises(TraceError) as caught:
        verify(FUSED[message], Stage.FUSED)
    start = "graph 'g' at stage fused, node 0, %1 = fused(%0)"
    assert caught.value.message.startswith(start)
    assert caught.value.message.removeprefix(start).lstrip(":, ").startswith(message)


def changed(**fields: Any) -> StepGraph:
    graph = with_kind("elementwise", "%1: float32[2,3] = tanh(%0)")
    return replace(graph, nodes=(replace(graph.nodes[0], **fields),))


CHANGED = {
    "expected the attribute kind, found none": {"attrs": MappingProxyType({})},
    "expected the attribute kind, found kind, more": {"attrs": MappingProxyType({"kind": "rows", "more": 1})},
    "expected a body, found none": {"body": None},
    "expected at least 1 result, found 0": {"outputs": ()},
    "expected a body that takes float32[2,3], float32[2,3], found float32[2,3]": {
        "inputs": (Value(0, (2, 3), "float32"),) * 2
    },
    "expected a body that takes nothing, found float32[2,3]": {"inputs": ()},
}


@pytest.mark.parametrize("message", CHANGED)
def test_broken_frames_of_fused_nodes(message: str) -> None:
    with pytest.raises(TraceError) as caught:
        verify(changed(**CHANGED[message]), Stage.FUSED)
    assert caught.value.message.endswith(message)


def test_a_fused_graph_holds_nothing_else() -> None:
    with pytest.raises(
        TraceError, match="at stage fused, node 0.*expected an operation of this stage, found 'tanh'"
    ):
        verify(TINY, Stage.FUSED)


def test_a_body_holds_no_fused_node() -> None:
    inner = with_kind("elementwise", "%1: float32[2,3] = tanh(%0)")
    body = replace(inner, inputs=(Input(inner.inputs[0].value, Role.ACTIVATION, "in0"),))
    graph = replace(inner, nodes=(replace(inner.nodes[0], body=body),))
    with pytest.raises(TraceError, match="expected a body of kind elementwise, found fused"):
        verify(graph, Stage.FUSED)
