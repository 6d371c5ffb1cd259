"""The window: the fused micro-step unrolled `window` times and the update, linked by what persists.

Every array of the window is one `Item`; every call one `Call`. A call that writes an array in place (a
parameter, a
moment, a running sum) names the item it overwrites; the item that stands for the new content shares its
memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from daypack.compiler.alias import may_overwrite
from daypack.compiler.fusion.groups import Kind
from daypack.compiler.graph import Input, Node, Output, Role, StepGraph, Value
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.orders import sorted_calls
from daypack.compiler.step import MICRO, SEED, STEP, TrainStep


class Origin(StrEnum):
    """Where an item's first content comes from."""

    STATE = "state"  # persists, saved: parameters, moments, the clock
    SAVED = "saved"  # the same in an evaluation, which only reads it
    WEIGHTS = "weights"  # in the weights file: frozen parameters and constants
    BATCH = "batch"
    FLASH = "flash"  # in the weights file and never in memory
    ZERO = "zero"
    COMPUTED = "computed"


class CallKind(StrEnum):
    KERNEL = "kernel"
    BATCH = "batch"
    ZERO = "zero"
    ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Item:
    """One array of the window; `size_bytes` in the arena."""

    id: int
    name: str
    role: Role
    origin: Origin
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One instruction that makes items. `overwrites` maps an output to the item whose memory it takes
    over. `micro` counts the micro-steps; the update comes after the last.
    """

    kind: CallKind
    kernel: int
    micro: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    overwrites: MappingProxyType[int, int]
    source: str = ""
    table: int = -1


@dataclass(frozen=True, slots=True)
class Window:
    """Items, calls in a valid order, and where results are.

    A call of the kind `rows` has its ids as input and its matrix, a flash item, as `table`.

    `state` maps a published name to (first item, last item); the last overwrites the first. `constants` maps
    a weights item to its array's name in a graph (for arrays the step closes over).
    """

    items: tuple[Item, ...]
    calls: tuple[Call, ...]
    state: dict[str, tuple[int, int]]
    weights: dict[int, str]
    constants: dict[int, bytes]
    batches: tuple[tuple[int, ...], ...]
    loss: int
    weight: int
    step: int


@dataclass(slots=True)
class _Assembly:
    step: TrainStep
    table: KernelTable
    evaluates: bool = False
    items: list[Item] = field(default_factory=list[Item])
    calls: list[Call] = field(default_factory=list[Call])
    current: dict[str, int] = field(default_factory=dict[str, int])
    first: dict[str, int] = field(default_factory=dict[str, int])
    weights: dict[int, str] = field(default_factory=dict[int, str])
    constants: dict[int, bytes] = field(default_factory=dict[int, bytes])
    shared: dict[bytes, int] = field(default_factory=dict[bytes, int])
    taken: dict[int, int] = field(default_factory=dict[int, int])  # item → the one that it overwrites

    def item(self, name: str, role: Role, origin: Origin, value: Value, source: str = "") -> int:
        number = len(self.items)
        item = Item(number, name, role, origin, value.shape, value.dtype, value.size_bytes, source)
        self.items.append(item)
        return number

    def constant(self, raw: bytes, value: Value, name: str) -> int:
        key = value.dtype.encode() + bytes(str(value.shape), "ascii") + raw
        if key not in self.shared:
            self.shared[key] = self.item(name, Role.CONSTANT, Origin.WEIGHTS, value)
            self.constants[self.shared[key]] = raw
        return self.shared[key]

    def persistent(self, entry: Input) -> int:
        """The current content of a parameter, a moment, a frozen array or a running sum."""
        name = entry.name
        if name not in self.current:
            role = entry.role
            if role in (Role.FROZEN, Role.FLASH):
                origin = Origin.WEIGHTS if role is Role.FROZEN else Origin.FLASH
                number = self.item(name, role, origin, entry.value)
                self.weights[number] = name
            elif role is Role.GRADIENT:
                number = self.item(name, role, Origin.ZERO, entry.value)
                self.calls.append(Call(CallKind.ZERO, -1, 0, (), (number,), MappingProxyType({})))
            else:
                number = self.item(name, role, Origin.SAVED if self.evaluates else Origin.STATE, entry.value)
                self.first[name] = number
            self.current[name] = number
        return self.current[name]

    def run(
        self, graph: StepGraph, micro: int, batch: dict[str, int], renames: dict[str, str]
    ) -> dict[str, int]:
        """Append the calls of one fused graph; `renames` maps outputs to persistent names they replace."""
        env: dict[int, int] = {}
        for entry in graph.inputs:
            env[entry.value.id] = self._bind(graph, entry, micro, batch)
        replaces = {
            out.value.id: (renames[out.name], out.name) for out in graph.outputs if out.name in renames
        }
        old = {value_id: self.current.get(name) for value_id, (name, _) in replaces.items()}
        for node in graph.nodes:
            self._call(node, env, replaces, old, micro)
        results = {out.name: env[out.value.id] for out in graph.outputs}
        for out in graph.outputs:
            if out.name in renames:
                self._replace(renames[out.name], results, out)
        return results

    def _bind(self, graph: StepGraph, entry: Input, micro: int, batch: dict[str, int]) -> int:
        if entry.name in graph.constants:
            return self.constant(graph.constants[entry.name].tobytes(), entry.value, entry.name)
        if entry.role is Role.BATCH:
            return batch[entry.name]
        if entry.name == SEED:
            return self.constant((self.step.seed % 2**32).to_bytes(4, "little"), entry.value, SEED)
        if entry.name == MICRO:
            return self.constant(micro.to_bytes(4, "little"), entry.value, f"{MICRO}/{micro}")
        return self.persistent(entry)

    def _call(
        self,
        node: Node,
        env: dict[int, int],
        replaces: dict[int, tuple[str, str]],
        old: dict[int, int | None],
        micro: int,
    ) -> None:
        if node.attrs["kind"] == Kind.FLASH_ROWS:
            self._rows(node, env, micro)
            return
        kernel = self.table.number_of(node)
        code = self.table.kernels[kernel].code
        body = self.table.kernels[kernel].body
        inputs = tuple(env[v.id] for v in node.inputs)
        overwritten: dict[int, int] = {}
        outputs: list[int] = []
        for position, value in enumerate(node.outputs):
            name = replaces[value.id][0] if value.id in replaces else ""
            role = self.items[self.current[name]].role if name in self.current else Role.ACTIVATION
            number = self.item(name, role, Origin.COMPUTED, value, node.source)
            env[value.id] = number
            outputs.append(number)
            target = old.get(value.id)
            if position == 0 and code.overwrites is not None:
                overwritten[number] = inputs[code.overwrites]
            elif target is not None and may_overwrite(body, code, position, inputs, target):
                overwritten[number] = target
        self.taken.update(overwritten)
        self.calls.append(
            Call(
                CallKind.KERNEL,
                kernel,
                micro,
                inputs,
                tuple(outputs),
                MappingProxyType(overwritten),
                node.source,
            )
        )

    def _rows(self, node: Node, env: dict[int, int], micro: int) -> None:
        """A call that reads rows of a matrix on flash by the ids in memory."""
        (value,) = node.outputs
        table, ids = (env[v.id] for v in node.inputs)
        env[value.id] = self.item("", Role.ACTIVATION, Origin.COMPUTED, value, node.source)
        nothing: MappingProxyType[int, int] = MappingProxyType({})
        self.calls.append(
            Call(CallKind.ROWS, -1, micro, (ids,), (env[value.id],), nothing, node.source, table)
        )

    def _replace(self, name: str, results: dict[str, int], out: Output) -> None:
        """Make `name` stand for an output, by a copy where the output could not be written in place."""
        before, now = self.current[name], results[out.name]
        if now == before:
            return
        if self.taken.get(now) != before:
            now = self.copy(now, before, name)
        self.current[name] = now

    def call_gradient(self, number: int, name: str) -> None:
        """Let a computed item without a name be known as the gradient that it is."""
        item = self.items[number]
        if item.origin is Origin.COMPUTED and not item.name and name.startswith("sum/grad/"):
            self.items[number] = replace(item, name=name, role=Role.GRADIENT)

    def copy(self, source: int, target: int, name: str) -> int:
        """A call that copies an item over another."""
        item = self.items[source]
        value = Value(0, item.shape, item.dtype)
        result = Value(1, item.shape, item.dtype)
        copied = Node("reshape", (value,), (result,))
        body = StepGraph(
            "copy", (Input(value, Role.ACTIVATION, "in0"),), (copied,), (Output("out0", result),)
        )
        node = Node("fused", (value,), (result,), MappingProxyType({"kind": "elementwise"}), "", body)
        number = self.item(name, self.items[target].role, Origin.COMPUTED, result)
        kernel = self.table.number_of(node)
        overwritten = MappingProxyType({number: target})
        self.calls.append(Call(CallKind.KERNEL, kernel, 0, (source,), (number,), overwritten))
        return number


def assemble(step: TrainStep, micro: StepGraph, update: StepGraph, table: KernelTable) -> Window:
    """Unroll and link two fused graphs."""
    work = _Assembly(step, table)
    micro_renames = {o.name: _sum_name(o.name) for o in micro.outputs if step.window > 1 and _is_sum(o.name)}
    micro_renames |= {
        o.name: o.name.replace("mutable:", "mutable/", 1) for o in micro.outputs if _is_mutable(o.name)
    }
    batches: list[tuple[int, ...]] = []
    results: dict[str, int] = {}
    for index in range(step.window):
        batch = _batch(work, micro, index)
        batches.append(tuple(batch.values()))
        results = work.run(micro, index, batch, micro_renames)
    for name, item in results.items():
        if _is_sum(name) and step.window == 1:
            work.current[_sum_name(name)] = item
            work.call_gradient(item, _sum_name(name))
    renames = {
        out.name: out.name.removeprefix("trainable:")
        if out.name.startswith("trainable:")
        else out.name.replace("opt:", "opt/", 1)
        for out in update.outputs
        if out.name.startswith(("trainable:", "opt:"))
    }
    final = work.run(update, step.window, {}, {**renames, "step": STEP})
    calls = sorted_calls(work.calls, [(number,) for number in range(len(work.calls))])
    state = {name: (first, work.current[name]) for name, first in work.first.items()}
    return Window(
        tuple(work.items),
        tuple(calls),
        state,
        work.weights,
        work.constants,
        tuple(batches),
        final["loss"],
        final["weight"],
        state[STEP][1],
    )


def assemble_evaluation(step: TrainStep, graph: StepGraph, table: KernelTable) -> Window:
    """A fused evaluation as a window of one micro-step; its loss and weight are those of each row.

    It has no state: nothing of what it reads is changed. The clock is read too, so that the engine can tell.
    """
    work = _Assembly(step, table, evaluates=True)
    batch = _batch(work, graph, 0)
    results = work.run(graph, 0, batch, {})
    clock = work.persistent(Input(Value(-1, (), "uint32"), Role.STATE, STEP))
    return Window(
        tuple(work.items),
        tuple(work.calls),
        {},
        work.weights,
        work.constants,
        (tuple(batch.values()),),
        results["log_likelihood"],
        results["labels"],
        clock,
    )


def _is_sum(name: str) -> bool:
    return name.startswith("grad:") or name in ("loss_sum", "weight")


def _is_mutable(name: str) -> bool:
    return name.startswith("mutable:")


def _sum_name(name: str) -> str:
    return "sum/" + name.replace("grad:", "grad/", 1)


def _batch(work: _Assembly, micro: StepGraph, index: int) -> dict[str, int]:
    """The items of one micro-batch, made by one call that reads its record. Unused inputs are read too."""
    entries = [e for e in micro.inputs if e.role is Role.BATCH]
    batch = {e.name: work.item(f"{e.name}/{index}", Role.BATCH, Origin.BATCH, e.value) for e in entries}
    work.calls.append(Call(CallKind.BATCH, -1, index, (), tuple(batch.values()), MappingProxyType({})))
    return batch
