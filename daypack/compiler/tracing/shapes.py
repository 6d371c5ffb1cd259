# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""Primitives that move elements and are written with the views of `ops.py`.

Arrays of random keys carry their two words in a last dimension of their own, which no primitive here names:
shapes are those of the values, not of the equation.
"""

from __future__ import annotations

from typing import Any

from daypack.compiler.graph import Value
from daypack.compiler.tracing.walker import Handler, Tracer


def part(tracer: Tracer, value: Value, axis: int, start: int, size: int, source: str) -> Value:
    """`size` elements of an axis from `start`."""
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    first = tuple(start if d == axis else 0 for d in range(len(shape)))
    limit = tuple(a + n for a, n in zip(first, shape, strict=True))
    attrs = {"start": first, "limit": limit, "strides": (1,) * len(shape)}
    return tracer.builder.node("slice", (value,), shape, value.dtype, attrs, source)


def take(tracer: Tracer, value: Value, axis: int, number: int, source: str) -> Value:
    """Element `number` of an axis, which goes."""
    one = part(tracer, value, axis, number, 1, source)
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    return tracer.builder.node("reshape", (one,), shape, value.dtype, {}, source)


def stack(tracer: Tracer, parts: list[Value], axis: int, source: str) -> Value:
    """Equal arrays along a new axis."""
    first = parts[0]
    one = (*first.shape[:axis], 1, *first.shape[axis:])
    lifted = [tracer.builder.node("reshape", (p,), one, p.dtype, {}, source) for p in parts]
    whole = (*one[:axis], len(parts), *one[axis + 1 :])
    return tracer.builder.node("concatenate", lifted, whole, first.dtype, {"axis": axis}, source)


def _split(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    (value,) = inputs
    axis, source = int(eqn.params["axis"]), tracer.source(eqn)
    results: list[Value] = []
    start = 0
    for size in map(int, eqn.params["sizes"]):
        results.append(part(tracer, value, axis, start, size, source))
        start += size
    return results


def _stack(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    return [stack(tracer, inputs, int(eqn.params["axis"]), tracer.source(eqn))]


def _unstack(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    (value,) = inputs
    axis, source = int(eqn.params["axis"]), tracer.source(eqn)
    return [take(tracer, value, axis, n, source) for n in range(value.shape[axis])]


def _tile(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """Each dimension behind one that counts the repeats, then both as one."""
    (value,) = inputs
    reps, source = (*map(int, eqn.params["reps"]),), tracer.source(eqn)
    reps += (1,) * (len(value.shape) - len(reps))
    spread = tuple(n for pair in zip(reps, value.shape, strict=True) for n in pair)
    dims = tuple(range(1, len(spread), 2))
    copies = tracer.builder.node("broadcast_in_dim", (value,), spread, value.dtype, {"dims": dims}, source)
    shape = tuple(r * n for r, n in zip(reps, value.shape, strict=True))
    return [tracer.builder.node("reshape", (copies,), shape, value.dtype, {}, source)]


def _reshape(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """A reshape may ask for a transposition first."""
    (value,) = inputs
    source, order = tracer.source(eqn), eqn.params["dimensions"]
    words = value.shape[len(eqn.invars[0].aval.shape) :]
    if order is not None:
        permutation = (*map(int, order), *range(len(order), len(value.shape)))
        moved = tuple(value.shape[d] for d in permutation)
        attrs = {"permutation": permutation}
        value = tracer.builder.node("transpose", (value,), moved, value.dtype, attrs, source)
    shape = (*map(int, eqn.params["new_sizes"]), *words)
    return [tracer.builder.node("reshape", (value,), shape, value.dtype, {}, source)]


HANDLERS: dict[str, Handler] = {
    "split": _split,
    "stack": _stack,
    "unstack": _unstack,
    "tile": _tile,
    "reshape": _reshape,
}
