"""Every C file of Daypack under gcc, under clang and under a static analyser, without a warning.

zig cc is clang and comes with Daypack, so that side is always looked at.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daypack.planners.native import SOURCES as PLANNERS
from daypack.runtime.build import MAIN, NATIVE, engine_sources
from daypack.runtime.simulator_library import LIBRARY

ROOT = NATIVE.parents[1]
SOURCES = sorted(ROOT.rglob("*.c"))
FOLDERS = sorted({path.parent for path in ROOT.rglob("*.h")})
INCLUDE = tuple(f"-I{folder}" for folder in FOLDERS)
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", *INCLUDE)


def look(*command: str, folder: Path = ROOT) -> None:
    words = [*command, *map(str, SOURCES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def need(name: str, package: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return name


def test_no_c_file_that_is_built_is_left_out() -> None:
    simulator = [path for path in LIBRARY.sources if path.suffix == ".c"]
    assert {MAIN, *engine_sources(), *simulator, *PLANNERS.glob("*.c")} == set(SOURCES)


@pytest.mark.parametrize("compiler", ["gcc", "clang-19"])
def test_a_compiler_of_the_host_has_nothing_to_warn_of(compiler: str) -> None:
    look(need(compiler, compiler), "-O2", "-fsyntax-only", *WARNINGS)


def test_zigs_clang_has_nothing_to_warn_of(tmp_path: Path) -> None:
    target = f"{platform.machine()}-linux-musl"
    look(sys.executable, "-m", "ziglang", "cc", "-target", target, "-O0", "-c", *WARNINGS, folder=tmp_path)


def test_cppcheck_finds_nothing() -> None:
    kinds = "--enable=warning,portability,performance"
    cppcheck = need("cppcheck", "cppcheck")
    look(cppcheck, "--std=c11", "--quiet", "--inline-suppr", "--error-exitcode=1", kinds, *INCLUDE)
