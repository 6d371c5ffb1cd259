"""Bundles with several orders within several budgets: whatever the engine does, bit for bit the same."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from parity.specs import LORA, gpt2, write_ids

from daypack import api
from daypack.compiler import planning, shards
from daypack.compiler.project import project
from daypack.runtime.bundle import read_bundle
from daypack.runtime.engine_process import EngineArguments
from daypack.runtime.launch import launcher
from daypack.runtime.plan_file import Order, PlanFile, Read
from daypack.spec import TrainSpec, check_spec

STEPS = 4
DEEP = {"n_layer": 6, "n_embd": 128, "n_head": 4, "vocab_size": 128, "n_positions": 16}
WIDE = {"n_layer": 2, "n_embd": 128, "n_head": 4, "vocab_size": 512, "n_positions": 32}
WINDOW = {"lora": 2, "full": 4}
LABELS = tuple(order.label for order in Order)
Result = tuple[list[tuple[int, float]], bytes]


@dataclass(frozen=True)
class Made:
    """A bundle of several plans, and what the same step gives without a budget."""

    bundle: Path
    budgets: tuple[int, int]
    expected: Result

    @property
    def description(self) -> dict[str, Any]:
        return json.loads((self.bundle / "bundle.json").read_text())

    def run(self, **arguments: Any) -> Result:
        return trained(self.bundle, **arguments)

    def steps(self, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The engine's step events under a plan."""
        words: dict[str, Any] = {"order": plan["order"], "memory_bytes": plan["budget_bytes"], "threads": 2}
        return [event for event in events(self.bundle, **words) if event["event"] == "step"]


def events(bundle: Path, **arguments: Any) -> list[dict[str, Any]]:
    options: dict[str, Any] = {"steps": STEPS, "fresh": True, **arguments}
    return list(launcher("local").run(bundle, EngineArguments(**options)))


def trained(bundle: Path, **arguments: Any) -> Result:
    """Losses by step, and the state; a step that was done again counts once."""
    losses = {e["step"]: e["loss"] for e in events(bundle, **arguments) if e["event"] == "step"}
    saved = EngineArguments().state_directory(bundle) / "state.safetensors"
    return sorted(losses.items()), saved.read_bytes()


def with_budget(spec: TrainSpec, **budget: Any) -> TrainSpec:
    document = json.loads(json.dumps(spec.model_dump(by_alias=True, exclude_unset=True), default=str))
    return check_spec({**document, "budget": budget})


CASES: dict[str, tuple[dict[str, Any], dict[str, int], tuple[int, int], list[str] | str]] = {
    "lora": (LORA, DEEP, (4_000_000, 3_600_000), ["micro-batch-major", "layer-major"]),
    "full": ({"method": "full", "save_steps": 1}, WIDE, (9_000_000, 6_500_000), "all"),
}


