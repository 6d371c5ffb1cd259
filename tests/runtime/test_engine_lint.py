"""The engine's sources under gcc and a static analyser; zig cc, which is clang, is every build."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from daypack.runtime.build import NATIVE

SOURCES = sorted((NATIVE / "src").glob("*.c"))
INCLUDE = (f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}")


def run_tool(name: str, *arguments: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: {name})")
    done = subprocess.run([name, *arguments, *map(str, SOURCES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gcc_has_nothing_to_warn_of() -> None:
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
    run_tool("gcc", "-std=c11", "-O2", "-fsyntax-only", *warnings, *INCLUDE)


def test_cppcheck_finds_nothing() -> None:
    kinds = "--enable=warning,portability,performance"
    run_tool("cppcheck", "--std=c11", "--quiet", "--inline-suppr", "--error-exitcode=1", kinds, *INCLUDE)
