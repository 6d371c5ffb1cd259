"""Several plans in one bundle: in any order, under any pressure the same bits; memory is given back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from daypack.errors import BundleError
from daypack.runtime.bundle import read_bundle
from daypack.runtime.plan_file import Order, PlanFile, Zero
from daypack.runtime.plan_format import write_plan

EXTRA_BYTES = 48 << 20
LARGE, SMALL = 60_000_000, 8_000_000


@pytest.fixture
def several(make_case: Callable[..., Any], example: Any) -> Callable[..., Any]:
    """Four plans: large and in memory, the same in another order, paged in a third, and paged within less.

    The large ones touch 48 MB that the small one does not have. Save steps of 2 lose a step at most.
    """

    def make(name: str = "several", variant: str = "plain", save_steps: int = 1) -> Any:
        case = make_case(name=name, variant=variant)
        paged = replace(case.plan, **example.paged_plan(), budget_bytes=LARGE)
        arena = example.ARENA_BYTES + EXTRA_BYTES
        first, *rest = case.plan.steps
        steps = (Zero(example.ARENA_BYTES, EXTRA_BYTES), first, *rest)
        large = replace(case.plan, steps=steps, arena_bytes=arena, budget_bytes=LARGE, save_steps=save_steps)
        plans = (
            large,
            replace(large, order=Order.DEFERRED),
            replace(paged, arena_bytes=arena, order=Order.LAYER_MAJOR),
            replace(paged, budget_bytes=SMALL, order=Order.INTERLEAVED),
        )
        case.set_plan(**{name: getattr(large, name) for name in PlanFile.__dataclass_fields__})
        for number, plan in enumerate(plans[1:], 1):
            case.set_file(f"plan-{number}.bin", write_plan(plan))
        return case

    return make


def trained(case: Any, *arguments: str, steps: int = 6) -> tuple[list[tuple[int, float]], bytes]:
    run = case.run("--steps", str(steps), "--fresh", *arguments)
    assert run.status == 0, run
    losses = {event["step"]: event["loss"] for event in run.steps}
    return sorted(losses.items()), case.state.read_bytes()


def changes(run: Any) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "plan"]


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("save_steps", [1, 4])
def test_orders_budgets_and_changes_alter_no_bit(
    make_case: Callable[..., Any], several: Callable[..., Any], threads: str, save_steps: int
) -> None:
    expected = trained(make_case(name="one"), "--threads", "1")
    case = several(save_steps=save_steps)
    runs = [["--order", order.label] for order in Order]
    runs += [["--memory", str(SMALL)], ["--rotate"], ["--rotate", "--squeeze", "2", "--relax", "1"]]
    runs += [["--order", order.label, "--squeeze", "3"] for order in Order]
    runs += [["--squeeze", "1", "--relax", "2"]]
    for arguments in runs:
        assert trained(case, "--threads", threads, *arguments) == expected, arguments


def test_rotation_goes_through_the_orders_of_the_budget(several: Callable[..., Any]) -> None:
    run = several().run("--steps", "5", "--rotate")
    assert run.events[0]["plan"] == 0 and run.events[0]["plans"] == 4
    assert run.events[0]["order"] == "micro-batch-major"
    assert [event["order"] for event in changes(run)] == [
        "deferred",
        "layer-major",
        "micro-batch-major",
        "deferred",
    ]
    assert [event["step"] for event in changes(run)] == [1, 2, 3, 4]
    assert not any(event["discarded"] for event in changes(run))


def test_a_run_resumes_under_another_order(
    make_case: Callable[..., Any], several: Callable[..., Any]
) -> None:
    expected = trained(make_case(name="one"))
    case = several()
    for order in (*Order, Order.LAYER_MAJOR, Order.MICRO_BATCH_MAJOR):
        assert case.run("--steps", "1", "--order", order.label).status == 0
    assert case.state.read_bytes() == expected[1]


@pytest.mark.parametrize("save_steps", [1, 4])
def test_a_squeeze_discards_the_window_and_goes_on_from_the_disk(
    several: Callable[..., Any], save_steps: int
) -> None:
    """Two shards a window: the third is in the second, whose work is lost; so is the first's if not saved."""
    run = several(save_steps=save_steps).run("--steps", "4", "--squeeze", "3", "--relax", "1")
    assert run.status == 0
    taken, given = changes(run)[:2]
    assert (taken["budget_bytes"], taken["discarded"], taken["step"]) == (SMALL, True, int(save_steps == 1))
    assert (given["budget_bytes"], given["discarded"]) == (LARGE, False)
    assert given["step"] == taken["step"] + 1
    assert 0 < taken["wait_seconds"] < 1 and given["wait_seconds"] == 0
    assert run.steps[-1]["step"] == 4


