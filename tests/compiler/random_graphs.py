"""Random step graphs whose values stay of order one, for the properties that passes, fusion and kernels must
keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daypack.compiler.graph import GraphBuilder, Output, Role, StepGraph, Value
from tests.compiler.graphs import Array

SIZES = (1, 2, 3, 5, 8, 17)
LARGEST = 600  # elements


class _Random:
    """Draws operations that fit the values made so far."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.builder = GraphBuilder("random")
        self.values: list[Value] = []

    def pick(self, *sequence: object) -> object:
        return sequence[int(self.draw.integers(len(sequence)))]

    def value(self) -> Value:
        """Any value, a recent one more likely."""
        last = len(self.values)
        return self.values[int(last * self.draw.random() ** 0.5)]

    def node(
        self,
        op: str,
        inputs: tuple[Value, ...],
        shape: tuple[int, ...],
        dtype: str = "float32",
        **attrs: object,
    ) -> Value:
        return self.builder.node(op, inputs, shape, dtype, attrs, f"line {len(self.builder.nodes)}")

    def scalar(self, number: float) -> Value:
        return self.node("constant", (), (), value=number)

    def matching(self, shape: tuple[int, ...]) -> Value:
        """A value of this shape, or a number."""
        same = [v for v in self.values if v.shape == shape]
        if same and self.draw.random() < 0.8:
            return same[int(self.draw.integers(len(same)))]
        return self.scalar(float(self.pick(0.0, 1.0, 0.5, -2.0)))  # type: ignore[arg-type]

    def graph(self, nodes: int) -> StepGraph:
        for number in range(3):
            rank = int(self.draw.integers(1, 4))
            shape = tuple(int(self.pick(*SIZES)) for _ in range(rank))  # type: ignore[call-overload]
            self.values.append(self.builder.input(shape, "float32", Role.BATCH, str(number)))
        while len(self.builder.nodes) < nodes:
            make = self.pick(*_MAKERS)
            made = make(self, self.value())  # type: ignore[operator]
            if made is not None and made.elements <= LARGEST:
                self.values.append(made)
        count = int(self.draw.integers(1, 4))
        kept = [self.values[-1], *(self.value() for _ in range(count))]
        kept = [v for v in dict.fromkeys(kept) if v.id not in {i.value.id for i in self.builder.inputs}]
        return self.builder.build(Output(f"r{n}", v) for n, v in enumerate(kept))


def _unary(g: _Random, x: Value) -> Value:
    return g.node(str(g.pick("tanh", "logistic", "neg", "abs", "sin", "erf", "store")), (x,), x.shape)


def _bounded(g: _Random, x: Value) -> Value:
    small = g.node("tanh", (x,), x.shape)
    return g.node(str(g.pick("exp", "square", "expm1")), (small,), x.shape)


def _binary(g: _Random, x: Value) -> Value:
    pair = [x, g.matching(x.shape)]
    if g.draw.random() < 0.3:
        pair.reverse()
    return g.node(str(g.pick("add", "sub", "mul", "max", "min")), tuple(pair), x.shape)


def _div(g: _Random, x: Value) -> Value:
    below = g.node("exp", (g.node("tanh", (x,), x.shape),), x.shape)
    return g.node("div", (g.matching(x.shape), below), x.shape)


def _select(g: _Random, x: Value) -> Value | None:
    if not x.shape:
        return None
    axis = int(g.draw.integers(len(x.shape)))
    count = g.node("iota", (), x.shape, "int32", axis=axis)
    limit = g.builder.node("constant", (), (), "int32", {"value": int(g.draw.integers(0, x.shape[axis] + 1))})
    later = g.node("ge", (count, limit), x.shape, "bool")
    return g.node("select_n", (later, x, g.matching(x.shape)), x.shape)


def _broadcast(g: _Random, x: Value) -> Value:
    rank = len(x.shape) + 1
    new = int(g.draw.integers(rank))
    dims = tuple(d for d in range(rank) if d != new)
    size = int(g.pick(*SIZES))  # type: ignore[call-overload]
    return g.node("broadcast_in_dim", (x,), (*x.shape[:new], size, *x.shape[new:]), dims=dims)


