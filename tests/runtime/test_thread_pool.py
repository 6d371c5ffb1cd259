"""The thread pool under stress: every tile of every phase is computed once, come what may."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from daypack.runtime.build import NATIVE

MAIN = Path(__file__).parent / "native" / "pool_main.c"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-fno-sanitize=all")
#: A pool whose late threads may take a tile of a phase that is being written loses within a third of these.
PHASES = 1_000_000
ENGINE = ("threads", "error", "platform_posix", "sandbox_linux", "features")


@pytest.mark.parametrize("threads", [2, 4])
def test_every_tile_is_computed_once(threads: int, tmp_path: Path) -> None:
    sources = [NATIVE / "src" / f"{name}.c" for name in ENGINE]
    out = tmp_path / "pool"
    include = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    words = ["-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-musl", *FLAGS, *include]
    subprocess.run([sys.executable, *words, *map(str, [MAIN, *sources]), "-o", str(out)], check=True)
    done = subprocess.run(
        [out, str(PHASES), str(threads)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, f"{PHASES} phases\n")
