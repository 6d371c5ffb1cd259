"""Every operation: traced and interpreted against `jax.jit`, and its kernels against the interpreter."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from daypack.compiler import interpret, ops
from tests.compiler.cases import CASES, Case
from tests.compiler.graphs import calls, fused, inputs_of, named_results, traced
from tests.compiler.harness import Kernel, Library, kernel_of

NOT_TRACED = ops.FLASH_READS | {"fused"}
"""Operations that only passes make."""


def assert_close(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], rtol: float, atol: float) -> None:
    """Equal shape, type, and values within the bounds; where both are zero, the same bits (any NaN is
    NaN)."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if ours.dtype.kind in "fV":
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if rtol == atol == 0.0:
        np.testing.assert_array_equal(ours, theirs)
        if ours.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(ours[ours == 0]), np.signbit(theirs[theirs == 0]))
    else:
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def test_every_operation_has_a_case() -> None:
    covered = {op for case in CASES for op in case.ops}
    assert covered == ops.ALL - NOT_TRACED


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_interpreter_agrees_with_jax(case: Case) -> None:
    graph = traced(case.function, *case.arrays)
    assert {node.op for node in graph.nodes} >= set(case.ops)
    ours = interpret.run(graph, inputs_of(case.arrays))
    theirs = named_results(jax.jit(case.function)(*case.arrays))
    assert sorted(ours) == sorted(theirs)
    for name, result in theirs.items():
        assert_close(ours[name], np.asarray(result), case.rtol, case.atol)


@pytest.fixture(scope="module")
def library() -> Library:
    """The kernels of every case, called CASE/NUMBER."""
    kernels: dict[str, Kernel] = {}
    for case in CASES:
        for number, node in enumerate(fused(case.function, *case.arrays).nodes):
            kernels[f"{case.name}/{number}"] = kernel_of(node)
    return Library(kernels)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_agree_with_the_interpreter(case: Case, library: Library) -> None:
    graph = fused(case.function, *case.arrays)
    for number, (_, arrays, expected) in enumerate(calls(graph, inputs_of(case.arrays))):
        name = f"{case.name}/{number}"
        once = library.run(name, arrays)
        for ours, theirs in zip(once, expected, strict=True):
            assert_close(ours, theirs, case.rtol, case.atol)
        again = library.run(name, arrays, chunks=3)
        assert [a.tobytes() for a in again] == [a.tobytes() for a in once]
