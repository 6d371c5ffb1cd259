"""Training with products in float16: refused where a device has none, else near float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity.compare import relative_losses
from parity.engine import run_engine
from parity.specs import FULL, gpt2

from daypack import api
from daypack.compiler.cost import HALF_SPEED, KernelCost, flops_per_s, kernel_seconds
from daypack.devices import load_profile
from daypack.devices.profile import Figure, FigureKind
from daypack.errors import SpecError
from daypack.spec import TrainSpec

SMALL = {"n_layer": 1, "n_embd": 64, "n_head": 2, "vocab_size": 512, "n_positions": 32}
STEPS = 6


def spec_of(ids: Path, arithmetic: str) -> TrainSpec:
    settings = {"batch": 2, "sequence": 32, "max_steps": STEPS, "learning_rate": 1e-3}
    return gpt2(ids, SMALL, FULL, **settings, arithmetic=arithmetic)


@pytest.fixture(scope="module")
def bundle(ids: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine, which computes float16's bits from float32."""
    out = tmp_path_factory.mktemp("half") / "here.bundle"
    api.compile_spec(spec_of(ids(512), "float16"), out=out, emulate=True)
    return out


def test_losses_are_near_those_of_float32(
    bundle: Path, compiled: Callable[..., Path], ids: Callable[[int], Path], emulator: str
) -> None:
    """From float32 on this machine, and by the arithmetic of an emulated Cortex-A76."""
    here = run_engine(bundle, STEPS)
    there = run_engine(compiled(spec_of(ids(512), "float16"), "cortex-a76"), 3, via="emulated")
    exact = run_engine(compiled(spec_of(ids(512), "float32")), STEPS)
    off = relative_losses(here.losses, exact.losses)
    apart = relative_losses(there.losses, here.losses[:3])
    print(f"{max(off):.1e} from float32, {max(apart):.1e} between arm64 and here")
    assert 1e-6 < max(off) < 0.01
    assert max(apart) < 1e-4


def test_bits_do_not_depend_on_threads(bundle: Path) -> None:
    results: set[bytes] = set()
    for threads in (1, 2, 4):
        trained = run_engine(bundle, 3, threads=threads)
        results.add(b"".join(np.ascontiguousarray(a).tobytes() for a in trained.arrays.values()))
    assert len(results) == 1


def test_a_device_without_float16_arithmetic_refuses(ids: Callable[[int], Path], tmp_path: Path) -> None:
    spec = spec_of(ids(512), "float16")
    with pytest.raises(SpecError) as caught:
        api.compile_spec(spec, out=tmp_path / "no.bundle", target="host")
    assert caught.value.message == (
        'train.arithmetic: got "float16", which host cannot compute in: it takes a device of arm64 cores '
        "that all have fullfp16; take another device or remove the key"
    )
    with pytest.raises(SpecError, match=r"train\.arithmetic"):
        api.dump_problem(spec, tmp_path / "problem.json")
    assert not list(tmp_path.iterdir())


def test_products_in_float16_are_priced_by_their_speed() -> None:
    board = load_profile("cortex-a76")
    assert board.half_arithmetic
    assert not replace(board, cpu_features=("neon",)).half_arithmetic
    half, full = (kernel_seconds("gemm", KernelCost(1e12, 0, n), board) for n in (1e12, 0.0))
    assert full / half == pytest.approx(HALF_SPEED, rel=1e-3)
    rate = Figure(3 * flops_per_s("gemm", board), "the test", FigureKind.MEASURED)
    measured = replace(board, kernels=replace(board.kernels, half_products_flops_per_s=rate))
    assert kernel_seconds("gemm", KernelCost(1e12, 0, 1e12), measured) == pytest.approx(full / 3, rel=1e-3)