def _reshape(g: _Random, x: Value) -> Value:
    shapes = [(x.elements,), (1, *x.shape), (*x.shape, 1), tuple(n for n in x.shape if n > 1)]
    if x.elements % 2 == 0:
        shapes += [(2, x.elements // 2), (x.elements // 2, 2)]
    return g.node("reshape", (x,), shapes[int(g.draw.integers(len(shapes)))])


def _transpose(g: _Random, x: Value) -> Value:
    order = tuple(int(d) for d in g.draw.permutation(len(x.shape)))
    return g.node("transpose", (x,), tuple(x.shape[d] for d in order), permutation=order)


def _slice(g: _Random, x: Value) -> Value:
    start = tuple(int(g.draw.integers(n)) for n in x.shape)
    limit = tuple(int(g.draw.integers(s, n)) + 1 for s, n in zip(start, x.shape, strict=True))
    strides = tuple(int(g.draw.integers(1, 3)) for _ in x.shape)
    shape = tuple(-(-(e - s) // st) for s, e, st in zip(start, limit, strides, strict=True))
    return g.node("slice", (x,), shape, start=start, limit=limit, strides=strides)


def _pad(g: _Random, x: Value) -> Value:
    config = tuple(
        (int(g.draw.integers(-1, 3)) if n > 1 else 0, int(g.draw.integers(0, 3)), int(g.draw.integers(0, 2)))
        for n in x.shape
    )
    shape = tuple(lo + hi + n + (n - 1) * i for n, (lo, hi, i) in zip(x.shape, config, strict=True))
    return g.node("pad", (x, g.scalar(0.25)), shape, config=config)


def _rev(g: _Random, x: Value) -> Value:
    axes = tuple(d for d in range(len(x.shape)) if g.draw.random() < 0.5)
    return g.node("rev", (x,), x.shape, axes=axes)


def _concatenate(g: _Random, x: Value) -> Value | None:
    if not x.shape:
        return None
    axis = int(g.draw.integers(len(x.shape)))
    other = _binary(g, x)
    shape = (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return g.node("concatenate", (x, other), shape, axis=axis)


def _reduce(g: _Random, x: Value) -> Value:
    axes = tuple(d for d in range(len(x.shape)) if g.draw.random() < 0.5)
    op = str(g.pick("reduce_sum", "reduce_max", "reduce_min"))
    shape = tuple(n for d, n in enumerate(x.shape) if d not in axes)
    total = g.node(op, (x,), shape, axes=axes)
    if op != "reduce_sum":
        return total
    return g.node("mul", (total, g.scalar(1 / math.prod(x.shape[d] for d in axes))), shape)


def _softmax(g: _Random, x: Value) -> Value | None:
    if not x.shape:
        return None
    axis = int(g.draw.integers(len(x.shape)))
    kept = tuple(d for d in range(len(x.shape)) if d != axis)
    rows = tuple(x.shape[d] for d in kept)
    top = g.node("broadcast_in_dim", (g.node("reduce_max", (x,), rows, axes=(axis,)),), x.shape, dims=kept)
    e = g.node("exp", (g.node("sub", (x, top), x.shape),), x.shape)
    total = g.node("broadcast_in_dim", (g.node("reduce_sum", (e,), rows, axes=(axis,)),), x.shape, dims=kept)
    return g.node("div", (e, total), x.shape)


def _dot(g: _Random, x: Value) -> Value | None:
    if not x.shape:
        return None
    axis = int(g.draw.integers(len(x.shape)))
    rest = tuple(n for d, n in enumerate(x.shape) if d != axis)
    other = _unary(g, x)
    attrs = {"lhs_contract": (axis,), "rhs_contract": (axis,), "lhs_batch": (), "rhs_batch": ()}
    product = g.node("dot_general", (x, other), rest + rest, **attrs)
    return g.node("mul", (product, g.scalar(1 / x.shape[axis])), rest + rest)


def _cumsum(g: _Random, x: Value) -> Value | None:
    if not x.shape:
        return None
    axis = int(g.draw.integers(len(x.shape)))
    total = g.node("cumsum", (x,), x.shape, axis=axis, reverse=bool(g.draw.random() < 0.5))
    return g.node("mul", (total, g.scalar(1 / x.shape[axis])), x.shape)


def _rows(g: _Random, x: Value) -> Value | None:
    """Gathered rows, or rows added at places, some of them outside."""
    if len(x.shape) < 2:
        return None
    count, rest = x.shape[0], x.shape[1:]
    flat = g.node("iota", (), (count,), "int32", axis=0)
    places = g.node("reshape", (flat,), (count, 1), "int32")
    window = tuple(range(1, len(x.shape)))
    if g.draw.random() < 0.5:
        attrs = {"offset_dims": window, "collapsed": (0,), "start_index_map": (0,), "operand_batching": ()}
        more = {"indices_batching": (), "slice_sizes": (1, *rest), "mode": "CLIP", "fill": 0.0}
        return g.node("gather", (x, places), (count, *rest), **attrs, **more)
    base = g.node("broadcast_in_dim", (g.scalar(0.0),), (max(count - 1, 1), *rest), dims=())
    attrs = {"update_window": window, "inserted": (0,), "scatter_dims": (0,), "operand_batching": ()}
    return g.node(
        "scatter-add", (base, places, x), base.shape, **attrs, indices_batching=(), mode="FILL_OR_DROP"
    )


_MAKERS: tuple[Callable[[_Random, Value], Value | None], ...] = (
    *(_unary, _bounded, _binary, _binary, _binary, _div, _select),
    *(_broadcast, _reshape, _transpose, _slice, _pad, _rev, _concatenate),
    *(_reduce, _reduce, _softmax, _dot, _cumsum, _rows),
)


def random_graph(seed: int, nodes: int = 25) -> StepGraph:
    """The graph of a seed; its inputs are called 0, 1, 2."""
    return _Random(seed).graph(nodes)


def random_inputs(graph: StepGraph, seed: int) -> dict[str, Array]:
    """Standard normal inputs."""
    draw = np.random.default_rng(seed)
    return {i.name: draw.standard_normal(i.value.shape).astype(np.float32) for i in graph.inputs}
