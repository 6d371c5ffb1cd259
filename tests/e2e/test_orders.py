"""Orders of a window's calls: valid, and layer-major ones use each block's weights for all micro-steps."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from parity.specs import LORA, gpt2, write_ids

from daypack import api
from daypack.compiler.graph import Role
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.orders import layer_major, sorted_calls
from daypack.compiler.pipeline import kernel_target, optimize
from daypack.compiler.step import trace_micro, trace_update
from daypack.compiler.window import Call, CallKind, Window, assemble
from daypack.devices import load_profile
from daypack.models.task import build_task

SMALL = {"n_layer": 4, "n_embd": 64, "n_head": 4, "vocab_size": 512, "n_positions": 32}
MICRO_STEPS = 3


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    ids = write_ids(tmp_path_factory.mktemp("ids") / "ids.jsonl", 512, 2000)
    train = {"batch": MICRO_STEPS, "sequence": 32, "gradient_accumulation_steps": MICRO_STEPS}
    spec = gpt2(ids, SMALL, LORA, **train)
    (step,) = api.train_steps(build_task(spec), spec)
    micro, update = optimize(trace_micro(step)), optimize(trace_update(step))
    return assemble(step, micro, update, KernelTable(kernel_target(load_profile("host"))))


def loads(window: Window) -> int:
    """How often a frozen matrix has to come from flash if memory holds those of one call's neighbours."""
    held: list[int] = []
    count = 0
    for call in window.calls:
        for item in call.inputs:
            large = window.items[item].role is Role.FROZEN and window.items[item].size_bytes > 10_000
            if large and item not in held:
                count += 1
                held = [*held[-3:], item]
    return count


def assert_valid(window: Window) -> None:
    """Operands first, and nobody reads what was overwritten."""
    made = {i.id for i in window.items if i.origin in ("state", "weights", "flash", "zero")}
    gone: set[int] = set()
    for call in window.calls:
        assert set(call.inputs) <= made
        assert not set(call.inputs) & gone
        gone |= set(call.overwrites.values())
        made |= set(call.outputs)


def test_layer_major_is_the_same_calls_in_a_valid_order(window: Window) -> None:
    assert_valid(window)
    for block_bytes in (1, 60_000, 200_000, 10**9):
        other = layer_major(window, block_bytes)
        assert_valid(other)
        assert sorted(map(repr, other.calls)) == sorted(map(repr, window.calls))
        assert replace(other, calls=window.calls) == window


def test_layer_major_loads_each_weight_once_a_window_and_direction(window: Window) -> None:
    listed, zigzag = loads(window), loads(layer_major(window, 60_000))
    assert listed > 0.8 * MICRO_STEPS * zigzag


def test_one_block_is_micro_step_after_micro_step(window: Window) -> None:
    micro = [call.micro for call in layer_major(window, 10**12).calls if call.kind is CallKind.KERNEL]
    assert micro == sorted(micro)


def test_gradients_are_added_in_ascending_micro_steps(window: Window) -> None:
    made: dict[str, list[int]] = {}
    for call in layer_major(window, 60_000).calls:
        for output in call.outputs:
            item = window.items[output]
            if call.kind is CallKind.KERNEL and item.name.startswith("sum/grad/"):
                made.setdefault(item.name, []).append(call.micro)
    assert made
    assert set(map(tuple, made.values())) == {tuple(range(MICRO_STEPS))}


def test_updates_that_wait_for_each_other_are_refused() -> None:
    def call(inputs: tuple[int, ...], outputs: tuple[int, ...], over: dict[int, int]) -> Call:
        return Call(CallKind.KERNEL, 0, 0, inputs, outputs, MappingProxyType(over))

    calls = [call((0, 3), (2,), {2: 1}), call((1, 2), (3,), {})]
    with pytest.raises(ValueError, match="in-place updates form a cycle"):
        list(sorted_calls(calls, [(0,), (1,)]))
