"""The simulator's loop and the engine's own scheduler.c as one shared library for this machine.

Built once by the toolchain that builds the engine and kept in the user's cache folder under the hash of the
sources, the flags and the compiler's version.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from daypack.errors import MissingTool

NATIVE = Path(__file__).parent / "native"
SOURCES = (
    NATIVE / "src" / "scheduler.h",
    NATIVE / "src" / "scheduler.c",
    NATIVE / "simulator" / "simulator.h",
    NATIVE / "simulator" / "simulator.c",
)
_FLAGS = (
    "-std=c11",
    "-O2",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-sanitize=all",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    f"-I{NATIVE / 'src'}",
)


@cache
def library() -> ctypes.CDLL:
    """The loaded library; `MissingTool` says what the compiler said if it cannot be built."""
    key = hashlib.sha256("\0".join([*_FLAGS[:-1], importlib.metadata.version("ziglang")]).encode())
    for source in SOURCES:
        key.update(source.read_bytes())
    path = _folder() / f"{key.hexdigest()[:32]}.so"
    if not path.exists():
        _build(path)
    return ctypes.CDLL(str(path))


def _folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daypack" / "simulator"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="daypack-simulator-"))
    return root if os.access(root, os.W_OK) else Path(tempfile.mkdtemp(prefix="daypack-simulator-"))


def _build(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "made.so"
        sources = [str(source) for source in SOURCES if source.suffix == ".c"]
        command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS, "-o", str(made), *sources, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingTool(
                "the simulator's C code cannot be built: `python -m ziglang cc` failed with "
                f"{done.stderr.strip()[-2000:] or 'no message'}; reinstall ziglang"
            )
        made.replace(path)
