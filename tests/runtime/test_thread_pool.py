"""The thread pool under stress: every tile of every phase is computed once, come what may."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from daypack.runtime.build import engine_objects

MAIN = Path(__file__).parent / "native" / "pool_main.c"
TRIPLE = f"{platform.machine()}-linux-musl"
#: A pool whose late threads may take a tile of a phase that is being written loses within a third of these.
PHASES = 1_000_000


@pytest.mark.parametrize("threads", [2, 4])
def test_every_tile_is_computed_once(threads: int, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    words = [sys.executable, "-m", "ziglang", "cc", "-target", TRIPLE, "-static", "-o", str(out)]
    subprocess.run([*words, *map(str, engine_objects(TRIPLE, MAIN))], check=True)
    done = subprocess.run(
        [out, str(PHASES), str(threads)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, f"{PHASES} phases\n")
