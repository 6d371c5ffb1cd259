"""Passes: what each does, and that none changes what a graph computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from daypack.compiler import interpret
from daypack.compiler.graph import StepGraph
from daypack.compiler.passes.canonicalize import canonicalize
from daypack.compiler.passes.cse import cse
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.fold import fold
from daypack.compiler.pipeline import PASSES
from daypack.compiler.text import parse
from tests.compiler.cases import random
from tests.compiler.golden_graphs import FOLDER, GOLDENS, text_of
from tests.compiler.random_graphs import random_graph, random_inputs

Pass = Callable[[StepGraph], StepGraph]


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(name: str) -> None:
    path = FOLDER / f"{name}.txt"
    again = "python -m tests.compiler.golden_graphs --update writes it"
    assert path.exists(), f"{path} is missing; {again}"
    assert text_of(name) == path.read_text(encoding="utf-8"), again


def test_there_is_a_test_for_every_golden_file() -> None:
    assert {p.stem for p in FOLDER.iterdir()} == set(GOLDENS)


def results(graph: StepGraph, seed: int) -> dict[str, np.ndarray]:
    return interpret.run(graph, random_inputs(graph, seed))


@pytest.mark.parametrize("one", [cse, dce], ids=lambda p: p.__name__)
@pytest.mark.parametrize("seed", range(12))
def test_results_keep_their_bits(one: Pass, seed: int) -> None:
    graph = random_graph(seed)
    before, after = results(graph, seed), results(one(graph), seed)
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}


@pytest.mark.parametrize("seed", range(12))
def test_folding_changes_no_number(seed: int) -> None:
    """x + 0 may keep a negative zero, nothing else changes."""
    graph = random_graph(seed)
    before, after = results(graph, seed), results(fold(graph), seed)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


@pytest.mark.parametrize("seed", range(40))
def test_all_passes_keep_the_results(seed: int) -> None:
    graph = random_graph(seed)
    expected = results(graph, seed)
    for one in PASSES:
        graph = one(graph)
        for name, array in results(graph, seed).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6, err_msg=one.__name__)


@pytest.mark.parametrize("seed", range(6))
def test_a_second_time_changes_nothing_more(seed: int) -> None:
    graph = random_graph(seed)
    for _ in range(4):
        for one in PASSES:
            graph = one(graph)
    ops = [node.op for node in graph.nodes]
    for one in PASSES:
        graph = one(graph)
    assert [node.op for node in graph.nodes] == ops


def nodes_after(one: Pass, text: str) -> list[str]:
    return [node.op for node in dce(one(parse(text))).nodes]


def expression(line: str, result: str = "%9", shape: str = "2,3") -> str:
    """A graph of one line over a float32[2,3] %0, an int32[2,3] %1 and a few numbers."""
    return f"""
    graph g {{
      in %0: float32[2,3] batch "x"
      in %1: int32[2,3] batch "n"
      %2: float32[] = constant() {{value=0.0}}
      %3: float32[] = constant() {{value=1.0}}
      %4: int32[] = constant() {{value=0}}
      %5: int32[] = constant() {{value=1}}
      %6: float32[] = constant() {{value='f:inf'}}
      %7: float32[] = constant() {{value='f:-inf'}}
      {line}
      out "y" {result}
    }}""".replace("      in ", "      in  ")


UNCHANGED = {
    "%9: float32[2,3] = add(%0, %2)": True,
    "%9: float32[2,3] = add(%2, %0)": True,
    "%9: float32[2,3] = add(%0, %3)": False,
    "%9: float32[2,3] = sub(%0, %2)": True,
    "%9: float32[2,3] = sub(%2, %0)": False,
    "%9: float32[2,3] = mul(%0, %3)": True,
    "%9: float32[2,3] = mul(%0, %2)": False,
    "%9: float32[2,3] = div(%0, %3)": True,
    "%9: float32[2,3] = div(%3, %0)": False,
    "%9: float32[2,3] = max(%0, %7)": True,
    "%9: float32[2,3] = max(%0, %6)": False,
    "%9: float32[2,3] = min(%6, %0)": True,
    "%9: int32[2,3] = mul(%5, %1)": True,
    "%9: int32[2,3] = or(%1, %4)": True,
    "%9: int32[2,3] = and(%1, %4)": False,
    "%9: float32[2,3] = reshape(%0)": True,
    "%9: float32[3,2] = reshape(%0)": False,
    "%9: float32[2,3] = convert_element_type(%0)": True,
    "%9: int32[2,3] = convert_element_type(%0)": False,
    "%9: float32[2,3] = broadcast_in_dim(%0) {dims=(0,1)}": True,
    "%9: float32[2,3] = slice(%0) {start=(0,0), limit=(2,3), strides=(1,1)}": True,
    "%9: float32[1,3] = slice(%0) {start=(0,0), limit=(1,3), strides=(1,1)}": False,
    "%9: float32[2,3] = transpose(%0) {permutation=(0,1)}": True,
    "%9: float32[3,2] = transpose(%0) {permutation=(1,0)}": False,
    "%9: float32[2,3] = integer_pow(%0) {y=1}": True,
    "%9: float32[2,3] = integer_pow(%0) {y=2}": False,
    "%9: float32[2,3] = concatenate(%0) {axis=0}": True,
    "%9: float32[4,3] = concatenate(%0, %0) {axis=0}": False,
    "%9: float32[2,3] = pad(%0, %2) {config=((0,0,0),(0,0,0))}": True,
    "%9: float32[3,3] = pad(%0, %2) {config=((1,0,0),(0,0,0))}": False,
    "%9: float32[2,3] = reduce_sum(%0) {axes=()}": True,
    "%9: float32[2] = reduce_sum(%0) {axes=(1,)}": False,
}


@pytest.mark.parametrize("line", UNCHANGED)
def test_what_folding_drops_and_what_it_keeps(line: str) -> None:
    graph = dce(fold(parse(expression(line))))
    dropped = graph.outputs[0].value.id in (0, 1)
    assert dropped is UNCHANGED[line]


def test_folding_does_not_take_true_for_one() -> None:
    text = 'graph g {\n in  %0: bool[2] batch "x"\n %1: bool[] = constant() {value=True}\n'
    text += ' %2: bool[2] = mul(%0, %1)\n out "y" %2\n}'
    assert nodes_after(fold, text) == ["constant", "mul"]


def test_uniform_arrays_become_a_number() -> None:
    line = "%8: float32[2,3] = broadcast_in_dim(%3) {dims=()}\n%9: float32[2,3] = exp(%8)"
    (constant, spread) = dce(fold(parse(expression(line)))).nodes
    assert (constant.op, spread.op) == ("constant", "broadcast_in_dim")
    assert constant.attrs["value"] == float(np.float32(np.exp(1.0)))


def test_a_product_read_twice_is_not_computed_twice() -> None:
    text = """
    graph g {
      in  %0: float32[4,5] batch "x"
      in  %1: float32[5,6] batch "w"
      %2: float32[4,6] = dot_general(%0, %1) {ATTRS}
      %3: float32[6,4] = transpose(%2) {permutation=(1,0)}
      out "a" %2
      out "b" %3
    }""".replace("ATTRS", "lhs_batch=(), lhs_contract=(1,), rhs_batch=(), rhs_contract=(0,)")
    assert nodes_after(canonicalize, text) == ["dot_general", "transpose"]


def test_a_batched_product_is_exchanged_within_its_batch() -> None:
    text = """
    graph g {
      in  %0: float32[3,4,5] batch "x"
      in  %1: float32[3,6,5] batch "w"
      %2: float32[3,4,6] = dot_general(%0, %1) {ATTRS}
      RESULT
      out "y" %3
    }""".replace("ATTRS", "lhs_batch=(0,), lhs_contract=(2,), rhs_batch=(0,), rhs_contract=(2,)")
    moved = "%3: float32[6,3,4] = transpose(%2) {permutation=(2,0,1)}"
    assert nodes_after(canonicalize, text.replace("RESULT", moved)) == ["dot_general", "transpose"]
    exchanged = text.replace("RESULT", "%3: float32[3,6,4] = transpose(%2) {permutation=(0,2,1)}")
    assert nodes_after(canonicalize, exchanged) == ["dot_general"]
    graph, inputs = parse(exchanged), {"x": random(3, 4, 5), "w": random(3, 6, 5)}
    before, after = interpret.run(graph, inputs)["y"], interpret.run(canonicalize(graph), inputs)["y"]
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_gradient_is_scattered_onto_the_other() -> None:
    text = """
    graph g {
      in  %0: float32[9,4] batch "x"
      in  %1: int32[3,1] batch "rows"
      in  %2: float32[3,4] batch "updates"
      %3: float32[] = constant() {value=START}
      %4: float32[9,4] = broadcast_in_dim(%3) {dims=()}
      %5: float32[9,4] = scatter-add(%4, %1, %2) {ATTRS}
      %6: float32[9,4] = add(%5, %0)
      out "y" %6
    }"""
    places = "update_window=(1,), inserted=(0,), scatter_dims=(0,)"
    text = text.replace("ATTRS", f"{places}, operand_batching=(), indices_batching=(), mode='CLIP'")
    assert nodes_after(canonicalize, text.replace("START", "0.0")) == ["scatter-add"]
    kept = ["constant", "broadcast_in_dim", "scatter-add", "add"]
    assert nodes_after(canonicalize, text.replace("START", "1.0")) == kept
    twice = text.replace("START", "0.0").replace('out "y" %6', 'out "y" %6\n      out "z" %5')
    assert nodes_after(canonicalize, twice) == kept
