"""The engine's tokenizer gives the ids of the `tokenizers` library, within its memory, and trusts no file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tokenizing.cases import KINDS, strings, train
from tokenizing.compare import build_tokenizer, compile_tables, differences, engine_ids, run_engine

from daypack.errors import SpecError
from daypack.models.tokenizer import FileTokenizer
from daypack.models.tokenizer_tables import tokenizer_tables
from daypack.runtime.build import ARCH_OF_TRIPLE, NATIVE
from daypack.runtime.bundle import write_manifest
from daypack.runtime.launch import find_emulator
from daypack.runtime.tokenizer_file import HEADER, SECTIONS

TRIPLES = {arch: triple for triple, arch in ARCH_OF_TRIPLE.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Callable[[str], Path]:
    def path(kind: str) -> Path:
        file = folder / f"{kind}.json"
        return file if file.exists() else train(kind, 3000, file)

    return path


@pytest.fixture(scope="module")
def program(folder: Path, example: Any) -> list[str]:
    return [str(build_tokenizer(TRIPLES[example.HOST], folder / "tokenize"))]


def texts_and_ids(program: list[str], path: Path, text: bytes) -> tuple[list[int], list[int]]:
    done = run_engine(program, compile_tables(path), [text], 64 << 20)
    assert done.returncode == 0, done.stderr
    (found,) = engine_ids(done.stdout)
    return FileTokenizer(path).encode(text.decode("utf-8", "replace")).tolist(), found


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library(kind: str, trained: Any, program: list[str]) -> None:
    assert differences(program, trained(kind), strings(1000, seed=2)) == []


def test_ids_are_the_same_on_arm(trained: Any, folder: Path, example: Any) -> None:
    emulator = example.emulator_or_skip()
    assert emulator == find_emulator()
    arm = build_tokenizer(TRIPLES["aarch64"], folder / "tokenize-arm")
    for kind in KINDS:
        assert differences([emulator, str(arm)], trained(kind), strings(200, seed=3)) == []


@pytest.mark.parametrize("kind", ["gpt2", "qwen"])
def test_a_piece_that_is_a_token_ignores_merges(
    kind: str, trained: Any, program: list[str], tmp_path: Path
) -> None:
    """As Llama 3 has it: tokens that no merge makes, alone and within longer pieces."""
    fields = json.loads(trained(kind).read_text())
    model = fields["model"]
    words = ["\u0120unreachable", "Daypack", "\u0120.,!?", "aaaaaaaaaaa", "ab", "\u0120Ã©"]
    free = 1 + max(*model["vocab"].values(), *(token["id"] for token in fields["added_tokens"]))
    taken = set(model["vocab"])
    model["vocab"] |= {word: free + n for n, word in enumerate(words) if word not in taken}
    kept = [merge for merge in model["merges"] if "".join(merge) not in ("\u0120the", "ing")]
    model["merges"], model["ignore_merges"] = kept, True
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(fields))
    texts = [
        b"Daypack unreachable unreachables Daypack Daypacks .,!? the ing thing ab a b caf\xc3\xa9 \xc3\xa9",
        b"a" * 11,
    ]
    found = differences(program, file, [*texts, *strings(400, seed=6)])
    assert found == []
    assert {free, free + 1} <= set(FileTokenizer(file).encode(texts[0].decode()).tolist())
    assert tokenizer_tables(FileTokenizer(file)).tables["whole_ids"].size >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_long_runs_of_one_letter(kind: str, trained: Any, program: list[str]) -> None:
    expected, found = texts_and_ids(program, trained(kind), b"a" * 200_000 + b"b")
    assert expected == found


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_longer_than_the_memory_is_refused(kind: str, trained: Any, program: list[str]) -> None:
    tables = compile_tables(trained(kind))
    done = run_engine(program, tables, [b"a " * 5000, b"a" * 5000], 32 * 1024)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        "text: expected pieces of less than 1024 characters, found a longer run without a boundary; break it "
        "into lines or words\n"
    )
    wide = run_engine(program, tables, ["\U0001f600".encode() * 1000], 32 * 1024)
    assert wide.returncode == (0 if kind == "gemma" else 2)
    if kind != "gemma":
        assert b"expected pieces of at most 1024 bytes" in wide.stderr
    small = run_engine(program, tables, [b"a"], 1000)
    assert b"expected room for pieces of 512 symbols, found 1000 bytes" in small.stderr


def test_too_many_combining_characters_are_refused(trained: Any, program: list[str]) -> None:
    tables = compile_tables(trained("qwen"))
    done = run_engine(
        program, tables, [b"e" + "\u0323".encode() * 4000, b"e" + "\u0323".encode() * 5000], 1 << 20
    )
    assert done.returncode == 2
    assert b"expected at most 4096 combining characters in a row" in done.stderr


def test_damaged_tables_are_refused_or_harmless(trained: Any, program: list[str], folder: Path) -> None:
    """Every field of the header, and bytes all over the tables: an error or some ids, never a trap."""
    rng = np.random.default_rng(4)
    whole = compile_tables(trained("qwen")).read_bytes()
    damaged = folder / "damaged.dpt"
    places = [*range(0, HEADER.itemsize, 4), *rng.integers(HEADER.itemsize, len(whole), 30).tolist()]
    codes: list[int] = []
    for place in places:
        data = bytearray(whole)
        data[place] ^= 0xFF
        data[min(place + 3, len(data) - 1)] ^= 0x80
        damaged.write_bytes(data)
        codes.append(run_engine(program, damaged, strings(24)).returncode)
    assert set(codes) <= {0, 2, 4}
    assert set(codes[: HEADER.itemsize // 4]) == {4}
    damaged.write_bytes(whole[:-4])
    assert b"as many bytes as its header says" in run_engine(program, damaged, []).stderr


class Tables:
    """A tokenizer.dpt in parts, to be spoiled."""

    def __init__(self, data: bytes) -> None:
        self.header = np.frombuffer(bytearray(data[: HEADER.itemsize]), HEADER)[0]
        self.parts: dict[str, Any] = {}
        place = HEADER.itemsize
        for name, count, width in SECTIONS:
            if count is not None:
                entries = int(self.header[count])
            else:
                entries = 256 if name == "byte_ids" else self._starts(name)
            end = place + 4 * width * entries
            self.parts[name] = np.frombuffer(bytearray(data[place:end]), "<u4")
            place = end
        assert place == len(data)

    def _starts(self, name: str) -> int:
        return int(self.header[name.replace("starts", "count")]) + 1

    def add_word(self) -> None:
        self.parts["more"] = np.zeros(1, "<u4")
        self.header["file_bytes"] += 4

    def data(self) -> bytes:
        return self.header.tobytes() + b"".join(part.tobytes() for part in self.parts.values())


def put_magic(tables: Tables) -> None:
    tables.header["magic"] = b"DPTOKEN2"


def put_size(tables: Tables) -> None:
    tables.header["file_bytes"] += 4


def put_count(tables: Tables) -> None:
    tables.header["merge_count"] += 1 << 24


def put_kind(tables: Tables) -> None:
    tables.header["kind"] = 9


def put_id(tables: Tables) -> None:
    tables.parts["byte_ids"][0] = tables.header["vocabulary"]


def fill_slots(tables: Tables) -> None:
    slots = tables.parts["slots"].reshape(-1, 3)
    slots[slots[:, 0] == 0xFFFFFFFF] = 0


def put_added(tables: Tables) -> None:
    tables.parts["added_starts"][0] = 1


def put_decomposed(tables: Tables) -> None:
    tables.parts["decomposed_starts"][1] = 9


def put_class(tables: Tables) -> None:
    tables.parts["classes"][0] = 1


def put_pairs(tables: Tables) -> None:
    tables.header["pair_words"] = 1
    tables.add_word()


def put_unknown_class(tables: Tables) -> None:
    tables.parts["classes"][-1] = 4


def put_whole(tables: Tables) -> None:
    tables.parts["whole_starts"][0] = 1


REFUSALS = {
    "classes of characters that this engine knows": put_unknown_class,
    "whole pieces of 1 to 256 tokens": put_whole,
    "its first bytes to be DPTOKEN1": put_magic,
    "as many bytes as its header says": put_size,
    "tables of the sizes that its header says": put_count,
    "nothing after its tables": Tables.add_word,
    "a kind of tokenizer that this engine knows": put_kind,
    "ids of its vocabulary": put_id,
    "merges that it has, and a free slot": fill_slots,
    "added tokens of 1 to 256 characters": put_added,
    "decompositions into 1 to 8 characters": put_decomposed,
    "ranges of characters in ascending order from 0": put_class,
    "a power of two for the words of its pairs": put_pairs,
}


@pytest.mark.parametrize("expected", REFUSALS)
def test_what_is_wrong_with_tables_is_said(
    expected: str, trained: Any, program: list[str], folder: Path
) -> None:
    tables = Tables(compile_tables(trained("qwen")).read_bytes())
    spoiled = folder / "spoiled.dpt"
    spoiled.write_bytes(tables.data())
    assert run_engine(program, spoiled, [b"good"]).returncode == 0
    REFUSALS[expected](tables)
    spoiled.write_bytes(tables.data())
    done = run_engine(program, spoiled, [b"good"])
    assert done.returncode == 4
    assert done.stderr.decode() == f"tokenizer.dpt: expected {expected}; compile the bundle again\n"


def test_every_refusal_of_tables_is_tried() -> None:
    source = (NATIVE / "src" / "tokenizer.c").read_text()
    assert set(re.findall(r'refuse\(tokenizer->error, "(.*?)"\)', source)) == set(REFUSALS)


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("gemma", "model.ignore_merges", True, "byte fallback with model.ignore_merges = True"),
        ("gpt2", "model.dropout", 0.5, "model.dropout = 0.5"),
        (
            "gpt2",
            "pre_tokenizer.add_prefix_space",
            True,
            'the pre-tokenizer {"type": "ByteLevel", "add_prefix_space"',
        ),
        ("gpt2", "normalizer", {"type": "Lowercase"}, 'the normalizer {"type": "Lowercase"}'),
        (
            "gpt2",
            "truncation",
            {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
            "truncation",
        ),
        ("qwen", "pre_tokenizer.pretokenizers.0.pattern", {"Regex": r"\d+"}, "the pre-tokenizer"),
        ("qwen", "added_tokens.0.lstrip", True, "lstrip of the added token '<|endoftext|>'"),
        ("qwen", "added_tokens.0.normalized", True, "'<|endoftext|>' being looked for after the normalizer"),
        ("gemma", "normalizer", None, "byte fallback with the normalizer null"),
        ("gemma", "pre_tokenizer", {"type": "WhitespaceSplit"}, "byte fallback with the pre-tokenizer"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(
    kind: str, place: str, value: Any, message: str, trained: Any, tmp_path: Path
) -> None:
    fields = json.loads(trained(kind).read_text())
    *path, last = place.split(".")
    part: Any = fields
    for name in path:
        part = part[int(name)] if name.isdigit() else part[name]
    part[last] = value
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(fields))
    with pytest.raises(SpecError) as caught:
        tokenizer_tables(FileTokenizer(file))
    assert f"{file}: the engine's tokenizer cannot do this: " in caught.value.message
    assert message in caught.value.message


def test_the_engine_prints_the_ids_of_a_file(case: Any, trained: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    text = "The notes of a day, naïve café. " * 300
    file.write_text(text, "utf-8")
    case.set_plan(budget_bytes=0)
    case.set_file("tokenizer.dpt", compile_tables(trained("qwen")).read_bytes())
    done = case.run("--tokenize", str(file))
    ids = [number for event in done.events if event["event"] == "ids" for number in event["ids"]]
    assert ids == FileTokenizer(trained("qwen")).encode(text).tolist()
    assert done.status == 0 and done.events[-1]["event"] == "tokenized"
    assert done.events[-1]["tokens"] == len(ids)


def test_tokenizing_keeps_the_budget(case: Any, trained: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("some text")
    case.set_file("tokenizer.dpt", compile_tables(trained("qwen")).read_bytes())
    case.set_plan(budget_bytes=1_000_000)
    done = case.run("--tokenize", str(file))
    assert (
        done.status == 5
        and "bytes for the tokenizer, found less; compile for a larger budget" in done.message
    )
    (case.bundle / "tokenizer.dpt").unlink()
    write_manifest(case.bundle)
    assert "expected tokenizer.dpt in the bundle, found none" in case.run("--tokenize", str(file)).message
