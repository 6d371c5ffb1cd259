"""Frozen matrices that are read in parts become the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.compiler.graph import Role, StepGraph
from daypack.compiler.interpret import run
from daypack.compiler.kernels.build import canonical
from daypack.compiler.passes import split_frozen as module
from daypack.compiler.passes.dce import dce
from daypack.compiler.passes.split_frozen import split_frozen
from daypack.compiler.pipeline import optimize
from daypack.compiler.text import render
from daypack.compiler.trace import Argument, trace
from daypack.operators import loss_head

ROWS, WIDTH = 10, 4


@pytest.fixture(autouse=True)
def _small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BYTES", 1)


def _graph(function: Callable[[Any, Any], Mapping[str, Any]]) -> StepGraph:
    table = jax.ShapeDtypeStruct((ROWS, WIDTH), np.float32)
    ids = jax.ShapeDtypeStruct((3,), np.int32)
    return dce(trace("t", function, [Argument({"w": table}, Role.FROZEN), Argument({"i": ids}, Role.BATCH)]))


def _names(graph: StepGraph) -> list[tuple[str, str]]:
    return [(item.name, str(item.role)) for item in graph.inputs]


def test_row_ranges_become_inputs_and_lookups_read_flash() -> None:
    def step(weights: Any, batch: Any) -> dict[str, Any]:
        table = weights["w"]
        rows = table.at[batch["i"]].get(mode="promise_in_bounds", wrap_negative_indices=False)
        return {"a": table[:4] * table[:4], "b": table[4:7] + table[4:7], "rows": rows}

    before = _graph(step)
    after = split_frozen(before)
    assert _names(after) == [("w[0:4]", "frozen"), ("w[4:7]", "frozen"), ("w", "flash"), ("i", "batch")]
    (lookup,) = (n for n in after.nodes if n.op == "read_rows")
    assert lookup.inputs[1] is next(item.value for item in after.inputs if item.name == "i")
    table = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
    ids = np.array([9, 0, 3], np.int32)
    want = run(before, {"w": table, "i": ids})
    got = run(after, {"w[0:4]": table[:4], "w[4:7]": table[4:7], "w": table, "i": ids})
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda w: w[:4] @ w.T, id="also read whole"),
        pytest.param(lambda w: w[0:8:2], id="every second row"),
        pytest.param(lambda w: w[:, 1:3], id="columns"),
        pytest.param(lambda w: w[:5].sum() + w[3:9].sum(), id="overlapping ranges"),
        pytest.param(lambda w: jnp.take(w, np.array([[1], [2]]), axis=0, mode="fill"), id="filling lookup"),
    ],
)
def test_other_reads_leave_it_whole(read: Callable[[Any], Any]) -> None:
    graph = _graph(lambda weights, batch: {"y": read(weights["w"])})
    assert ("w", "frozen") in _names(split_frozen(graph))


def test_small_matrices_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BYTES", ROWS * WIDTH * 4 + 1)
    graph = _graph(lambda weights, batch: {"y": weights["w"][:4] * weights["w"][:4]})
    assert ("w", "frozen") in _names(split_frozen(graph))


def test_blocks_of_a_frozen_head_share_kernels_and_come_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No block's scores or products wait for the last block."""
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", 8)

    def bodies(blocks: int) -> list[str]:
        shapes = [jax.ShapeDtypeStruct((2, 5, WIDTH), np.float32)]
        shapes.append(jax.ShapeDtypeStruct((8 * blocks + 3, WIDTH), np.float32))
        labels = jax.ShapeDtypeStruct((2, 5), np.int32)

        def step(x: Any, w: Any, batch: Any) -> dict[str, Any]:
            def loss(hidden: Any) -> Any:
                return loss_head.frozen_head_loss(hidden, w["w"], batch["labels"], -100)

            value, gradient = jax.value_and_grad(loss)(x["x"])
            return {"loss": value, "gradient": gradient}

        arguments = [
            Argument({"x": shapes[0]}, Role.TRAINABLE),
            Argument({"w": shapes[1]}, Role.FROZEN),
            Argument({"labels": labels}, Role.BATCH),
        ]
        nodes = optimize(trace("t", step, arguments)).nodes
        return [render(canonical(n.body)) for n in nodes if n.body is not None]

    few, many = bodies(4), bodies(6)
    assert len(set(few)) == len(set(many))
    repeated = [body for body in many if many.count(body) > 2]
    kinds = len(set(repeated))
    assert kinds == 3, "scores, their exponentials and sums, their product with the rows"
    assert repeated[-2 * kinds : -kinds] == repeated[-kinds:]
