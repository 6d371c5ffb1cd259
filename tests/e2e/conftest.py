"""Specs compiled once a session, run by the engine and by JAX. The comparator is the benchmarks' own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from parity.specs import write_ids

from daypack import api
from daypack.runtime.launch import find_emulator
from daypack.spec import TrainSpec, to_toml

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A file of 20,000 token ids of a vocabulary."""
    folder = tmp_path_factory.mktemp("ids")

    def path(vocabulary: int) -> Path:
        file = folder / f"{vocabulary}.jsonl"
        return file if file.exists() else write_ids(file, vocabulary, 20_000)

    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """The bundle of a spec, compiled at the first request."""
    bundles: dict[tuple[str, str | None], Path] = {}
    folder = tmp_path_factory.mktemp("bundles")

    def compile_once(spec: TrainSpec, target: str | None = None) -> Path:
        key = (to_toml(spec), target)
        if key not in bundles:
            out = folder / f"{len(bundles)}.bundle"
            api.compile_spec(spec, out=out, target=target)
            bundles[key] = out
        return bundles[key]

    return compile_once


@pytest.fixture(scope="session")
def emulator() -> str:
    """qemu's user mode for aarch64; a machine without it skips, but the build server never does."""
    if shutil.which("qemu-aarch64-static") is None and shutil.which("qemu-aarch64") is None:
        if os.environ.get("CI"):
            pytest.fail("the build server has no qemu-aarch64-static; .ci/run installs it")
        pytest.skip("no emulator: install Debian's package qemu-user-static")
    return find_emulator()
