"""Proof section: 12,000 strings of each kind of tokenizer on this processor and under the emulator."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from parity.figures import Figure
from parity.workspace import Workspace

from daypack.models.tokenizer import FileTokenizer
from daypack.runtime.launch import find_emulator
from tokenizing.cases import KINDS, strings, train
from tokenizing.compare import build_tokenizer, compile_tables, differences, run_engine

COUNT = 12_000
#: What the trainer may make; of its corpus it makes fewer than the second, and figures tell how many.
MOST_TOKENS = (3_000, 50_000)
RUN_BYTES = 1_000_000
RUN_SECONDS = 2.0


def token_ids(work: Workspace, details: dict[str, Any]) -> list[Figure]:
    """How many of the strings have other ids than the `tokenizers` library gives; and one run of a million
    letters.
    """
    texts = strings(COUNT)
    here = build_tokenizer(f"{platform.machine()}-linux-musl", work.folder / "tokenize-here")
    there = build_tokenizer("aarch64-linux-musl", work.folder / "tokenize-there")
    programs = {"measured": [str(here)], "emulated": [find_emulator(), str(there)]}
    figures: list[Figure] = []
    for most in MOST_TOKENS:
        for kind in KINDS:
            path = train(kind, most, work.folder / f"{kind}-{most}.json")
            vocabulary = FileTokenizer(path).vocabulary
            for source, program in programs.items():
                count = len(differences(program, path, texts))
                name = f"{kind}, vocabulary {vocabulary}: other ids in {COUNT} strings"
                figures.append(Figure("token-ids", name, count, "count", 0, source))
    details["token-ids"] = {"strings": COUNT, "bytes": sum(map(len, texts)), "seed": 1}
    for kind in KINDS:
        seconds = _run_seconds([str(here)], work.folder / f"{kind}-{MOST_TOKENS[0]}.json")
        figures.append(Figure("token-ids", f"{kind}: a run of 1 MB of one letter", seconds, "s", RUN_SECONDS))
    return figures


def _run_seconds(program: list[str], path: Path) -> float:
    tables = compile_tables(path)
    start = time.perf_counter()
    done = run_engine(program, tables, [b"a" * RUN_BYTES], 64 << 20)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, program, stderr=done.stderr)
    return seconds
