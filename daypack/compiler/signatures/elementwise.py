"""Signatures of element-wise operations."""

from __future__ import annotations

from collections.abc import Callable

from daypack.compiler.graph import DTYPE_BYTES, Node, Value
from daypack.compiler.signatures.signature import (
    BITS,
    BOOL,
    FLOATS,
    INT,
    INTEGERS,
    NUMBERS,
    Signature,
    Type,
    require,
    require_dtype,
    require_same_dtype,
)

ANY = NUMBERS | {"bool"}


def _check_shapes(node: Node) -> None:
    """Every operand has the result's shape or rank 0, and one of them has the result's."""
    shape = node.outputs[0].shape
    found = ", ".join(str(list(v.shape)) for v in node.inputs)
    fits = all(v.shape in ((), shape) for v in node.inputs) and any(v.shape == shape for v in node.inputs)
    require(fits, f"operands of shape {list(shape)} or [], one of them {list(shape)}", found)


def _same(allowed: frozenset[str]) -> Callable[[Node], tuple[Type, ...]]:
    """Operands and result of one of these element types."""

    def infer(node: Node) -> tuple[Type, ...]:
        _check_shapes(node)
        require_same_dtype(node, node.inputs)
        require_dtype(node.inputs[0], allowed)
        return (Type(node.output.shape, node.inputs[0].dtype),)

    return infer


def _test(allowed: frozenset[str]) -> Callable[[Node], tuple[Type, ...]]:
    """Operands of one of these element types; the result is a bool."""

    def infer(node: Node) -> tuple[Type, ...]:
        _same(allowed)(node)
        return (Type(node.output.shape, "bool"),)

    return infer


def _pow(node: Node) -> tuple[Type, ...]:
    """A float to the power of a float of its type, or of an int32."""
    base, exponent = node.inputs
    _check_shapes(node)
    require_dtype(base, FLOATS)
    require_dtype(exponent, frozenset((base.dtype, "int32")))
    return (Type(node.output.shape, base.dtype),)


def _convert(node: Node) -> tuple[Type, ...]:
    _check_shapes(node)
    return (Type(node.output.shape, node.output.dtype),)


def _bitcast(node: Node) -> tuple[Type, ...]:
    _check_shapes(node)
    sizes = [DTYPE_BYTES[v.dtype] for v in (node.inputs[0], node.output)]
    require(sizes[0] == sizes[1], f"a result of {sizes[0]} bytes an element", f"{sizes[1]} bytes")
    return (Type(node.output.shape, node.output.dtype),)


def _select(node: Node) -> tuple[Type, ...]:
    """A bool chooses between two cases, an int32 between any number."""
    require(len(node.inputs) >= 3, "a predicate and at least two cases", f"{len(node.inputs)} operands")
    which, *cases = node.inputs
    _check_shapes(node)
    require_dtype(which, frozenset(("bool", "int32")))
    two = which.dtype != "bool" or len(cases) == 2
    require(two, "two cases for a bool", f"{len(cases)} cases")
    require_same_dtype(node, cases)
    return (Type(node.output.shape, cases[0].dtype),)


def _threefry(node: Node) -> tuple[Type, ...]:
    _check_shapes(node)
    for value in node.inputs:
        require_dtype(value, frozenset(("uint32",)))
    return (Type(node.outputs[0].shape, "uint32"),) * 2


def _constant(node: Node) -> tuple[Type, ...]:
    """A number of the result's element type."""
    output: Value = node.output
    number = node.attrs["value"]
    kinds = {"bool": bool} | dict.fromkeys(INTEGERS, int) | dict.fromkeys(FLOATS, float)
    kind = kinds[output.dtype]
    require(type(number) is kind, f"value to be of type {kind.__name__} for {output.dtype}", repr(number))
    return (Type((), output.dtype),)


_FLOAT_UNARY = (
    "exp exp2 log log1p expm1 tanh logistic sqrt rsqrt cbrt sin cos tan asin acos atan sinh cosh asinh acosh "
    "atanh floor ceil erf erfc erf_inv lgamma"
)

TABLE: dict[str, Signature] = {
    **{op: Signature(1, _same(FLOATS)) for op in _FLOAT_UNARY.split()},
    **{op: Signature(1, _same(NUMBERS)) for op in ("neg", "abs", "sign", "square")},
    **{op: Signature(1, _same(INTEGERS)) for op in ("population_count", "clz")},
    "not": Signature(1, _same(BITS)),
    "store": Signature(1, _same(ANY)),
    "is_finite": Signature(1, _test(FLOATS)),
    "round": Signature(1, _same(FLOATS), {"to_even": BOOL}),
    "integer_pow": Signature(1, _same(NUMBERS), {"y": INT}),
    "convert_element_type": Signature(1, _convert),
    "bitcast_convert_type": Signature(1, _bitcast),
    **{op: Signature(2, _same(ANY)) for op in ("add", "mul", "max", "min")},
    **{op: Signature(2, _same(NUMBERS)) for op in ("sub", "div", "rem")},
    **{op: Signature(2, _same(FLOATS)) for op in ("atan2", "nextafter")},
    **{op: Signature(2, _same(BITS)) for op in ("and", "or", "xor")},
    **{
        op: Signature(2, _same(INTEGERS))
        for op in ("shift_left", "shift_right_logical", "shift_right_arithmetic")
    },
    **{op: Signature(2, _test(ANY)) for op in ("eq", "ne", "lt", "le", "gt", "ge")},
    "pow": Signature(2, _pow),
    "select_n": Signature(None, _select),
    "clamp": Signature(3, _same(NUMBERS)),
    "threefry2x32": Signature(4, _threefry, results=2),
}

CONSTANT = _constant
