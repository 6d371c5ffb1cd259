"""The parts of a signature: types, attribute checks, and how a rule says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from daypack.compiler.graph import Node, Value

FLOATS = frozenset(("float32", "float16", "bfloat16"))
INTEGERS = frozenset(("int32", "uint32", "int8", "uint8"))
NUMBERS = FLOATS | INTEGERS
BITS = INTEGERS | {"bool"}
INDEX = frozenset(("int32", "uint32"))


class Type(NamedTuple):
    """Shape (elements) and element type."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Illegal(Exception):
    """A rule is broken: what was expected and what was found."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(f"expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Attribute:
    """What an attribute must be, in words and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return type(value) is int


def _tuple_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        return isinstance(value, tuple) and all(map(test, cast("tuple[Any, ...]", value)))

    return accepts


def _of_length(length: int) -> Callable[[Any], bool]:
    return lambda value: _tuple_of(_is_int)(value) and len(value) == length


INT = Attribute("an int", _is_int)
BOOL = Attribute("a bool", lambda value: type(value) is bool)
FLOAT = Attribute("a float", lambda value: type(value) is float)
NUMBER = Attribute("a bool, an int or a float", lambda value: type(value) in (bool, int, float))
INTS = Attribute("a tuple of ints", _tuple_of(_is_int))
PAIRS = Attribute("a tuple of pairs of ints", _tuple_of(_of_length(2)))
TRIPLES = Attribute("a tuple of triples of ints", _tuple_of(_of_length(3)))


def one_of(*words: str) -> Attribute:
    """One of a few strings."""
    return Attribute(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


@dataclass(frozen=True, slots=True)
class Signature:
    """One operation: how many operands and results, its attributes, and the types of its results.

    `operands` None: any number. `optional` attributes may be missing. `infer` is called once everything
    else is right; it raises `Illegal`.
    """

    operands: int | None
    infer: Callable[[Node], tuple[Type, ...]]
    attributes: Mapping[str, Attribute] | None = None
    results: int = 1
    optional: Mapping[str, Attribute] | None = None

    def check(self, node: Node) -> None:
        """Raise `Illegal` where a node does not have this signature."""
        if self.operands is not None and len(node.inputs) != self.operands:
            raise Illegal(f"{self.operands} operands", len(node.inputs))
        if len(node.outputs) != self.results:
            raise Illegal(f"{self.results} results", len(node.outputs))
        wanted = dict(self.attributes or {})
        wanted.update((name, a) for name, a in (self.optional or {}).items() if name in node.attrs)
        if set(node.attrs) != set(wanted):
            raise Illegal(f"the attributes {_listed(wanted)}", _listed(node.attrs))
        for name, attribute in wanted.items():
            if not attribute.accepts(node.attrs[name]):
                raise Illegal(f"{name} to be {attribute.words}", repr(node.attrs[name]))
        for output, inferred in zip(node.outputs, self.infer(node), strict=True):
            if type_of(output) != inferred:
                raise Illegal(f"%{output.id} to be {inferred}", type_of(output))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def ints(node: Node, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple of ints."""
    return node.attrs[name]


def sizes(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, ...]:
    """The sizes of some dimensions, in the order asked for."""
    return tuple(shape[d] for d in dims)


def without(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, ...]:
    """The sizes of the other dimensions."""
    return tuple(n for d, n in enumerate(shape) if d not in dims)


def type_of(value: Value) -> Type:
    return Type(value.shape, value.dtype)


def require(condition: bool, expected: str, found: object) -> None:
    """Raise `Illegal` unless the condition holds."""
    if not condition:
        raise Illegal(expected, found)


def require_dtype(value: Value, allowed: frozenset[str]) -> None:
    """The element type of a value must be one of these."""
    require(value.dtype in allowed, f"%{value.id} to be {' or '.join(sorted(allowed))}", value.dtype)


def require_same_dtype(node: Node, values: Iterable[Value]) -> None:
    """Values of one element type."""
    found = [v.dtype for v in values]
    require(len(set(found)) <= 1, "operands of one element type", ", ".join(found))


def require_axes(axes: tuple[int, ...], rank: int, name: str) -> None:
    """Different dimensions of an array."""
    legal = len(set(axes)) == len(axes) and all(0 <= d < rank for d in axes)
    require(legal, f"{name} to be different dimensions of {rank}", axes)
