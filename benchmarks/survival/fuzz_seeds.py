"""Small inputs that the harnesses start from, and the files around them, of the runtime's example."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tokenizing.cases import KINDS, strings, train
from tokenizing.compare import compile_tables

from daypack.devices import load_profile
from daypack.runtime import corpus_file
from daypack.runtime.data_file import write_data
from daypack.runtime.limits import Limits
from daypack.runtime.plan_file import Kernel, PlanFile
from daypack.runtime.plan_format import write_plan
from daypack.runtime.policies import POLICIES, setting_of, tabulate
from daypack.runtime.policy_file import policy_bytes, shipped_policy
from daypack.runtime.policy_records import HEADER, SECTIONS, counts_of
from daypack.runtime.state_file import state_layout
from daypack.runtime.workload import known_workload

_CONFTEST = Path(__file__).resolve().parents[2] / "tests" / "runtime" / "conftest.py"


@cache
def example() -> ModuleType:
    """The worked example of the runtime's tests: its plan, tables and data."""
    spec = importlib.util.spec_from_file_location("runtime_example", _CONFTEST)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(_CONFTEST)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _short(kernel: Kernel) -> Kernel:
    """The same with 64 tiles at most in a phase."""
    phases = tuple(replace(phase, tiles=min(phase.tiles, 64)) for phase in kernel.phases)
    return replace(kernel, phases=phases)


KERNELS: tuple[Kernel, ...] = tuple(map(_short, example().KERNELS))
SCRATCH_BYTES: int = example().SCRATCH_BYTES
TRIPLE: str = example().TRIPLES[example().HOST]
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
#: Words, numbers, marks that combine, Hangul that composes.
MARKS = "I'm 12 caf\u00e9s\u0301, \u1100\u1161 d\u0307\u0323 ".encode()
_EMPTY = ("bundle.json", "engine", "plan.bin", "tokenizer.dpt")


def plan(**changes: Any) -> PlanFile:
    """The example's plan for the fuzzer's kernels."""
    return replace(example().example_plan(), kernels=KERNELS, **changes)


def rows_plan() -> PlanFile:
    """The example with rows gathered from the weights, and the state read in setup."""
    made = plan()
    rows = example().rows_instruction("ids", "out")
    return replace(made, steps=(*made.steps[:3], rows, *made.steps[3:]))


def weights() -> bytes:
    """The example's weights file."""
    x, a = example().weights()
    return x.tobytes() + np.full(16, a, np.float32).tobytes()


