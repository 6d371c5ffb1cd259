# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportPrivateUsage=false
"""The walk over jaxprs: one node an equation, in the operation set of `ops.py`.

Calls, custom derivatives, rematerialization marks and composites are inlined. Primitives in the table given
to the `Tracer` are replaced by other means (`control.py`, `randomness.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util
from jax.extend import core as jex_core

from daypack.compiler import ops
from daypack.compiler.graph import DTYPE_BYTES, GraphBuilder, Node, Value
from daypack.errors import TraceError

Handler = Callable[["Tracer", Any, list[Value]], list[Value]]
"""(tracer, equation, values of its operands) → values of its results."""

CALLS = ops.names("jit closed_call remat2 custom_jvp_call custom_vjp_call composite")
"""Primitives that stand for the equations inside them."""
_KEY_SHAPE_OPS = ops.names(
    "slice squeeze broadcast_in_dim transpose expand_dims dynamic_slice rev concatenate select_n gather"
)
"""Operations that move keys about without looking inside them."""


def check_dtype(dtype: str, what: str, source: str) -> None:
    """Raise TraceError for an element type that a step cannot hold."""
    if dtype not in DTYPE_BYTES:
        takes = ", ".join(DTYPE_BYTES)
        raise TraceError(f"{what} has element type {dtype}; a step may hold {takes}{made_at(source)}")


def made_at(source: str) -> str:
    """The end of a message that knows the user's line."""
    return f" (made at {source})" if source else ""


def source_line(eqn: Any) -> str:
    """`file.py:line (function)` of the user's line that made an equation, without the machine's folders."""
    frame = source_info_util.user_frame(eqn.source_info.traceback)
    if frame is None:
        return ""
    folder, name = os.path.split(frame.file_name)
    return f"{os.path.join(os.path.basename(folder), name)}:{frame.start_line} ({frame.function_name})"


def is_key(array: Any) -> bool:
    """Whether an array, or its shape, holds random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


class Tracer:
    """Walks jaxprs and appends nodes to one builder.

    `special`: primitives by name that are not one node each. `origin`: the user's line, while one of his
    primitives is being replaced by a trace of its own.
    """

    def __init__(self, name: str, special: Mapping[str, Handler]) -> None:
        self.builder = GraphBuilder(name)
        self.origin = ""
        self._caller = ""
        self._special = special
        self._scalars: dict[tuple[str, str], Value] = {}
        self._arrays: dict[int, Value] = {}
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
        return self.origin or source_line(eqn) or self._caller

    def constant(self, array: Any, aval: Any = None) -> Value:
        """A scalar becomes a `constant` node, a larger array a constant input; equal ones are shared."""
        if hasattr(array, "dtype") and is_key(array):
            array = jax.random.key_data(array)
        host = np.asarray(array, None if aval is None else aval.dtype)
        dtype = str(host.dtype)
        check_dtype(dtype, "a constant", "")
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
        special = self._special.get(name)
        if special is not None:
            return special(self, eqn, inputs)
        for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
            if key in eqn.params and name in CALLS:
                return self._call(eqn, eqn.params[key], inputs)
        if any(is_key(v.aval) for v in (*eqn.invars, *eqn.outvars)):
            return self._on_keys(eqn, inputs)
        return self._plain(eqn, name, inputs)

    def _call(self, eqn: Any, inner: Any, inputs: list[Value]) -> list[Value]:
        """Equations that JAX made itself have the line of the call they stand in."""
        outer, self._caller = self._caller, self.source(eqn)
        closed = hasattr(inner, "consts")
        results = self.inline(inner, inputs) if closed else self._inline(inner, (), inputs)
        self._caller = outer
        return results

    def _plain(self, eqn: Any, name: str, inputs: list[Value]) -> list[Value]:
        source = self.source(eqn)
        op = ops.from_primitive(name, eqn.params)
        if op is None:
            raise unknown_primitive(eqn, source)
        kind, attrs = op
        outputs: list[Value] = []
        for var in eqn.outvars:
            dtype = str(np.dtype(var.aval.dtype))
            check_dtype(dtype, f"the result of {name}", source)
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
            raise unknown_primitive(eqn, self.source(eqn))
        axes = [-1 if is_key(v.aval) else None for v in eqn.invars]

        def on_data(*raw: Any) -> Any:
            def on_half(*halves: Any) -> Any:
                return eqn.primitive.bind(*halves, **eqn.params)

            return jax.vmap(on_half, in_axes=axes, out_axes=-1)(*raw)

        return self.replaced(eqn, on_data, inputs)

    def replaced(self, eqn: Any, function: Callable[..., Any], inputs: Sequence[Value]) -> list[Value]:
        """Append the trace of another function of an equation's operands; its nodes keep the user's line."""
        closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs))
        outer, self.origin = self.origin, self.source(eqn)
        results = self.inline(closed, inputs)
        self.origin = outer
        return results


def unknown_primitive(eqn: Any, source: str) -> TraceError:
    """The error for an equation that has no operation, with its shapes and the user's line."""
    shapes = ", ".join(str(v.aval) for v in eqn.invars)
    results = ", ".join(str(v.aval) for v in eqn.outvars)
    return TraceError(
        f"primitive {eqn.primitive.name!r} ({shapes}) -> ({results}) is not one Daypack can plan"
        f"{made_at(source)}; write this line with supported operations (docs/operations.md lists them)"
    )


def alias(tracer: Tracer, eqn: Any, inputs: list[Value]) -> list[Value]:
    """The handler of primitives that return their operands."""
    return inputs
