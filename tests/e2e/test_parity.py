"""Every loss and every trained array of GPT-2 against `jax.jit` of the same step; equal bits for any threads.

Real widths, two layers and a small vocabulary here; `make proof` runs the published size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from parity.compare import Parity, compare
from parity.engine import run_engine, state_file
from parity.reference import QUICK_COMPILE, Reference, Trained, batches_of
from parity.specs import FULL, LORA, gpt2

from daypack.spec import TrainSpec

VOCABULARY = 5003
REAL = {"n_layer": 2, "vocab_size": VOCABULARY}
TINY = {"n_layer": 2, "n_embd": 48, "n_head": 3, "n_inner": 200, "vocab_size": 300, "n_positions": 40}
LOSS, CHANGE = 5e-6, 1e-3
NEARNESS, NEAREST_ARRAY = 2.0, 3.0
"""An array's distance from exact arithmetic by XLA's: the median of all arrays and batches, and that of the
batches of any one array. Our products have one accumulator a result, XLA's several: we measured 1.5."""
ZERO = 1e-5
"""What rounding may move a parameter of zero gradient by: a tenth of one step at AdamW's rate of 1e-4."""

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": (LORA, {}),
    "full": (FULL, {}),
    "full, window of 4": (FULL, {"gradient_accumulation_steps": 4}),
    "lora, window of 4, dropout": (
        LORA,
        {"gradient_accumulation_steps": 4, "dropout": 0.1, "lora_dropout": 0.05, "sequence": 64},
    ),
    "full, dropout": (FULL, {"dropout": 0.1, "sequence": 64}),
}


def parity(spec: TrainSpec, bundle: Path, steps: int) -> Parity:
    """The engine and JAX from the same start and data."""
    options = QUICK_COMPILE if spec.train.dropout or spec.train.lora_dropout else {}
    reference = Reference(spec, options)
    theirs = reference.run(batches_of(bundle, spec, steps))
    return compare(reference.initial(), run_engine(bundle, steps), theirs)


def check(figures: Parity, zero: float = ZERO) -> None:
    print(figures.line())
    assert figures.worst_loss <= LOSS, figures.losses
    assert figures.worst_array.relative <= CHANGE, figures.worst_array
    assert figures.worst_zero <= zero, figures.zero
    assert figures.unchanged == ()


@pytest.mark.parametrize("name", CASES)
def test_real_width(name: str, compiled: Callable[..., Path], ids: Callable[[int], Path]) -> None:
    method, train = CASES[name]
    spec = gpt2(ids(VOCABULARY), REAL, method, **train)
    check(parity(spec, compiled(spec), 5))


EXACTNESS_STEPS = 5


def states(reference: Reference, batches: Sequence[Mapping[str, Any]]) -> list[Trained]:
    """A reference's losses and arrays after each step from the start."""
    reference.restart()
    found: list[Trained] = []
    losses: tuple[float, ...] = ()
    for batch in batches:
        losses = (*losses, reference.step(batch)[0])
        arrays = {name: np.array(array) for name, array in reference.trainable.items()}
        found.append(Trained(losses, (), arrays))
    return found


def test_the_engine_is_as_near_to_exact_arithmetic_as_xla(
    compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    """Both against float64 and the loss as optax has it, from all logits at once: every array after each of
    five batches. Plain SGD, which does not magnify the rounding of small gradients as Adam's first steps do;
    medians, since the worst of a few arrays is that of one batch.
    """
    spec = gpt2(ids(VOCABULARY), REAL, LORA, optimizer="sgd", learning_rate=1.0)
    bundle = compiled(spec)
    batches = batches_of(bundle, spec, EXACTNESS_STEPS)
    single = Reference(spec, plain=True)
    with jax.enable_x64(True):
        exact = states(Reference(spec, plain=True, dtype="float64"), batches)
    engine: list[Trained] = []
    for step in range(EXACTNESS_STEPS):
        one = run_engine(bundle, 1, state=tmp_path / "state", fresh=step == 0)
        engine.append(replace(one, losses=(*(engine[-1].losses if engine else ()), *one.losses)))
    start = single.initial()
    errors = [
        [[figure.relative for figure in compare(start, *pair).arrays] for pair in zip(of, exact, strict=True)]
        for of in (engine, states(single, batches))
    ]
    ours, theirs = np.array(errors)[:, 1:]  # the first step moves B alone
    ratios = ours / theirs
    print(
        f"{ratios.size} arrays: {np.median(ours):.1e} from exact, {np.median(ratios):.2f} of XLA's distance"
    )
    assert compare(start, engine[-1], exact[-1]).worst_loss <= LOSS
    assert np.median(ratios) <= NEARNESS
    assert np.median(ratios, axis=0).max() <= NEAREST_ARRAY


@dataclass(frozen=True)
class Rule:
    """An optimizer's keys, and what it may make of rounding where the gradient is zero."""

    train: dict[str, Any]
    zero: float = ZERO


OPTIMIZERS: dict[str, tuple[dict[str, Any], Rule]] = {
    "adamw, decay, cosine, warmup": (
        FULL,
        Rule({"weight_decay": 0.1, "schedule": "cosine", "warmup_steps": 3, "learning_rate": 1e-3}),
    ),
    "adamw, no clipping": (LORA, Rule({"max_grad_norm": 0.0})),
    "sgd, momentum, decay, linear": (
        FULL,
        Rule(
            {
                "optimizer": "sgd",
                "momentum": 0.9,
                "weight_decay": 0.01,
                "schedule": "linear",
                "learning_rate": 1e-2,
            }
        ),
    ),
    "sgd, linear, warmup, lora": (
        LORA,
        Rule({"optimizer": "sgd", "schedule": "linear", "warmup_ratio": 0.25, "learning_rate": 1.0}),
    ),
    # A smaller eps than the square of a gradient's rounding would scale that rounding up to full steps.
    "adafactor": (FULL, Rule({"optimizer": "adafactor", "learning_rate": 1e-3, "eps": 1e-12})),
    "adafactor, momentum, lora": (
        LORA,
        Rule({"optimizer": "adafactor", "momentum": 0.9, "learning_rate": 1e-3}),
    ),
    # Lion steps by the sign alone: where the gradient is rounding, 8 steps of 1e-4 this way or that.
    "lion": (FULL, Rule({"optimizer": "lion", "weight_decay": 0.1}, zero=16.1e-4)),
    "lion, constant, warmup, lora": (LORA, Rule({"optimizer": "lion", "warmup_steps": 2})),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, compiled: Callable[..., Path], ids: Callable[[int], Path]) -> None:
    method, rule = OPTIMIZERS[name]
    spec = gpt2(ids(300), TINY, method, sequence=40, **rule.train)
    check(parity(spec, compiled(spec), 8), rule.zero)


@pytest.mark.parametrize("name", ["full, window of 4", "lora, window of 4, dropout"])
def test_bits_do_not_depend_on_threads(
    name: str, compiled: Callable[..., Path], ids: Callable[[int], Path], tmp_path: Path
) -> None:
    method, train = CASES[name]
    bundle = compiled(gpt2(ids(VOCABULARY), REAL, method, **train))
    results: set[tuple[tuple[float, ...], bytes]] = set()
    for threads in (1, 2, 4):
        state = tmp_path / str(threads)
        trained = run_engine(bundle, 3, threads=threads, state=state)
        results.add((trained.losses, state_file(bundle, state).read_bytes()))
    print(
        f"1, 2, 4 threads: {len(results)} distinct result of 3 steps, {len(results.pop()[1])} bytes of state"
    )
    assert not results