def records() -> bytes:
    """The example's data file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.bin"
        write_data(path, example().INPUTS, example().records())
        return path.read_bytes()


def state() -> bytes:
    """Generation 0 of the example."""
    layout = state_layout(plan().state)
    data = bytes(layout.file_bytes - len(layout.header))
    return layout.with_digits([data]) + data


def raw_files() -> Iterator[bytes]:
    """A corpus.bin and a file for each layout and each way to lay it."""
    texts = {name: f"<{name[:4]}>" for name in corpus_file.TEXTS}
    turns = [
        ("system", "Be brief. "),
        ("user", "1 + 1?"),
        ("assistant", "2"),
        ("user", "é"),
        ("assistant", "ok"),
    ]
    messages = [{"role": role, "content": content} for role, content in turns]
    lines = {
        "text": [{"text": 'caf\u00e9 \ud83d\ude00 \n "x" \\'}, {"text": ""}, {"text": "a" * 40}],
        "completion": [{"completion": "no", "prompt": "yes or no?"}] * 3,
        "messages": [{"messages": messages}] * 2,
        "ids": [{"mask": [1, 0, 1, 1], "ids": [0, 255, 3, 7]}] * 4,
    }
    files = [("jsonl", "".join(json.dumps(line) + "\r\n" for line in found)) for found in lines.values()]
    files += [
        ("csv", 'question,A,B,C,D,answer\n"one, ""two""\nor?",1,2,,4,C\nq,a,b,c,d, D \n'),
        ("text", "a b " * 20),
    ]
    files += [("ids", json.dumps({"ids": list(range(40))}))]
    by_bytes = [(corpus_file.BYTES, *file) for file in files]
    by_tables = [(corpus_file.TABLES, *file) for file in (files[0], files[-2])]
    for tokenizer, kind, text in by_bytes + by_tables:
        corpus = corpus_file.corpus_bytes(
            kind=kind,
            tokenizer=tokenizer,
            packing=kind != "text",
            seed=1,
            sequence=16,
            texts=texts,
            trimmed=("user",),
        )
        yield struct.pack("<H", len(corpus)) + corpus + text.encode()


def small_tokenizer() -> bytes:
    """Tables of a few hundred tokens."""
    with tempfile.TemporaryDirectory() as folder:
        return compile_tables(train("gpt2", 300, Path(folder) / "tokenizer.json")).read_bytes()


def fixture() -> str:
    """A C header with the files that stand around an input."""
    paged = plan(**example().paged_plan())
    arrays = {
        "PLAN": write_plan(plan()),
        "PAGED_PLAN": write_plan(paged),
        "WEIGHTS": weights(),
        "RECORDS": records(),
        "STATE": state(),
        "POLICY": policy("always"),
        "BLOCKS": blocks(),
        "SIGNER": _KEY.public_key().public_bytes_raw(),
        "TOKENIZER": small_tokenizer(),
    }
    rows: list[str] = []
    for name, data in arrays.items():
        values = ",".join(map(str, data))
        kind = "static const unsigned char __attribute__((aligned(64), unused))"
        rows.append(f"{kind} {name}[] = {{{values}}};")
    return "\n".join(rows) + "\n"


def policy(name: str, deadline_s: float = math.inf, **limits: Any) -> bytes:
    """A policy of few bytes as it ships."""
    setting = setting_of(load_profile("cortex-a76"), known_workload("gpt2-lora"), Limits(**limits))
    return policy_bytes(shipped_policy(tabulate(POLICIES[name], setting), setting, 1500, deadline_s))


def policies() -> Iterator[bytes]:
    """Good ones, then one mistake of each kind that the engine knows."""
    yield policy("always")
    yield policy("charge-only", 5e4, quiet_hours=(1.0, 5.0), joules_per_day=9e4)
    good = policy("mobilefinetuner", 1e300)
    yield good
    for name, value in (
        ("dimension_count", 7),
        ("state_count", 0),
        ("gear_count", 0),
        ("edge_count", 1),
        ("cell_count", 1),
        ("steps", math.nan),
        ("decay_per_s", 0.0),
    ):
        header = np.frombuffer(good, HEADER, 1).copy()
        header[name] = value
        yield header.tobytes() + good[HEADER.itemsize :]
    counts = counts_of(np.frombuffer(good, HEADER, 1)[0])
    at = HEADER.itemsize
    for name, dtype in SECTIONS.items():
        size = counts[name] * dtype.itemsize
        yield good[:at] + b"\xff" * size + good[at + size :]
        at += size


#: Lines as they come on standard input; those of few words first.
COMMANDS = (
    *(f'{{"command": "{name}", "id": 7}}' for name in ("pause", "resume", "status", "stop")),
    '{"command": "budget", "joules_per_day": 5e3, "written_bytes": 1e9}',
    '{"command": "budget", "memory_bytes": 1000000000000}',
    '{"command": "budget", "memory_bytes": 1}',
    '{"command": "readings", "battery": 0.5, "skin_celsius": 41, "charging": true, "screen": false}',
    *('{"command": "budget"}', '{"command": "readings"}', '{"command": "pause", "battery": 1}', "{}"),
    *('{"command": "dance"}', '{"command": 1}', '{"id": 0x10}', '{"id": -1}', '{"id": tru}', '{"wish": 1}'),
    *('{"command" "pause"}', '{"command": "pause" "id"}', '{"command": "pause"} more', "pause", " ", "\0"),
    f'{{"{"a" * 40}": 1}}',
    "x" * 1100,
)


def blocks() -> bytes:
    """The hash tree of what the harness has."""
    return hashlib.sha256(b"abc").digest() + hashlib.sha256(weights()).digest()


def manifest(**others: bytes) -> bytes:
    """One that lists what the harness has; `others` by the beginning of their names."""
    contents = {name: b"" for name in _EMPTY}
    contents |= {"data.bin": b"abc", "state.safetensors": b"start", "weights.bin": weights()}
    contents |= {f"{name}.bin": data for name, data in others.items()}
    rows: list[str] = []
    for name, data in sorted(contents.items()):
        rows.append(f"{hashlib.sha256(data).hexdigest()} {len(data)} {name}\n")
    return ("daypack-bundle 1\n" + "".join(rows)).encode()


def signature(text: bytes) -> bytes:
    key = _KEY.public_key().public_bytes_raw().hex()
    return f"daypack-signature 1\ned25519 {key} {_KEY.sign(text).hex()}\n".encode()


def seeds(harness: str, folder: Path) -> Iterator[bytes]:
    """The inputs that a harness begins with."""
    match harness:
        case "plan":
            yield write_plan(plan())
            yield write_plan(plan(**example().paged_plan()))
            yield write_plan(rows_plan())
            yield write_plan(plan(budget_bytes=0, save_steps=2))
            yield write_plan(plan())[:295]
        case "state":
            for first in range(4):
                yield bytes([first]) + state()
            yield b"\2" + state()[:-1]
        case "raw":
            yield from raw_files()
        case "data":
            yield records()
            yield records()[:63]
            wrong = bytearray(records())
            wrong[64:68] = struct.pack("<i", 100)
            yield bytes(wrong)
        case "policy":
            yield from policies()
            yield policy("always")[:-1]
            yield policy("always")[:100]
        case "command":
            every = "\n".join(COMMANDS).encode() + b"\n"
            yield b"\x0c" + every + b'{"command": "pause"}\n{"command": "sta'
            yield b"\x01" + every
            yield b"\xff" + every + b'{"command": "pause"}\n' * 40
            yield from (b"\x0d" + line.encode() + b"\n" for line in COMMANDS[:8])
        case "manifest":
            text = manifest()
            signed = signature(text)
            yield b"\0" + text
            yield b"\0" + manifest(blocks=blocks())
            yield b"\0" + manifest(blocks=blocks(), eval=b"")
            yield b"\0" + manifest(blocks=blocks()).replace(
                hashlib.sha256(b"start").hexdigest().encode(), b"0" * 64
            )
            yield b"\0" + re.sub(rb".*weights.bin\n", b"", text)
            yield b"\0" + manifest(blocks=blocks()).replace(b" 3 data.bin", b" 0 data.bin")
            yield b"\0" + re.sub(rb".* data.bin\n", b"", manifest(blocks=blocks()))
            yield bytes([len(signed)]) + signed + text
            yield bytes([len(signed)]) + signed + text + b"x"
            other = signed.replace(b"25519 0", b"25519 1")
            yield bytes([len(other)]) + other + text
            yield bytes([9]) + signed[:9] + text
            yield from (b"\0" + text.replace(b"\n", b"\n0", 1), b"\0" + text[:-1], b"\0other")
            yield b"\0" + text.replace(b"data.bin", b"../a.bin")
        case "tokenizer":
            texts = strings(60)
            for kind in KINDS:
                tables = compile_tables(train(kind, 300, folder / f"{kind}.json")).read_bytes()
                yield struct.pack("<I", len(tables)) + tables + b" ".join(texts)[:2000]
                yield struct.pack("<I", len(tables)) + tables + MARKS * 3
        case _:
            raise ValueError(harness)


def write_seeds(harness: str, folder: Path) -> list[Path]:
    """FOLDER/seed-N of each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, data in enumerate(seeds(harness, Path(scratch))):
            path = folder / f"seed-{number}"
            path.write_bytes(data)
            paths.append(path)
    return paths
