"""Encoded frozen matrices: no float32 copy is ever stored, and rows are read from the stored matrix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daypack.compiler.decoding import decoded_values
from daypack.compiler.graph import Node, Role, StepGraph
from daypack.compiler.interpret import run
from daypack.compiler.passes import split_frozen as module
from daypack.compiler.passes.dce import dce
from daypack.compiler.pipeline import optimize
from daypack.compiler.trace import Argument, trace
from daypack.models.frozen import EncodedSource, Encoding, decoded
from daypack.models.parameters import ParameterSpec, normal
from daypack.models.sources import RandomSource
from daypack.operators import loss_head
from daypack.operators.loss_head import frozen_head_loss

ROWS, WIDTH, INNER = 20, 64, 96
PARAMETERS = {
    "table": ParameterSpec((ROWS, WIDTH), "float32", normal(0.5), 1),
    "places": ParameterSpec((6, WIDTH), "float32", normal(0.5), 1),
    "first": ParameterSpec((WIDTH, INNER), "float32", normal(0.5), 0),
    "second": ParameterSpec((WIDTH, INNER), "float32", normal(0.5), 1),
}
STORED = ["bfloat16", "float16", "int8", "int4"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BYTES", 1)
    monkeypatch.setattr(loss_head, "BLOCK_ROWS", 8)


def _traced(dtype: str) -> tuple[StepGraph, dict[str, Any]]:
    """A model with a tied head and its gradient: both kinds of products, look-ups, blocks of the head."""
    kinds = {name: Encoding(dtype, 32, p.input_axis) for name, p in PARAMETERS.items()}
    source = EncodedSource(RandomSource(PARAMETERS, 3), kinds)

    def step(frozen: Any, trained: Any, batch: Any) -> dict[str, Any]:
        def loss(gain: Any) -> Any:
            w = decoded(frozen, kinds)
            rows = w["table"].at[batch["ids"]].get(mode="promise_in_bounds", wrap_negative_indices=False)
            hidden = jnp.einsum("bti,io->bto", rows * gain, w["first"])
            hidden = jnp.einsum("bti,oi->bto", jnp.tanh(hidden), w["second"]) + w["places"][:4]
            return frozen_head_loss(hidden, w["table"], batch["ids"], -100)

        value, gradient = jax.value_and_grad(loss)(trained["gain"])
        return {"loss": value, "gradient": gradient}

    shapes = {
        n: jax.ShapeDtypeStruct(source.spec(n)[0], jnp.dtype(source.spec(n)[1])) for n in source.names()
    }
    arguments = [
        Argument(shapes, Role.FROZEN),
        Argument({"gain": jax.ShapeDtypeStruct((WIDTH,), np.float32)}, Role.TRAINABLE),
        Argument({"ids": jax.ShapeDtypeStruct((2, 4), np.int32)}, Role.BATCH),
    ]
    arrays: dict[str, Any] = {name: source.read(name) for name in source.names()}
    arrays["gain"] = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)
    arrays["ids"] = np.array([[3, 19, 0, 3], [7, 8, 11, 2]], np.int32)
    return dce(trace("t", step, arguments)), arrays


@pytest.mark.parametrize("dtype", STORED)
def test_no_float32_copy_of_a_matrix_is_stored(dtype: str) -> None:
    fused = optimize(_traced(dtype)[0])
    smallest = 8 * WIDTH  # a block of the head; every activation but hidden·first is smaller, or of rank 3
    stored = [v for node in fused.nodes for v in node.outputs] + [i.value for i in fused.inputs]
    copies = [v for v in stored if v.dtype == "float32" and len(v.shape) == 2 and v.elements >= smallest]
    assert copies == []
    made = {v.dtype for node in fused.nodes for v in node.outputs if node.attrs["kind"] != "flash_rows"}
    assert made <= {"float32", "int32", "bool"}
    frozen = [i.value.dtype for i in fused.inputs if i.role in (Role.FROZEN, Role.FLASH)]
    assert "float32" not in frozen


@pytest.mark.parametrize("dtype", STORED)
def test_the_table_is_read_by_rows(dtype: str) -> None:
    fused = optimize(_traced(dtype)[0])
    names = {i.name: i.role for i in fused.inputs}
    assert names["table"] is Role.FLASH
    in_memory = {name for name, role in names.items() if role is Role.FROZEN}
    assert {"table[0:8]", "table[8:16]", "table[16:20]", "places[0:4]"} <= in_memory
    if dtype in ("int8", "int4"):
        assert names["table.scale"] is Role.FLASH
        assert {"table.scale[0:8]", "table.scale[8:16]", "table.scale[16:20]"} <= in_memory


@pytest.mark.parametrize("dtype", STORED)
def test_the_passes_keep_every_bit(dtype: str) -> None:
    before, arrays = _traced(dtype)
    after = optimize(before)
    parts = dict(arrays)
    for item in after.inputs:
        base, _, rows = item.name.partition("[")
        if rows:
            first, end = map(int, rows.rstrip("]").split(":"))
            parts[item.name] = arrays[base][first:end]
    want, got = run(before, arrays), run(after, parts)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


def test_only_encoded_frozen_arrays_are_decoded() -> None:
    """A computed bfloat16, a frozen float32 and an expensive operation are stored as ever."""

    def step(frozen: Any, batch: Any) -> dict[str, Any]:
        return {
            "a": jnp.exp(frozen["small"].astype(jnp.float32)),
            "b": frozen["full"] * 2.0,
            "c": batch["x"].astype(jnp.float32),
            "d": frozen["small"].astype(jnp.float32) * 2.0,
        }

    shapes = {
        "small": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16),
        "full": jax.ShapeDtypeStruct((3, 4), jnp.float32),
    }
    batch = {"x": jax.ShapeDtypeStruct((3, 4), jnp.float16)}
    graph = trace("t", step, [Argument(shapes, Role.FROZEN), Argument(batch, Role.BATCH)])
    found = decoded_values(graph)
    made: dict[str, Node] = {o.name: graph.producers()[o.value.id] for o in graph.outputs}
    assert [made[name].output.id in found for name in "abcd"] == [False, False, False, True]
