"""Whether a kernel's output may take over the memory of one of its inputs."""

from __future__ import annotations

from daypack.compiler import ops
from daypack.compiler.graph import StepGraph, Value
from daypack.compiler.kernels.loops import KernelCode


def may_overwrite(
    body: StepGraph, code: KernelCode, output: int, inputs: tuple[int, ...], target: int
) -> bool:
    """Whether output number `output` may overwrite the item `target`, which may be among the inputs.

    True when the kernel does not read the target at all, or reads it only at the element it is about to
    write: every element is then read before it is written, in one loop iteration.
    """
    value = body.outputs[output].value
    for number, item in enumerate(inputs):
        if item != target:
            continue
        operand = body.inputs[number].value
        if not code.in_place or operand.size_bytes != value.size_bytes or not only_pointwise(body, operand):
            return False
    return True


def only_pointwise(body: StepGraph, operand: Value) -> bool:
    """Whether every use of an operand keeps its element at its place: element-wise operations and
    reshapes.
    """
    same = {operand.id}
    for node in body.nodes:
        reads = [v for v in node.inputs if v.id in same]
        if not reads:
            continue
        if node.op in ops.ELEMENTWISE:
            if any(v.elements != node.outputs[0].elements for v in reads):
                return False
        elif node.op != "reshape":
            return False
        same.update(v.id for v in node.outputs)
    return True
