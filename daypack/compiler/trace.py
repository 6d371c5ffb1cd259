# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""A JAX function and example shapes → a step graph. The only file that reads jaxprs.

Calls, custom derivatives, rematerialization marks and composites are inlined; scans of static length are
unrolled; `cond` runs both branches and selects; random keys become pairs of uint32 and their operations
become threefry. What is left is one node an equation, in the operation set of `ops.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util
from jax.extend import core as jex_core
from jax.extend.random import threefry_prng_impl

from daypack.compiler import ops
from daypack.compiler.graph import DTYPE_BYTES, GraphBuilder, Node, Output, Role, StepGraph, Value
from daypack.errors import TraceError

UNROLL_LIMIT = 50_000
"""Equations that an unrolled scan may become before it is refused."""


class Argument(NamedTuple):
    """One example argument: a pytree of arrays or shapes, the role of its leaves, and the prefix of their
    names."""

    tree: Any
    role: Role
    prefix: str = ""


def leaf_names(tree: Any, prefix: str = "") -> list[str]:
    """The published names of a pytree's leaves in flattening order: prefix + path joined by `/`."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths)
    return [prefix + name for name in names]


def trace(name: str, function: Callable[..., Mapping[str, Any]], arguments: Sequence[Argument]) -> StepGraph:
    """Trace `function(*trees)`, which returns a dict of pytrees.

    Outputs are named `KEY` for a single array under KEY, else `KEY:PATH`.

    Raises:
        TraceError: a primitive, an element type or a construct outside what Daypack plans, named with its
            shapes and the line of the model that made it.
    """
    closed, out_shape = jax.make_jaxpr(function, return_shape=True)(*(_shapes(a.tree) for a in arguments))
    tracer = _Tracer(name)
    values: list[Value] = []
    for argument in arguments:
        leaves = jax.tree_util.tree_leaves(argument.tree)
        for leaf, leaf_name in zip(leaves, leaf_names(argument.tree, argument.prefix), strict=True):
            dtype = str(np.dtype(leaf.dtype))
            _check_dtype(dtype, f"input {leaf_name!r}", "")
            values.append(tracer.builder.input(leaf.shape, dtype, argument.role, leaf_name))
    results = tracer.inline(closed, values)
    names = _output_names(out_shape)
    return tracer.builder.build(Output(n, v) for n, v in zip(names, results, strict=True))


def _shapes(tree: Any) -> Any:
    return jax.tree_util.tree_map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), tree)


def _output_names(out_shape: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for key in sorted(out_shape):
        tree = out_shape[key]
        if hasattr(tree, "shape") and hasattr(tree, "dtype"):
            names.append(key)
        else:
            names.extend(f"{key}:{n}" for n in leaf_names(tree))
    return names


def _check_dtype(dtype: str, what: str, source: str) -> None:
    if dtype not in DTYPE_BYTES:
        takes = ", ".join(DTYPE_BYTES)
        raise TraceError(f"{what} has element type {dtype}; a step may hold {takes}{_at(source)}")


def _at(source: str) -> str:
    return f" (made at {source})" if source else ""


def _source(eqn: Any) -> str:
    """`file.py:line (function)` of the user's line that made an equation, without the machine's folders."""
    frame = source_info_util.user_frame(eqn.source_info.traceback)
    if frame is None:
        return ""
    folder, name = os.path.split(frame.file_name)
    return f"{os.path.join(os.path.basename(folder), name)}:{frame.start_line} ({frame.function_name})"


def _is_key(aval: Any) -> bool:
    return jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key)


class _Tracer:
    """Walks jaxprs and appends nodes to one builder."""

    def __init__(self, name: str) -> None:
        self.builder = GraphBuilder(name)
        self._scalars: dict[tuple[str, str], Value] = {}
        self._arrays: dict[int, Value] = {}
        self.origin = (
            ""  # the user's line, while one of his primitives is being replaced by a trace of its own
        )
        self._keep: list[Any] = []  # arrays whose id() is a key above must stay alive

    def inline(self, closed: Any, arguments: Sequence[Value]) -> list[Value]:
        """Append the equations of a closed jaxpr, given the values of its arguments."""
        consts = [self.constant(c) for c in closed.consts]
        return self._inline(closed.jaxpr, consts, arguments)

    def _inline(self, jaxpr: Any, consts: Sequence[Value], arguments: Sequence[Value]) -> list[Value]:
        env: dict[Any, Value] = {}
        env.update(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Value:
            return self.constant(atom.val, atom.aval) if isinstance(atom, jex_core.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(v) for v in eqn.invars])
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def source(self, eqn: Any) -> str:
        """The user's line that an equation stands for."""
        return self.origin or _source(eqn)

    def constant(self, array: Any, aval: Any = None) -> Value:
        """A scalar becomes a `constant` node, a larger array a constant input; equal ones are shared."""
        if hasattr(array, "dtype") and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        host = np.asarray(array, None if aval is None else aval.dtype)
        dtype = str(host.dtype)
        _check_dtype(dtype, "a constant", "")
        if host.shape == ():
            key = (dtype, host.tobytes().hex())
            if key not in self._scalars:
                self._scalars[key] = self.builder.node("constant", (), (), dtype, {"value": host.item()})
            return self._scalars[key]
        if id(array) not in self._arrays:
            self._keep.append(array)
            self._arrays[id(array)] = self.builder.constant(host, f"constant/{len(self._arrays)}")
        return self._arrays[id(array)]

    def _equation(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        name = eqn.primitive.name
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, eqn, inputs)
        for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
            if key in eqn.params and name in _CALLS:
                return self._call(eqn.params[key], inputs)
        if any(_is_key(v.aval) for v in (*eqn.invars, *eqn.outvars)):
            return self._on_keys(eqn, inputs)
        return self._plain(eqn, name, inputs)

    def _call(self, inner: Any, inputs: list[Value]) -> list[Value]:
        if hasattr(inner, "consts"):
            return self.inline(inner, inputs)
        return self._inline(inner, (), inputs)

    def _plain(self, eqn: Any, name: str, inputs: list[Value]) -> list[Value]:
        source = self.source(eqn)
        op = ops.from_primitive(name, eqn.params)
        if op is None:
            raise _unknown(eqn, source)
        kind, attrs = op
        outputs: list[Value] = []
        for var in eqn.outvars:
            dtype = str(np.dtype(var.aval.dtype))
            _check_dtype(dtype, f"the result of {name}", source)
            outputs.append(self.builder.value(var.aval.shape, dtype))
        inputs = self._broadcast(kind, inputs, outputs[0], source)
        self.append(kind, inputs, outputs, attrs, source)
        return outputs

    def append(
        self,
        op: str,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        attrs: Mapping[str, Any],
        source: str,
    ) -> None:
        node = Node(op, tuple(inputs), tuple(outputs), MappingProxyType(dict(attrs)), source)
        self.builder.nodes.append(node)

    def _broadcast(self, kind: str, inputs: list[Value], output: Value, source: str) -> list[Value]:
        """Element-wise operands have the output's shape or rank 0; others of equal rank are broadcast."""
        if kind not in ops.ELEMENTWISE:
            return inputs
        result: list[Value] = []
        for value in inputs:
            if value.shape in ((), output.shape):
                result.append(value)
            else:
                dims = tuple(range(len(output.shape) - len(value.shape), len(output.shape)))
                attrs = {"dims": dims}
                result.append(
                    self.builder.node("broadcast_in_dim", (value,), output.shape, value.dtype, attrs, source)
                )
        return result

    def _on_keys(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """A shape operation on an array of keys, done on its (…, 2) uint32 data."""
        name = eqn.primitive.name
        if name not in _KEY_SHAPE_OPS or len(eqn.outvars) != 1:
            raise _unknown(eqn, self.source(eqn))
        params = dict(eqn.params)

        data = jax.ShapeDtypeStruct((*eqn.invars[0].aval.shape, 2), jnp.uint32)

        def on_data(raw: Any) -> Any:
            return jax.vmap(lambda half: eqn.primitive.bind(half, **params), in_axes=-1, out_axes=-1)(raw)

        return self.inline(jax.make_jaxpr(on_data)(data), inputs)


def _unknown(eqn: Any, source: str) -> TraceError:
    shapes = ", ".join(str(v.aval) for v in eqn.invars)
    results = ", ".join(str(v.aval) for v in eqn.outvars)
    return TraceError(
        f"primitive {eqn.primitive.name!r} ({shapes}) -> ({results}) is not one Daypack can plan{_at(source)}; "
        "write this line with supported operations (docs/operations.md lists them)"
    )


_CALLS = frozenset(
    [
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "remat",
        "remat2",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "custom_lin",
        "composite",
        "core_closed_call",
        "xla_call",
        "run_state",
    ]
)
_KEY_SHAPE_OPS = frozenset(
    [
        "slice",
        "squeeze",
        "reshape",
        "broadcast_in_dim",
        "transpose",
        "expand_dims",
        "dynamic_slice",
        "rev",
        "copy",
    ]
)


def _alias(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    return inputs


def _scan(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """Unroll: each iteration reads slice i of the stacked inputs; stacked outputs are concatenated."""
    p = eqn.params
    length, consts, carries = p["length"], p["num_consts"], p["num_carry"]
    body = p["jaxpr"]
    source = tracer.source(eqn)
    if length * len(body.jaxpr.eqns) > UNROLL_LIMIT:
        raise TraceError(
            f"a scan of {length} iterations of {len(body.jaxpr.eqns)} equations would unroll to more than "
            f"{UNROLL_LIMIT} equations{_at(source)}; shorten it, or express it as array operations"
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


def _row(tracer: _Tracer, value: Value, i: int, source: str) -> Value:
    rest = value.shape[1:]
    attrs = {
        "start": (i,) + (0,) * len(rest),
        "limit": (i + 1, *rest),
        "strides": (1,) * len(value.shape),
    }
    one = tracer.builder.node("slice", (value,), (1, *rest), value.dtype, attrs, source)
    return tracer.builder.node("reshape", (one,), rest, value.dtype, {}, source)


def _stack(tracer: _Tracer, rows: list[Value], aval: Any, source: str) -> Value:
    if not rows:
        zero = tracer.constant(np.zeros((), aval.dtype))
        return tracer.builder.node("broadcast_in_dim", (zero,), aval.shape, zero.dtype, {"dims": ()}, source)
    lifted = [tracer.builder.node("reshape", (r,), (1, *r.shape), r.dtype, {}, source) for r in rows]
    return tracer.builder.node("concatenate", lifted, aval.shape, rows[0].dtype, {"axis": 0}, source)


def _cond(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
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


def _split(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
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


def _retraced(function: Callable[..., Any]) -> Callable[[_Tracer, Any, list[Value]], list[Value]]:
    """A random primitive, replaced by the trace of its threefry implementation on raw uint32 data."""

    def handler(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
        shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs]
        closed = jax.make_jaxpr(lambda *raw: function(eqn, *raw))(*shapes)
        outer = tracer.origin
        tracer.origin = outer or _source(eqn)
        results = tracer.inline(closed, inputs)
        tracer.origin = outer
        return results

    return handler


def _iota_2x32(tracer: _Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """The high and low halves of each element's 64-bit position; a shape here has fewer than 2³² elements."""
    shape = eqn.params["shape"]
    count = int(np.prod(shape))
    if count >= 2**32:
        raise _unknown(eqn, tracer.source(eqn))
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
    p = eqn.params
    return _over_keys(lambda k: threefry_prng_impl.random_bits(k, p["bit_width"], p["shape"]), keys.ndim - 1)(
        keys
    )


def _random_split(eqn: Any, keys: Any) -> Any:
    return _over_keys(lambda k: threefry_prng_impl.split(k, eqn.params["shape"]), keys.ndim - 1)(keys)


def _random_fold_in(eqn: Any, keys: Any, message: Any) -> Any:
    shape = jnp.broadcast_shapes(keys.shape[:-1], message.shape)
    keys = jnp.broadcast_to(keys, (*shape, 2))
    message = jnp.broadcast_to(message, shape)
    return _over_keys(threefry_prng_impl.fold_in, len(shape))(keys, message.astype(jnp.uint32))


def _random_seed(eqn: Any, seeds: Any) -> Any:
    return _over_keys(threefry_prng_impl.seed, seeds.ndim)(seeds)


_SPECIAL: dict[str, Callable[[_Tracer, Any, list[Value]], list[Value]]] = {
    "scan": _scan,
    "cond": _cond,
    "split": _split,
    "iota_2x32_shape": _iota_2x32,
    "random_bits": _retraced(_random_bits),
    "random_split": _retraced(_random_split),
    "random_fold_in": _retraced(_random_fold_in),
    "random_seed": _retraced(_random_seed),
    **dict.fromkeys(
        [
            "random_wrap",
            "random_unwrap",
            "random_clone",
            "stop_gradient",
            "copy",
            "copy_p",
            "optimization_barrier",
            "pvary",
            "sharding_constraint",
            "reduce_precision_noop",
            "name",
        ],
        _alias,
    ),
}