@pytest.fixture(scope="module", params=list(CASES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Arrays of 4 KB and more are paged, and searches are short: small models page as large ones do."""
    folder = tmp_path_factory.mktemp("plans")
    method, config, budgets, orders = CASES[request.param]
    ids = write_ids(folder / "ids.jsonl", config["vocab_size"], 5_000)
    window = WINDOW[request.param]
    train = {"batch": window, "gradient_accumulation_steps": window, "sequence": config["n_positions"]}
    spec = gpt2(ids, config, method, max_grad_norm=0.0, **train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PLAN_SECONDS_A_NODE", 0.0005)
        patch.setattr(shards, "QUANTUM_S", 0.0005)
        api.compile_spec(spec, out=folder / "one.bundle")
        patch.setattr(planning, "project", functools.partial(project, page_bytes=4096))
        several = with_budget(spec, memory=list(budgets), orders=orders)
        api.compile_spec(several, out=folder / "several.bundle")
    yield Made(folder / "several.bundle", budgets, trained(folder / "one.bundle"))


def test_every_order_and_budget_gives_the_same_bits(made: Made) -> None:
    for threads in (1, 2):
        for label in {plan["order"] for plan in made.description["plans"]}:
            assert made.run(threads=threads, order=label) == made.expected, label
        assert made.run(threads=threads, memory_bytes=made.budgets[1]) == made.expected
        assert made.run(threads=threads, rotate=True) == made.expected
        assert made.run(threads=threads, rotate=True, memory_bytes=made.budgets[1]) == made.expected


def test_memory_that_is_taken_and_returned_changes_no_bit(made: Made) -> None:
    for squeeze, relax in ((1, 1), (2, 2), (3, None)):
        assert made.run(threads=2, squeeze=squeeze, relax=relax, rotate=relax == 2) == made.expected
    changes = [e for e in events(made.bundle, squeeze=1, relax=1) if e["event"] == "plan"]
    taken = [e for e in changes if e["budget_bytes"] == made.budgets[1]]
    assert taken and all(0 < e["rss_bytes"] <= made.budgets[1] for e in taken)


def test_a_run_resumes_under_another_order(made: Made) -> None:
    """Each step is a run of its own, of another plan."""
    plans = made.description["plans"]
    for number in range(STEPS):
        plan = plans[number % len(plans)]
        events(
            made.bundle,
            steps=1,
            fresh=number == 0,
            order=plan["order"],
            memory_bytes=plan["budget_bytes"],
        )
    saved = EngineArguments().state_directory(made.bundle) / "state.safetensors"
    assert saved.read_bytes() == made.expected[1]


def test_the_manifest_says_what_each_plan_costs(made: Made) -> None:
    plans, left_out = made.description["plans"], made.description["orders_left_out"]
    labels = LABELS if len({plan["order"] for plan in plans}) > 2 else LABELS[:2]
    asked = {(label, budget) for label in labels for budget in made.budgets}
    shipped = {(plan["order"], plan["budget_bytes"]) for plan in plans}
    assert shipped | {(left["order"], left["budget_bytes"]) for left in left_out} == asked
    assert len(shipped) == len(plans) >= 4 and all(left["reason"] for left in left_out)
    read = read_bundle(made.bundle)
    for plan, file in zip(plans, read.plans, strict=True):
        assert (plan["order"], plan["budget_bytes"]) == (file.order.label, file.budget_bytes)
        assert file.arena_bytes == plan["arena_bytes"] < plan["peak_bytes"] <= plan["budget_bytes"]
        assert plan["step_seconds"] > 0 and plan["source"] == "modelled"
    inspected = api.inspect_bundle(made.bundle)
    assert inspected["plans"] == plans


def test_the_engine_reads_and_writes_what_each_plan_says(made: Made) -> None:
    for plan in made.description["plans"]:
        step = made.steps(plan)[1]
        rows = step["read_bytes"] - plan["flash_read_bytes"]
        assert 0 <= rows < 200_000  # the batch's records, rows of the table
        assert step["peak_rss_bytes"] <= plan["budget_bytes"]


def resident_bytes(plan: PlanFile) -> int:
    """Weights that a run keeps in memory."""
    return sum(i.size_bytes for i in plan.setup if isinstance(i, Read))


def test_zigzag_reads_the_weights_once_for_the_whole_window(made: Made) -> None:
    """By the engine's own count, at no more weights in memory; here the window has two micro-steps."""
    plans = dict(
        zip(
            ((p["order"], p["budget_bytes"]) for p in made.description["plans"]),
            read_bundle(made.bundle).plans,
            strict=True,
        )
    )
    if len({order for order, _ in plans}) > 2:
        return  # everything is trained: what it reads are parameters
    budget = made.budgets[1]
    read = {
        order: made.steps({"order": order, "budget_bytes": budget})[1]["weights_read_bytes"]
        for order in ("layer-major", "micro-batch-major")
    }
    assert read["layer-major"] <= 1.1 / WINDOW["lora"] * read["micro-batch-major"]
    listed, layered = (resident_bytes(plans[order, budget]) for order in ("micro-batch-major", "layer-major"))
    assert layered <= listed
