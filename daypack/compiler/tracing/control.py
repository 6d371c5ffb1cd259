# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""Control flow and splitting, written out: scans unroll, `cond` runs both branches and selects."""

from __future__ import annotations

from typing import Any

import numpy as np

from daypack.compiler.graph import Value
from daypack.compiler.tracing.walker import Handler, Tracer, alias, made_at
from daypack.errors import TraceError

UNROLL_LIMIT = 50_000
"""Equations that an unrolled scan may become before it is refused."""


def scan(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """Unroll: each iteration reads slice i of the stacked inputs; stacked outputs are concatenated."""
    p = eqn.params
    length, consts, carries = p["length"], p["num_consts"], p["num_carry"]
    body = p["jaxpr"]
    source = tracer.source(eqn)
    if length * len(body.jaxpr.eqns) > UNROLL_LIMIT:
        raise TraceError(
            f"a scan of {length} iterations of {len(body.jaxpr.eqns)} equations would unroll to more than "
            f"{UNROLL_LIMIT} equations{made_at(source)}; shorten it, or express it as array operations"
        )
    carry = inputs[consts : consts + carries]
    stacked = inputs[consts + carries :]
    rows: list[list[Value]] = []
    for step in range(length):
        i = length - 1 - step if p["reverse"] else step
        xs = [_row(tracer, x, i, source) for x in stacked]
        out = tracer.inline(body, [*inputs[:consts], *carry, *xs])
        carry = out[:carries]
        rows.append(out[carries:])
    if p["reverse"]:
        rows.reverse()
    ys = [
        _stack(tracer, [row[k] for row in rows], var.aval, source)
        for k, var in enumerate(eqn.outvars[carries:])
    ]
    return [*carry, *ys]


def _row(tracer: Tracer, value: Value, i: int, source: str) -> Value:
    rest = value.shape[1:]
    attrs = {
        "start": (i,) + (0,) * len(rest),
        "limit": (i + 1, *rest),
        "strides": (1,) * len(value.shape),
    }
    one = tracer.builder.node("slice", (value,), (1, *rest), value.dtype, attrs, source)
    return tracer.builder.node("reshape", (one,), rest, value.dtype, {}, source)


def _stack(tracer: Tracer, rows: list[Value], aval: Any, source: str) -> Value:
    if not rows:
        zero = tracer.constant(np.zeros((), aval.dtype))
        return tracer.builder.node("broadcast_in_dim", (zero,), aval.shape, zero.dtype, {"dims": ()}, source)
    lifted = [tracer.builder.node("reshape", (r,), (1, *r.shape), r.dtype, {}, source) for r in rows]
    return tracer.builder.node("concatenate", lifted, aval.shape, rows[0].dtype, {"axis": 0}, source)


def cond(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """Run every branch and select: branches are pure, so the result is the same."""
    index, *operands = inputs
    source = tracer.source(eqn)
    results = [tracer.inline(branch, operands) for branch in eqn.params["branches"]]
    chosen = results[0]
    for number in range(1, len(results)):
        limit = tracer.constant(np.asarray(number, index.dtype))
        at_least = tracer.builder.node("ge", (index, limit), (), "bool", {}, source)
        chosen = [
            tracer.builder.node("select_n", (at_least, a, b), a.shape, a.dtype, {}, source)
            for a, b in zip(chosen, results[number], strict=True)
        ]
    return chosen


def split(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    (value,) = inputs
    axis, at, parts = int(eqn.params["axis"]), 0, []
    for size in map(int, eqn.params["sizes"]):
        start, limit = [0] * len(value.shape), list(value.shape)
        start[axis], limit[axis] = at, at + size
        at += size
        shape = tuple(e - s for s, e in zip(start, limit, strict=True))
        attrs = {"start": tuple(start), "limit": tuple(limit), "strides": (1,) * len(shape)}
        parts.append(tracer.builder.node("slice", (value,), shape, value.dtype, attrs, tracer.source(eqn)))
    return parts


HANDLERS: dict[str, Handler] = {
    "scan": scan,
    "cond": cond,
    "split": split,
    "copy": alias,
    "copy_p": alias,
    "name": alias,
    "optimization_barrier": alias,
    "pvary": alias,
    "sharding_constraint": alias,
    "stop_gradient": alias,
}
"""Control flow, and primitives that only speak to XLA about a value."""
