# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""Control flow, written out: scans unroll, `cond` runs every branch and selects."""

from __future__ import annotations

from typing import Any

import numpy as np

from daypack.compiler.graph import Value
from daypack.compiler.tracing.shapes import stack, take
from daypack.compiler.tracing.walker import Handler, Tracer, alias, is_key, made_at
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
        xs = [take(tracer, x, 0, i, source) for x in stacked]
        out = tracer.inline(body, [*inputs[:consts], *carry, *xs])
        carry = out[:carries]
        rows.append(out[carries:])
    if p["reverse"]:
        rows.reverse()
    if not rows:
        return [*carry, *(_nothing(tracer, var.aval, source) for var in eqn.outvars[carries:])]
    return [*carry, *(stack(tracer, list(parts), 0, source) for parts in zip(*rows, strict=True))]


def _nothing(tracer: Tracer, aval: Any, source: str) -> Value:
    """What no iteration stacks up: an array without elements."""
    shape, dtype = (*aval.shape, 2), "uint32"
    if not is_key(aval):
        shape, dtype = aval.shape, str(np.dtype(aval.dtype))
    zero = tracer.constant(np.zeros((), dtype))
    return tracer.builder.node("broadcast_in_dim", (zero,), shape, dtype, {"dims": ()}, source)


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


def barrier(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """What the user wants in memory: a `store` keeps the value from being computed again by its readers."""
    source = tracer.source(eqn)
    return [
        value
        if is_key(var.aval)
        else tracer.builder.node("store", (value,), value.shape, value.dtype, {}, source)
        for value, var in zip(inputs, eqn.invars, strict=True)
    ]


HANDLERS: dict[str, Handler] = {
    "scan": scan,
    "cond": cond,
    "copy": alias,
    "device_put": alias,
    "name": alias,
    "optimization_barrier": barrier,
    "pvary": alias,
    "sharding_constraint": alias,
    "stop_gradient": alias,
}
"""Control flow, and primitives that only speak to XLA about a value."""
