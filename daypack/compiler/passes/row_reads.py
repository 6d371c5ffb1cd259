"""How an operation reads or writes whole rows, in what is asked of it by the passes that cut matrices."""

from __future__ import annotations

from collections.abc import Mapping

from daypack.compiler import ops
from daypack.compiler.graph import Node, Value


def leads(before: Value, after: Value) -> bool:
    """Whether both have the same number of rows."""
    return before.shape[:1] == after.shape[:1] != ()


def by_rows(node: Node, value: Value) -> bool:
    """Whether rows of the result are made of the same rows of an operand."""
    if len(node.outputs) != 1 or not leads(value, node.output):
        return False
    if node.op == "broadcast_in_dim":
        return node.attrs["dims"][:1] == (0,)
    if node.op in ("scatter", "scatter-add"):
        return value is node.inputs[0] and all(v is not value for v in node.inputs[1:])
    if node.op in ops.REDUCTIONS:
        return 0 not in node.attrs["axes"]
    return node.op in ops.ELEMENTWISE or node.op == "reshape"


def scatters_rows(node: Node) -> bool:
    """Whole rows of a matrix put where one index each says."""
    at = node.attrs
    operand, _, updates = node.inputs
    rank = len(updates.shape)
    return (
        len(operand.shape) == 2
        and at["update_window"] == (rank - 1,)
        and updates.shape[-1] == operand.shape[1]
        and at["inserted"] == (0,)
        and at["scatter_dims"] == (0,)
        and at["operand_batching"] == ()
        and node.inputs[1].dtype == "int32"
    )


def is_row_range(node: Node) -> bool:
    """A slice of whole rows, one after another."""
    (value,) = node.inputs
    at = node.attrs
    rest = len(value.shape) - 1
    return set(at["strides"]) == {1} and at["start"][1:] == (0,) * rest and at["limit"][1:] == value.shape[1:]


def is_row_lookup(node: Node) -> bool:
    """A gather of whole rows of a matrix by one int32 each, which lies inside or is moved inside."""
    if node.op != "gather" or node.inputs[1].dtype != "int32" or len(node.inputs[0].shape) != 2:
        return False
    at: Mapping[str, object] = node.attrs
    return (
        at["offset_dims"] == (len(node.output.shape) - 1,)
        and at["collapsed"] == (0,)
        and at["start_index_map"] == (0,)
        and at["slice_sizes"] == (1, node.inputs[0].shape[1])
        and at["operand_batching"] == ()
        and at["mode"] in ("PROMISE_IN_BOUNDS", "CLIP")
    )
