"""What is decoded from frozen arrays that are stored in fewer bytes than float32.

A frozen matrix may be held as bfloat16, float16, or integers with scales; the step widens it by a few plain
operations. The results are never stored: every kernel that reads one computes it from the stored elements
where it needs them, a matrix product while it packs its operand.

Law: with every decoded value kept out of memory, no float32 copy of such a matrix exists, whole or in blocks.
"""

from __future__ import annotations

from daypack.compiler import ops
from daypack.compiler.graph import DTYPE_BYTES, Role, StepGraph

STEPS = frozenset(("convert_element_type", "mul", "sub", "and", "shift_right_logical"))
"""Element-wise operations that a decoding is made of: cheaper than reading the result would be."""
MOVES = frozenset(("broadcast_in_dim", "reshape", "transpose", "slice"))
FULL_BYTES = 4
"""An array of elements this wide is not encoded."""


def decoded_values(graph: StepGraph) -> frozenset[int]:
    """Ids of the values made of encoded frozen inputs and numbers alone, by `STEPS` and `MOVES`, and of the
    arrays of numbers (places of bits in a byte) that they are made with.
    """
    stored = {i.value.id for i in graph.inputs if i.role is Role.FROZEN and is_encoded(i.value.dtype)}
    numbers: set[int] = set()
    found: set[int] = set()
    for node in graph.nodes:
        made = [v.id for v in node.outputs]
        if node.op in ops.GENERATORS:
            numbers.update(made)
        elif node.op in STEPS or node.op in MOVES:
            known = [v.id in numbers for v in node.inputs]
            if all(known):
                numbers.update(made)
            elif all(n or v.id in stored or v.id in found for n, v in zip(known, node.inputs, strict=True)):
                found.update(made)
    for node in reversed(graph.nodes):
        if any(v.id in found for v in node.outputs):
            found.update(v.id for v in node.inputs if v.id in numbers)
    return frozenset(found)


def is_encoded(dtype: str) -> bool:
    """Whether a frozen array of this element type takes less memory than what it is computed with."""
    return DTYPE_BYTES[dtype] < FULL_BYTES
