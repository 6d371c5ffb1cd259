# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""Random primitives, replaced by the trace of their threefry implementation on raw uint32 data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_prng_impl

from daypack.compiler.graph import Value
from daypack.compiler.tracing.walker import Handler, Tracer, alias, is_key, made_at, unknown_primitive
from daypack.errors import TraceError

_THREEFRY = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype


def _retraced(function: Callable[..., Any]) -> Handler:
    """A random primitive, replaced by the trace of its threefry implementation on raw uint32 data."""

    def handler(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
        def on_data(*raw: Any) -> Any:
            return function(eqn, *raw)

        _check_generator(tracer, eqn)
        return tracer.replaced(eqn, on_data, inputs)

    return handler


def _check_generator(tracer: Tracer, eqn: Any) -> None:
    for variable in (*eqn.invars, *eqn.outvars):
        if is_key(variable.aval) and variable.aval.dtype != _THREEFRY:
            raise TraceError(
                f"random keys of type {variable.aval.dtype} are not ones Daypack can plan"
                f"{made_at(tracer.source(eqn))}; use JAX's default generator, threefry2x32"
            )


def _iota_2x32(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """The high and low halves of each element's 64-bit position; a shape here has fewer than 2³² elements."""
    shape = eqn.params["shape"]
    count = int(np.prod(shape))
    if count >= 2**32:
        raise unknown_primitive(eqn, tracer.source(eqn))
    line = tracer.builder.node("iota", (), (count,), "uint32", {"axis": 0}, tracer.source(eqn))
    low = tracer.builder.node("reshape", (line,), shape, "uint32", {}, tracer.source(eqn))
    zero = tracer.constant(np.uint32(0))
    high = tracer.builder.node("broadcast_in_dim", (zero,), shape, "uint32", {"dims": ()}, tracer.source(eqn))
    return [high, low]


def _over_keys(one: Callable[..., Any], rank: int) -> Callable[..., Any]:
    for _ in range(rank):
        one = jax.vmap(one)
    return one


def _random_bits(eqn: Any, keys: Any) -> Any:
    width, shape = eqn.params["bit_width"], eqn.params["shape"]

    def of_one(key: Any) -> Any:
        return threefry_prng_impl.random_bits(key, width, shape)

    return _over_keys(of_one, keys.ndim - 1)(keys)


def _random_split(eqn: Any, keys: Any) -> Any:
    def of_one(key: Any) -> Any:
        return threefry_prng_impl.split(key, eqn.params["shape"])

    return _over_keys(of_one, keys.ndim - 1)(keys)


def _random_fold_in(eqn: Any, keys: Any, message: Any) -> Any:
    shape = jnp.broadcast_shapes(keys.shape[:-1], message.shape)
    keys = jnp.broadcast_to(keys, (*shape, 2))
    message = jnp.broadcast_to(message, shape)
    return _over_keys(threefry_prng_impl.fold_in, len(shape))(keys, message.astype(jnp.uint32))


def _random_seed(eqn: Any, seeds: Any) -> Any:
    return _over_keys(threefry_prng_impl.seed, seeds.ndim)(seeds)


HANDLERS: dict[str, Handler] = {
    "iota_2x32_shape": _iota_2x32,
    "random_bits": _retraced(_random_bits),
    "random_split": _retraced(_random_split),
    "random_fold_in": _retraced(_random_fold_in),
    "random_seed": _retraced(_random_seed),
    "random_wrap": alias,
    "random_unwrap": alias,
    "random_clone": alias,
}
