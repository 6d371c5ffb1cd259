"""Section of the proof on orders: how often zig-zag reads weights, by the engine's own counters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from daypack import api
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import Fetch, FileKind, Order, PlanFile, Read, Store
from daypack.spec import check_spec
from parity.budgets import plain
from parity.engine import state_file
from parity.figures import Figure
from parity.specs import LORA, gpt2
from parity.workspace import Workspace

NAME = "zigzag-lora"
BUDGETS = (60_000_000, 100_000_000)
WINDOW, STEPS = 4, 2
ORDERS = (Order.MICRO_BATCH_MAJOR, Order.LAYER_MAJOR)
ROOM = 1.1


@dataclass(frozen=True)
class Ran:
    """A step of one order: measured bytes of the engine, and what its plan keeps and pages."""

    order: str
    budget_bytes: int
    peak_rss_bytes: int
    weights_read_bytes: int
    read_bytes: int
    written_bytes: int
    seconds: float
    resident_weight_bytes: int
    activations_read_bytes: int
    activations_written_bytes: int


def zigzag(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """GPT-2 LoRA, a window of 4 x (2 x 128), within two memories."""
    figures: list[Figure] = []
    details[NAME] = {"window": WINDOW, "budgets": {}}
    for memory in BUDGETS:
        figures += _within(work, memory, details[NAME]["budgets"])
    return figures


def _within(work: Workspace, memory: int, details: dict[str, Any]) -> list[Figure]:
    """Both orders of one bundle, in the same memory."""
    spec = gpt2(work.ids, work.config, LORA, batch=8, sequence=128, gradient_accumulation_steps=WINDOW)
    document = plain(spec.model_dump(by_alias=True, exclude_unset=True))
    budget = {"memory": memory, "orders": [order.label for order in ORDERS]}
    bundle = work.folder / f"zigzag-{memory}.bundle"
    made = api.compile_spec(check_spec({**document, "budget": budget}), out=bundle)
    plans = {plan.order: plan for plan in read_bundle(bundle).plans}
    ran: list[Ran] = []
    results: set[tuple[tuple[float, ...], bytes]] = set()
    for order in ORDERS:
        events = list(api.run_bundle(bundle, steps=STEPS, fresh=True, threads=2, order=order.label))
        results.add((tuple(event.loss for event in events), state_file(bundle).read_bytes()))
        ran.append(_ran(plans[order], events[-1]))
        print(f"{NAME}: {ran[-1]}", flush=True)
    details[str(memory)] = {"runs": [asdict(each) for each in ran], "plans": made.plans}
    listed, layered = ran
    ratio = layered.weights_read_bytes / listed.weights_read_bytes
    within = f"{memory // 1_000_000} MB"
    kept = layered.resident_weight_bytes - listed.resident_weight_bytes
    figures = [
        Figure(
            NAME, f"{within}: weights read, layer-major / micro-batch-major", ratio, "ratio", ROOM / WINDOW
        ),
        Figure(NAME, f"{within}: weights that only layer-major keeps in memory", kept, "bytes", 0),
        Figure(NAME, f"{within}: distinct results (losses and state)", len(results), "count", 1),
    ]
    for each in ran:
        name = f"{within}, {each.order}"
        figures += [
            Figure(NAME, f"{name}: VmHWM", each.peak_rss_bytes, "bytes", each.budget_bytes),
            Figure(NAME, f"{name}: weights read a step", each.weights_read_bytes, "bytes"),
            Figure(NAME, f"{name}: weights kept in memory", each.resident_weight_bytes, "bytes"),
            Figure(NAME, f"{name}: activations written a step", each.activations_written_bytes, "bytes"),
            Figure(NAME, f"{name}: activations read a step", each.activations_read_bytes, "bytes"),
            Figure(NAME, f"{name}: step", each.seconds, "s"),
        ]
    return figures


def _ran(plan: PlanFile, event: api.StepEvent) -> Ran:
    swap = [i for i in plan.steps if isinstance(i, Fetch | Store) and i.file is FileKind.SWAP]
    return Ran(
        plan.order.label,
        plan.budget_bytes,
        event.peak_rss_bytes,
        event.weights_read_bytes,
        event.read_bytes,
        event.written_bytes,
        event.seconds,
        sum(i.size_bytes for i in plan.setup if isinstance(i, Read)),
        sum(i.size_bytes for i in swap if isinstance(i, Fetch)),
        sum(i.size_bytes for i in swap if isinstance(i, Store)),
    )
