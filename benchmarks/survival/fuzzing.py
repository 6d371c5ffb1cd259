"""The harnesses of tests/fuzz: builds with libFuzzer, with gcc and with coverage, and runs of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daypack.errors import MissingTool
from daypack.runtime import build
from survival.fuzz_seeds import KERNELS, SCRATCH_BYTES, TRIPLE, fixture
from survival.sanitized import compile_c, compile_objects, shims

FUZZ = Path(__file__).resolve().parents[2] / "tests" / "fuzz"
#: Inputs that once failed; they are replayed by the tests.
REGRESSIONS = FUZZ / "regressions"
#: harness -> the files whose lines it must reach
LOADERS = {
    "plan": ("loader.c", "checks.c"),
    "state": ("blocks.c",),
    "data": ("data.c",),
    "policy": ("policy.c",),
    "command": ("commands.c", "command_line.c"),
    "manifest": ("manifest.c", "signature.c", "hex.c", "tree.c"),
    "raw": (
        "raw_bytes.c",
        "raw_chat.c",
        "raw_csv.c",
        "raw_json.c",
        "raw_lines.c",
        "raw_piece.c",
        "corpus.c",
        "examples.c",
        "packing.c",
    ),
    "tokenizer": (
        "tokenizer.c",
        "tokenizer_merges.c",
        "tokenizer_normal.c",
        "tokenizer_pieces.c",
        "tokenizer_text.c",
    ),
}
HARNESSES = tuple(LOADERS)
SANITIZE = "-fsanitize=address,undefined"
FLAGS = ("-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", "-no-pie")
STRICT = ("-fno-sanitize-recover=all",)
COVERAGE = ("-fprofile-instr-generate", "-fcoverage-mapping")
LARGEST_INPUT_BYTES = 1 << 16
#: For the input under way when a fuzzer is asked to end.
PATIENCE_SECONDS = 120


def find_llvm(tool: str) -> str:
    """`clang` and its companions, of any version that is here."""
    for name in (f"{tool}-19", tool, f"{tool}-14"):
        if found := shutil.which(name):
            return found
    raise MissingTool(
        f"{tool}: expected LLVM's, found none; install Debian's clang-19, libclang-rt-19-dev, llvm-19"
    )


def build_harness(name: str, folder: Path, *, libfuzzer: bool = False, coverage: bool = False) -> Path:
    """The program of a harness: with libFuzzer, or as a replay of files under gcc or under coverage."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "fuzz" if libfuzzer else "coverage" if coverage else "replay"
    out = folder / f"{name}-{kind}"
    native = FUZZ / "native"
    (folder / "fixture.h").write_text(fixture())
    linked = folder / "linked.c"
    linked.write_text(build.linked_source(TRIPLE, KERNELS, SCRATCH_BYTES, bytes(32)))
    compiler, flags = "gcc", [SANITIZE, *STRICT, *FLAGS]
    if libfuzzer:
        compiler, flags = find_llvm("clang"), ["-fsanitize=fuzzer,address,undefined", *STRICT, *FLAGS]
    elif coverage:
        compiler, flags = find_llvm("clang"), [*COVERAGE, *FLAGS]
    engine = [*build.engine_sources(), native / "memory.c", native / "kernels.c", linked]
    engine_flags = [f"-I{native}", *(flag.replace("=fuzzer,", "=fuzzer-no-link,") for flag in flags)]
    inputs = [native / f"{name}_fuzz.c", *compile_objects(compiler, engine_flags, engine, folder / kind)]
    inputs += [*shims(TRIPLE), *([] if libfuzzer else [native / "replay.c"])]
    compile_c(compiler, [*flags, f"-I{native}", f"-I{folder}"], inputs, out)
    return out


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What fuzzing for a while of processor time gave: inputs that failed are in `found`."""

    harness: str
    processor_seconds: float
    runs: int
    found: tuple[Path, ...]


def fuzz(program: Path, harness: str, corpus: Path, found: Path, seconds: float) -> Fuzzed:
    """One process at the lowest priority, until it has used so many seconds of a processor.

    It ends before at the first input that fails or takes a minute of the clock.
    """
    found.mkdir(parents=True, exist_ok=True)
    log = found / f"{harness}.log"
    command = [*("nice", "-n", "19"), str(program), f"-max_len={LARGEST_INPUT_BYTES}", "-timeout=60"]
    command += ["-rss_limit_mb=1500", "-print_final_stats=1", f"-artifact_prefix={found}/", str(corpus)]
    used = 0.0
    with (
        log.open("wb") as told,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told) as process,
    ):
        try:
            while process.poll() is None and (used := processor_seconds(process.pid)) < seconds:
                time.sleep(0.2)
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
    said = log.read_text(errors="replace")
    runs = re.search(r"stat::number_of_executed_units: (\d+)", said)
    failed = tuple(path for path in sorted(found.iterdir()) if path != log)
    if (process.returncode != 0 or runs is None) and not failed:
        raise RuntimeError(f"{harness}: ended with {process.returncode}: {said[-2000:]}")
    return Fuzzed(harness, used, int(runs[1]) if runs else 0, failed)


def processor_seconds(pid: int) -> float:
    """User and system time of a child that was not waited for yet, all of its threads."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def replay(program: Path, inputs: Sequence[Path], *, flip: bool = False) -> subprocess.CompletedProcess[str]:
    """Every input once; with `flip` also each of its bits turned."""
    words = [str(program), *(["--flip"] if flip else []), *map(str, inputs)]
    return subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, timeout=600)


def coverage(program: Path, harness: str, inputs: Sequence[Path]) -> dict[str, float]:
    """Share of the lines of each loader that these inputs reach."""
    profile = program.with_suffix(".profraw")
    words = [str(program), *map(str, inputs)]
    subprocess.run(
        words, check=True, capture_output=True, env={**os.environ, "LLVM_PROFILE_FILE": str(profile)}
    )
    merged = program.with_suffix(".profdata")
    subprocess.run([find_llvm("llvm-profdata"), "merge", str(profile), "-o", str(merged)], check=True)
    sources = [str(build.NATIVE / "src" / name) for name in LOADERS[harness]]
    command = [
        find_llvm("llvm-cov"),
        "export",
        "-summary-only",
        f"-instr-profile={merged}",
        str(program),
        *sources,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return _lines(done.stdout)


def _lines(exported: str) -> dict[str, float]:
    files = json.loads(exported)["data"][0]["files"]
    return {Path(file["filename"]).name: file["summary"]["lines"]["percent"] / 100 for file in files}
