"""Training with parameters, moments, gradients and activations on flash: bit for bit what it is in memory."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from safetensors.numpy import load_file

import daypack
from daypack import api
from daypack.errors import BundleError
from daypack.runtime.bundle import read_bundle
from daypack.runtime.engine_process import EngineArguments
from daypack.runtime.plan_file import Fetch, FileKind, PlanFile, Store
from daypack.spec import check_spec

STEPS = 3
RNG = np.random.default_rng(5)
BATCHES = [
    {"x": RNG.normal(size=(8, 24)).astype(np.float32), "y": RNG.normal(size=(8, 3)).astype(np.float32)}
    for _ in range(STEPS)
]


@pytest.fixture(autouse=True)
def standard_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


def mlp() -> nnx.Sequential:
    return nnx.Sequential(
        nnx.Linear(24, 40, rngs=nnx.Rngs(0)),
        nnx.gelu,
        nnx.Linear(40, 40, rngs=nnx.Rngs(1)),
        nnx.tanh,
        nnx.Linear(40, 3, rngs=nnx.Rngs(2)),
    )


class Mixed(nnx.Module):
    """Arrays that the loss itself changes: running means, a random stream, a count; and a fixed one."""

    def __init__(self) -> None:
        self.dense = nnx.Linear(24, 40, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(40, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.last = nnx.Linear(40, 3, rngs=nnx.Rngs(2))
        self.calls = nnx.Variable(jnp.uint32(0))
        self.fixed = nnx.Variable(jnp.ones(40))

    def __call__(self, x: Any) -> Any:
        self.calls[...] = self.calls[...] + jnp.uint32(1)
        return self.last(self.dropout(self.norm(self.dense(x))) * self.fixed[...])


def loss(model: Any, batch: Any) -> Any:
    return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)


CASES: dict[str, tuple[Callable[[], Any], Any, int]] = {
    "adamw, clipped": (mlp, optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(1e-2)), 1),
    "momentum, window of 4": (mlp, optax.sgd(1e-2, momentum=0.9), 4),
    "adam, window of 2": (mlp, optax.adam(1e-2), 2),
    "adafactor": (mlp, optax.adafactor(1e-2, min_dim_size_to_factor=16), 1),
    "what the loss changes": (Mixed, optax.lion(1e-3), 1),
}


def trained(out: Path, name: str, **run: Any) -> tuple[list[float], bytes, PlanFile]:
    model, optimizer, window = CASES[name]
    bundle = daypack.compile(model(), loss, optimizer, BATCHES[0], out=out, window=window).bundle
    return (*again(bundle, **run), read_bundle(bundle).plan)


def again(bundle: Path, **run: Any) -> tuple[list[float], bytes]:
    result = daypack.run(bundle, BATCHES, fresh=True, **run)
    return result.losses, (bundle.with_name(bundle.name + ".state") / "state.safetensors").read_bytes()


@pytest.mark.parametrize(("share", "spread"), [(0.0, False), (0.2, True)])
@pytest.mark.parametrize("name", CASES)
def test_paging_changes_no_bit(
    name: str, share: float, spread: bool, paging: Callable[..., None], tmp_path: Path, kept: dict[str, Any]
) -> None:
    if name not in kept:
        kept[name] = trained(tmp_path / "kept.bundle", name)
    losses, state, plan = kept[name]
    paging(share, spread=spread)
    paged = trained(tmp_path / "paged.bundle", name)
    assert paged[:2] == (losses, state)
    assert paged[2].arena_bytes < plan.arena_bytes
    assert paged[2].save_steps == 1
    assert any(piece.arena_offset_bytes is None for t in paged[2].state for piece in t.pieces)


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """Results of the cases in memory."""
    return {}


def test_threads_and_direct_transfers(paging: Callable[..., None], tmp_path: Path) -> None:
    paging(0.2, spread=True)
    bundle = tmp_path / "paged.bundle"
    first = trained(bundle, "adamw, clipped", threads=1)[:2]
    assert [again(bundle, threads=threads) for threads in (2, 4)] == [first, first]
    try:
        assert again(bundle, direct=True) == first
    except daypack.DaypackError as error:
        if "--direct" not in str(error):
            raise


def files(plan: PlanFile, kind: type[Fetch | Store]) -> set[FileKind]:
    return {i.file for i in plan.steps if isinstance(i, kind)}


def test_every_file_is_used_and_the_counts_are_true(paging: Callable[..., None], tmp_path: Path) -> None:
    """Adam writes each parameter and moment once a step; the plan's figures and the run's agree."""
    paging(0.0)
    bundle = tmp_path / "paged.bundle"
    model, optimizer, window = CASES["adam, window of 2"]
    compiled = daypack.compile(model(), loss, optimizer, BATCHES[0], out=bundle, window=window)
    plan = read_bundle(bundle).plan
    assert files(plan, Fetch) == {FileKind.STATE, FileKind.SWAP}
    assert files(plan, Store) == {FileKind.NEXT, FileKind.SWAP}
    to_next = [i.file_offset_bytes for i in plan.steps if isinstance(i, Store) and i.file is FileKind.NEXT]
    assert len(to_next) == len(set(to_next))
    events = list(daypack.run(bundle, BATCHES, fresh=True).steps)
    batch_bytes = sum(array.nbytes for array in BATCHES[0].values())
    header = len(bundle.with_name("paged.bundle.state").joinpath("state.safetensors").read_bytes()) - sum(
        tensor.size_bytes for tensor in plan.state
    )
    for event in events:
        assert event.read_bytes == compiled.predicted.flash_read_bytes + batch_bytes
        assert event.written_bytes == compiled.predicted.flash_written_bytes + header


def gpt2_spec(path: Path) -> Any:
    path.write_text("The same words again and again, and some that are new. " * 40)
    config = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 257, "n_positions": 16}
    train = {"batch": 4, "gradient_accumulation_steps": 2, "sequence": 16, "method": "full", "dropout": 0.1}
    return check_spec(
        {
            "model": {"family": "gpt2", "seed": 1, "config": config},
            "train": {"optimizer": "adamw", "learning_rate": 1e-3, "max_steps": 40, **train},
            "device": {"profile": "host"},
            "data": {"path": str(path), "kind": "text"},
        }
    )


def run_spec(bundle: Path, steps: int, **options: Any) -> tuple[list[float], bytes]:
    events = list(api.run_bundle(bundle, steps=steps, fresh=True, **options))
    saved = EngineArguments().state_directory(bundle) / "state.safetensors"
    return [event.loss for event in events], saved.read_bytes()


def test_gpt2_with_dropout_and_a_window(paging: Callable[..., None], tmp_path: Path) -> None:
    """Attention, lookups and scatters, a tied matrix; then killed at any moment, and resumed bit for bit."""
    spec = gpt2_spec(tmp_path / "text.txt")
    kept, paged = tmp_path / "kept.bundle", tmp_path / "paged.bundle"
    api.compile_spec(spec, out=kept)
    paging(0.1, spread=True)
    api.compile_spec(spec, out=paged)
    assert run_spec(paged, STEPS, threads=2) == run_spec(kept, STEPS, threads=2)
    _, whole = run_spec(kept, 30)
    assert killed_and_resumed(paged, tmp_path / "killed", 30) == whole


def killed_and_resumed(bundle: Path, state: Path, steps: int) -> bytes:
    """The state after as many steps, of runs that SIGKILL ended at random moments."""
    rng = random.Random(3)
    done = kills = 0
    saved = state / "state.safetensors"
    while done < steps:
        words = EngineArguments(steps=steps - done, threads=2).command_line(str(bundle), str(state), None)
        process = subprocess.Popen([str(bundle / "engine"), *words], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 8)):
            process.stdout.readline()
        time.sleep(rng.random() * 0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        kills += process.returncode == -signal.SIGKILL
        done = clock(saved)
    assert kills >= 3
    return saved.read_bytes()


def clock(saved: Path) -> int:
    return int(load_file(saved)["clock/step"]) if saved.exists() else 0


def test_paged_under_the_emulator(paging: Callable[..., None], tmp_path: Path, emulator: str) -> None:
    """The same bundle for ARM, paged and not."""
    model, optimizer, _ = CASES["adamw, clipped"]
    results: list[tuple[list[float], bytes]] = []
    for name in ("kept", "paged"):
        bundle = tmp_path / f"{name}.bundle"
        daypack.compile(model(), loss, optimizer, BATCHES[0], out=bundle, device="pixel8")
        results.append(again(bundle, via="emulated"))
        paging(0.1)
    assert results[0] == results[1]


def test_a_bundle_of_another_training_refuses_the_state(tmp_path: Path) -> None:
    """Compiled to the same place with another start or rate: exit 4; with another budget it goes on."""
    out = tmp_path / "b.bundle"

    def compiled(seed: int, rate: float, memory: str | None = None) -> Path:
        model = nnx.Linear(24, 3, rngs=nnx.Rngs(seed))
        return daypack.compile(model, loss, optax.adam(rate), BATCHES[0], out=out, memory=memory).bundle

    daypack.run(compiled(0, 1e-2), BATCHES)
    assert clock(tmp_path / "b.bundle.state" / "state.safetensors") == STEPS
    for seed, rate in ((1, 1e-2), (0, 1e-3)):
        with pytest.raises(BundleError, match="found another header: it is the state of another model"):
            daypack.run(compiled(seed, rate), BATCHES)
    daypack.run(compiled(0, 1e-2, "50MB"), BATCHES)
    assert clock(tmp_path / "b.bundle.state" / "state.safetensors") == 2 * STEPS