def test_in_another_budget_its_cheapest_order_runs_unless_one_was_asked_for(
    several: Callable[..., Any],
) -> None:
    """The compiler lists the cheapest plan of a budget first."""
    case = several()
    plans = [*read_bundle(case.bundle).plans]
    case.set_file("plan-4.bin", write_plan(replace(plans[3], order=Order.MICRO_BATCH_MAJOR)))
    words = ("--steps", "3", "--squeeze", "1")
    assert [event["order"] for event in changes(case.run(*words))] == ["interleaved"]
    asked = case.run(*words, "--fresh", "--order", "micro-batch-major")
    assert [event["order"] for event in changes(asked)] == ["micro-batch-major"]


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    return 4096 * int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])


def test_resident_memory_falls_below_the_smaller_budget(several: Callable[..., Any]) -> None:
    """From the moment that it gives memory back, the process keeps the smaller budget; before it does not."""
    case = several()
    command = case.command("--steps", "400", "--squeeze", "3")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        samples: list[int] = []
        small: dict[str, Any] = {}
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step" and not small:
                assert event["peak_rss_bytes"] > EXTRA_BYTES
            small = event if event["event"] == "plan" else small
            if small and process.poll() is None and event.get("step", 400) < 390:
                samples.append(resident_bytes(process))
    assert process.returncode == 0
    assert 0 < small["rss_bytes"] < SMALL
    assert len(samples) > 100 and 0 < max(samples) <= SMALL


def test_every_read_fails_once_while_plans_change(several: Callable[..., Any]) -> None:
    """A documented exit status, and a whole step on disk; what fails of a sensor changes nothing."""
    case = several(variant="faulty")
    arguments = ("--steps", "3", "--rotate", "--squeeze", "3", "--relax", "1", "--threads", "1")
    assert case.run(*arguments, "--fresh").status == 0
    expected = case.state.read_bytes()
    for function, stride in (
        ("read_at", 9),
        ("open_read", 1),
        ("open_update", 1),
        ("sync", 1),
        ("rename", 1),
    ):
        counted = case.run(*arguments, "--fresh", env={"COUNTS": "1"})
        (calls,) = (
            int(line.split()[2]) for line in counted.stderr.splitlines() if f"count {function} " in line
        )
        for number in range(1, calls + 1, stride):
            run = case.run(*arguments, "--fresh", env={"FAULT": f"{function}:{number}"})
            assert run.status in (0, 2, 4, 5, 6), (function, number, run)
            if run.status == 0:
                assert function in ("read_at", "open_read") and case.state.read_bytes() == expected
            else:
                assert run.message
            if case.state.exists():
                assert 0 <= int(load_file(case.state)["clock/step"]) <= 3
            case.state.unlink(missing_ok=True)
            assert list(case.state.parent.glob("*")) == []


@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_changing_plans_is_clean(several: Callable[..., Any], sanitizer: str) -> None:
    """Pager and threads while plans are loaded over one another and windows are discarded."""
    case = several(variant=f"plain, {sanitizer}")
    words = ("--steps", "12", "--threads", "4", "--rotate", "--squeeze", "3", "--relax", "1")
    run = case.run(*words)
    assert run.status == 0 and "Sanitizer" not in run.stderr, run
    assert len(changes(run)) > 10 and run.steps[-1]["step"] == 12
    plain = several("without")
    assert plain.run("--steps", "12").status == 0
    assert case.state.read_bytes() == plain.state.read_bytes()


def test_the_reader_of_bundles_checks_every_plan(several: Callable[..., Any]) -> None:
    case = several()
    bundle = read_bundle(case.bundle)
    assert [plan.order for plan in bundle.plans] == [
        Order.MICRO_BATCH_MAJOR,
        Order.DEFERRED,
        Order.LAYER_MAJOR,
        Order.INTERLEAVED,
    ]
    assert bundle.plan is bundle.plans[0]
    case.set_file("plan-2.bin", write_plan(replace(bundle.plans[2], window=3)))
    with pytest.raises(
        BundleError, match=r"plan-2.bin: expected the window, the inputs and the state of plan"
    ):
        read_bundle(case.bundle)
    (case.bundle / "plan-2.bin").rename(case.bundle / "plan-7.bin")
    case.set_file("plan-7.bin", (case.bundle / "plan-7.bin").read_bytes())
    with pytest.raises(
        BundleError, match="without a gap, at most 16 plans, found plan-1.bin, plan-3.bin, plan-7"
    ):
        read_bundle(case.bundle)
