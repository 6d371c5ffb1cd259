"""The engine's tokenizer, built alone for a target, on many strings against the `tokenizers` library."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daypack.models.tokenizer import FileTokenizer
from daypack.models.tokenizer_tables import tokenizer_tables
from daypack.runtime.build import NATIVE
from daypack.runtime.tokenizer_file import tokenizer_bytes

MAIN = Path(__file__).resolve().parents[2] / "tests" / "runtime" / "native" / "tokenize_main.c"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-static")
TRAPS = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
WORKSPACE_BYTES = 1 << 20


@dataclass(frozen=True)
class Difference:
    """A string whose ids are not those of the library."""

    text: bytes
    expected: list[int]
    found: list[int]


def build_tokenizer(triple: str, out: Path) -> Path:
    """An executable of the engine's tokenizer alone, which stops at undefined behaviour."""
    sources = [*sorted((NATIVE / "src").glob("tokenizer*.c")), NATIVE / "src" / "error.c", MAIN]
    words = [*FLAGS, *TRAPS, f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}", *map(str, sources)]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, *words, "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=out.parent)
    return out


def compile_tables(path: Path) -> Path:
    """The tokenizer.dpt of a tokenizer.json, beside it."""
    made = tokenizer_tables(FileTokenizer(path))
    out = path.with_suffix(".dpt")
    out.write_bytes(tokenizer_bytes(made.scalars, made.tables))
    return out


def run_engine(
    program: Sequence[str], tables: Path, texts: Sequence[bytes], workspace_bytes: int = WORKSPACE_BYTES
) -> subprocess.CompletedProcess[bytes]:
    """The program's run over all strings."""
    strings = tables.with_suffix(".strings")
    strings.write_bytes(b"".join(struct.pack("<I", len(text)) + text for text in texts))
    command = [*program, str(tables), str(strings), str(workspace_bytes)]
    return subprocess.run(command, capture_output=True, check=False)


def engine_ids(output: bytes) -> list[list[int]]:
    """The ids of each string in a run's output."""
    values = np.frombuffer(output, "<u4").tolist()
    found: list[list[int]] = []
    place = 0
    while place < len(values):
        end = place + 1 + values[place]
        found.append(values[place + 1 : end])
        place = end
    return found


def differences(program: Sequence[str], path: Path, texts: Sequence[bytes]) -> list[Difference]:
    """What the engine tokenizes otherwise than the library that reads the same tokenizer.json."""
    done = run_engine(program, compile_tables(path), texts)
    if done.returncode != 0:
        raise RuntimeError(f"{path}: the tokenizer ended with {done.returncode}: {done.stderr.decode()}")
    library = FileTokenizer(path)
    expected = [library.encode(text.decode("utf-8", "replace")).tolist() for text in texts]
    pairs = zip(texts, expected, engine_ids(done.stdout), strict=True)
    return [Difference(text, one, other) for text, one, other in pairs if one != other]
