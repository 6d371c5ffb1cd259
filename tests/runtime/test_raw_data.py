"""The engine's readers of raw data give the bytes of the host's data.bin, or say what is wrong."""

from __future__ import annotations

import csv
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tokenizing.cases import KINDS, strings, train
from tokenizing.compare import FLAGS, TRAPS, compile_tables

from daypack.errors import SpecError
from daypack.models.chat import CHAT_FILE, ChatFormat
from daypack.models.data import Corpus, load_examples
from daypack.models.documents import Kind, kind_of
from daypack.models.tokenizer import FileTokenizer
from daypack.runtime import corpus_file
from daypack.runtime.build import ARCH_OF_TRIPLE, NATIVE
from daypack.runtime.data_file import HEADER, write_data
from daypack.runtime.plan_file import BatchInput

MAIN = Path(__file__).parent / "native" / "raw_main.c"
TRIPLES = {arch: triple for triple, arch in ARCH_OF_TRIPLE.items()}
FORMAT = (NATIVE.parent / "FORMAT.md").read_text()
CHAT = ChatFormat(
    start="<|im_start|>user\n",
    system_prefix="<|im_start|>system\n",
    system_join="é<|im_end|>\n<|im_start|>user\n",
    user_prefix="\n<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>",
    trimmed=("user", "assistant"),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, example: Any) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    names = ("tokenizer*.c", "raw_*.c", "corpus.c", "examples.c", "packing.c", "error.c")
    sources = [path for name in names for path in sorted((NATIVE / "src").glob(name))]
    words = [*FLAGS, *TRAPS, f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}", *map(str, [*sources, MAIN])]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", TRIPLES[example.HOST], *words]
    subprocess.run([*command, "-o", str(folder / "raw")], check=True, capture_output=True, cwd=folder)
    return folder / "raw"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tokenizer.json of a kind in a folder of its own, with tables and a chat format beside it."""
    folder = tmp_path_factory.mktemp("tokenizers")

    def made(kind: str) -> Path:
        path = folder / kind / "tokenizer.json"
        if not path.exists():
            path.parent.mkdir()
            train(kind, 1500, path)
            compile_tables(path)
            (path.parent / CHAT_FILE).write_text(CHAT.to_json(), "utf-8")
        return path

    return made


def made_by_engine(
    program: Path, file: Path, tokenizer: Path | str | None, kind: str, *, packing: bool, sequence: int
) -> subprocess.CompletedProcess[str]:
    """The readers' run; the examples are in FILE.out."""
    chat = (
        {} if not isinstance(tokenizer, Path) else {name: getattr(CHAT, name) for name in corpus_file.TEXTS}
    )
    number = corpus_file.TABLES if isinstance(tokenizer, Path) else corpus_file.BYTES if tokenizer else 0
    corpus = file.with_suffix(".corpus")
    corpus.write_bytes(
        corpus_file.corpus_bytes(
            kind=kind,
            tokenizer=number,
            packing=packing,
            seed=3,
            sequence=sequence,
            texts=chat or None,
            trimmed=CHAT.trimmed if chat else (),
        )
    )
    tables = tokenizer.with_suffix(".dpt") if isinstance(tokenizer, Path) else "-"
    vocabulary = str(vocabulary_of(tokenizer))
    words = [str(program), str(corpus), str(tables), str(file), f"{file}.out", vocabulary, str(1 << 20)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def vocabulary_of(tokenizer: Path | str | None) -> int:
    return FileTokenizer(tokenizer).vocabulary if isinstance(tokenizer, Path) else 256


def made_by_host(
    file: Path, tokenizer: Path | str | None, kind: str, *, packing: bool, sequence: int
) -> bytes:
    """The examples of the host's data.bin, or the message of its refusal."""
    vocabulary = vocabulary_of(tokenizer)
    found = load_examples(Corpus(file, Kind(kind), "", tokenizer, packing), vocabulary, sequence)
    inputs = tuple(BatchInput(name, "I32", 4 * sequence, 0, None) for name in found.arrays)
    out = file.with_suffix(".bin")
    write_data(out, inputs, found)
    return out.read_bytes()[HEADER.itemsize :]


def escaped(rng: random.Random, text: str) -> str:
    """A JSON string: some characters as themselves, some escaped, some half a pair."""
    parts = [json.dumps(c, ensure_ascii=rng.random() < 0.3)[1:-1] for c in text]
    if rng.random() < 0.2:
        parts.insert(rng.randint(0, len(parts)), rng.choice(["\\ud83d", "\\udc00", "\\ud83d\\ude00", "\\/"]))
    return f'"{"".join(parts)}"'


def texts(count: int, seed: int) -> list[str]:
    return [made.decode("utf-8", "replace") for made in strings(count, seed)]


def json_object(rng: random.Random, fields: dict[str, str]) -> str:
    """Keys in any order, white space where JSON takes it."""
    pairs = list(fields.items())
    rng.shuffle(pairs)
    space = rng.choice(["", " ", "\t ", "\r"])
    return "{" + space + f"{space},{space}".join(f'"{k}"{space}:{space}{v}' for k, v in pairs) + space + "}"


def text_lines(rng: random.Random, found: list[str]) -> list[str]:
    return [json_object(rng, {"text": escaped(rng, text)}) for text in found]


def completion_lines(rng: random.Random, found: list[str]) -> list[str]:
    return [
        json_object(rng, {"prompt": escaped(rng, found[n]), "completion": escaped(rng, found[n - 1])})
        for n in range(0, len(found), 2)
    ]


def message_lines(rng: random.Random, found: list[str]) -> list[str]:
    lines: list[str] = []
    for start in range(0, len(found) - 5, 5):
        white = rng.choice(["", " ", "\n\u3000", "\x1c "])
        turns = ["user", "assistant"] * rng.randint(1, 2)
        turns = ["system", *turns] if rng.random() < 0.5 else turns
        made = [
            json_object(rng, {"role": f'"{role}"', "content": escaped(rng, white + found[start + n] + white)})
            for n, role in enumerate(turns)
        ]
        lines.append(json_object(rng, {"messages": f"[{' , '.join(made)}]"}))
    return lines


def ids_lines(rng: random.Random, found: list[str]) -> list[str]:
    lines: list[str] = []
    for text in found:
        ids, mask = list(text.encode()[:300]), [rng.randint(0, 1) for _ in text.encode()[:300]]
        lines.append(json_object(rng, {"ids": json.dumps(ids), "mask": json.dumps(mask)}))
    return lines


LINES = {
    "text": text_lines,
    "prompt and completion": completion_lines,
    "messages": message_lines,
    "ids and mask": ids_lines,
}


CASES = [
    *[(form, "bytes") for form in LINES if form != "messages"],
    *[(form, kind) for form in LINES if form != "ids and mask" for kind in KINDS],
]


@pytest.mark.parametrize(("form", "tokenizer"), CASES)
def test_examples_of_json_lines_are_those_of_the_host(
    form: str, tokenizer: str, program: Path, tokenizers: Callable[[str], Path], tmp_path: Path
) -> None:
    rng = random.Random(form)
    lines = LINES[form](rng, texts(240, seed=len(form)))
    lines = [line.replace("\n", " ") for line in lines]
    for _ in range(5):
        lines.insert(rng.randrange(len(lines)), rng.choice(["", " ", "\t", "\u3000\x1d", "\r"]))
    file = tmp_path / "data.jsonl"
    text = rng.choice(["\n", "\r\n"]).join(lines).encode("utf-8", "replace")
    # Malformed bytes within strings: where a space was, which only strings and white space have.
    damaged = bytearray(b"\xef\xbb\xbf" + text)
    places = [m.start() for m in re.finditer(rb"(?<=[a-z]) (?=[a-z])", damaged)]
    for place in rng.sample(places, min(20, len(places))):
        damaged[place] = rng.choice((0xFF, 0xC3, 0xE2, 0xF0, 0x80))
    file.write_bytes(damaged)
    assert_same(program, file, "bytes" if tokenizer == "bytes" else tokenizers(tokenizer), "jsonl")


def assert_same(program: Path, file: Path, tokenizer: Path | str | None, kind: str) -> None:
    for packing, sequence in ((False, 16), (True, 24), (True, 129)):
        done = made_by_engine(program, file, tokenizer, kind, packing=packing, sequence=sequence)
        assert done.returncode == 0, done.stderr
        expected = made_by_host(file, tokenizer, kind, packing=packing, sequence=sequence)
        assert Path(f"{file}.out").read_bytes() == expected, (packing, sequence)
        assert len(expected) > 10 * sequence


@pytest.mark.parametrize("tokenizer", ["bytes", *KINDS])
def test_examples_of_text_and_questions_are_those_of_the_host(
    tokenizer: str, program: Path, tokenizers: Callable[[str], Path], tmp_path: Path
) -> None:
    rng = random.Random(tokenizer)
    named = "bytes" if tokenizer == "bytes" else tokenizers(tokenizer)
    notes = tmp_path / "notes.txt"
    notes.write_bytes(b" ".join(strings(400, seed=8)))
    assert_same(program, notes, named, "text")
    questions = tmp_path / "questions.csv"
    found = texts(300, seed=9)
    with questions.open("w", encoding="utf-8", errors="replace", newline="") as out:
        writer = csv.writer(out, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerow([" Question", "A", "b ", "C", "D\u3000", "answer"])
        for start in range(0, 295, 5):
            row = [text.replace("\r", "") for text in found[start : start + 5]]
            writer.writerow([*row, rng.choice(["A", " B", "C ", "\u2003D\t"])])
            out.write(rng.choice(["", "\n", "\r\n"]))
    assert_same(program, questions, named, "csv")


def test_what_fills_the_reader_s_buffer_is_read_alike(program: Path, tmp_path: Path) -> None:
    """Lines longer than it, lists of which both halves are far apart, rows more than can be open."""
    rng = random.Random(1)
    file = tmp_path / "data.jsonl"
    counts = [70_000, 3, *(rng.randint(1, 40) for _ in range(900))]
    lines = [
        json.dumps(
            {"mask": [rng.randint(0, 1) for _ in range(n)], "ids": [rng.randrange(256) for _ in range(n)]}
        )
        for n in counts
    ]
    file.write_text("\n".join(lines))
    assert_same(program, file, None, "ids")
    file.write_text(json.dumps({"prompt": "é" * 100_000, "completion": "☕ " * 50_000}, ensure_ascii=False))
    assert_same(program, file, "bytes", "jsonl")


SPOILS = [
    b'"',
    b"\\",
    b",",
    b"\n",
    b"\r",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\\u",
    b"d83d",
    b"0",
    b"-",
    b"\xff",
    b" ",
    b"",
    b'""',
]


def spoiled(rng: random.Random, content: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(content))
        content = content[:place] + rng.choice(SPOILS) + content[place + rng.randint(0, 2) :]
    return content


@pytest.mark.parametrize("kind", ["jsonl", "csv", "ids"])
def test_spoiled_files_are_refused_by_both_or_by_none(kind: str, program: Path, tmp_path: Path) -> None:
    rng = random.Random(kind)
    seeds = {
        "jsonl": [
            b'{"text": "a\\n\\ud83d\\ude00b"}\n{"text": "cdefgh"}\n',
            b'{"prompt":"abcd" , "completion": "efghi"}',
        ],
        "csv": [b'question,A,B,C,D,answer\n"q, ""x""\ny",1,2,,4,C\r\nq,a,b,c,d, D \n'],
        "ids": [
            b'{"ids": [10, 0, 20, 3, 4], "mask": [0, 1, 0, 1, 1]}\n\n{"mask": [1, 0, 1], "ids": [255, 1, 2]}'
        ],
    }
    tokenizer = None if kind == "ids" else "bytes"
    file = tmp_path / "data"
    good = 0
    for _ in range(150):
        file.write_bytes(content := spoiled(rng, rng.choice(seeds[kind])))
        done = made_by_engine(program, file, tokenizer, kind, packing=True, sequence=8)
        try:
            expected = made_by_host(file, tokenizer, kind, packing=True, sequence=8)
        except SpecError as error:
            assert done.returncode == 2, (content, error.message)
        else:
            good += 1
            assert done.returncode == 0, (content, done.stderr)
            assert Path(f"{file}.out").read_bytes() == expected, content
    assert 4 < good < 140


KEYS = "`text`, `prompt` and `completion`, `messages`, `ids`, or `ids` and `mask`"
TURN = '`messages`: expected turns of {"role": string, "content": string}'
ORDER = "`messages`: expected one system turn or none, then user and assistant in turn, an assistant last"
A, B = '{"role": "user", "content": "a"}', '{"role": "assistant", "content": "b"}'
REFUSALS: list[tuple[bytes, str, str]] = [
    (b"[1]", "jsonl", "line 1: expected a JSON object"),
    (b"\n\n{'text': 1}", "jsonl", "line 3: not JSON: expected a key"),
    (b'{"text"}', "jsonl", "line 1: not JSON: expected ':' behind a key"),
    (b'{"text": "a" "b"}', "jsonl", "line 1: not JSON: expected ',' or '}' behind a value"),
    (b'{"text": "a"} x', "jsonl", "line 1: not JSON: more behind the object"),
    (b'{"text": "a', "jsonl", "line 1: not JSON: a string without its end"),
    (b'{"text": "a\nb"}', "jsonl", "line 1: not JSON: a string without its end"),
    (b'{"text": "a\tb"}', "jsonl", "line 1: not JSON: a control character in a string"),
    (b'{"text": "a\\x"}', "jsonl", "line 1: not JSON: an escape that JSON does not have"),
    (b'{"text": "\\u12g4"}', "jsonl", "line 1: not JSON: an escape that JSON does not have"),
    (b'{"text": "a", "id": 3}', "jsonl", f"line 1: unknown key; expected {KEYS}"),
    (b'{"text": "a", "text": "b"}', "jsonl", "line 1: a key that is there twice"),
    (b"{}", "jsonl", f"line 1: expected the keys {KEYS}, found others"),
    (b'{"prompt": "a"}', "jsonl", f"line 1: expected the keys {KEYS}, found others"),
    (b'{"text": "a"}', "ids", "line 1: expected the keys `ids`, or `ids` and `mask`, found others"),
    (b'{"text": 3}', "jsonl", "line 1: `text`: expected a string"),
    (
        b'{"text": "a"}\n\n{"prompt": "a", "completion": "b"}',
        "jsonl",
        "line 3: its keys are others than those of line 1; put lines of each form into a file of their own",
    ),
    (b'{"ids": 4}', "ids", "line 1: `ids`: expected a list of whole numbers"),
    (b'{"ids": [1 2]}', "ids", "line 1: `ids`: expected a list of whole numbers"),
    (b'{"ids": [1, 2.5]}', "ids", "line 1: `ids`: expected a whole number"),
    (b'{"ids": [01]}', "ids", "line 1: `ids`: expected a whole number"),
    (b'{"ids": [true]}', "ids", "line 1: `ids`: expected a whole number"),
    (b'{"ids": [1,]}', "ids", "line 1: `ids`: expected a whole number"),
    (b'{"ids": [99999999999999999999]}', "ids", "line 1: `ids`: expected a whole number"),
    (b'{"ids": [1], "mask": [2]}', "ids", "line 1: `mask`: expected 0 or 1"),
    (
        b'{"ids": [1, 2], "mask": [1]}',
        "ids",
        "line 1: `mask` has 1 values and `ids` 2; give one for each id",
    ),
    (
        b'{"ids": [0, 256]}',
        "ids",
        "line 1: token id 256 at position 1 is outside the model's vocabulary [0, 256); use the model's own "
        "tokenizer",
    ),
    (
        b'{"ids": [-1]}',
        "ids",
        "line 1: token id -1 at position 0 is outside the model's vocabulary [0, 256); use the model's own "
        "tokenizer",
    ),
    (b'{"ids": []}\n', "ids", "no tokens in it"),
    (b"\n \n", "jsonl", "no tokens in it"),
    (b"\xef\xbb\xbf", "csv", "no tokens in it"),
    (
        b"12345678",
        "text",
        "8 tokens; one window needs 9 (its last token needs its successor): give more text",
    ),
    (
        b'{"prompt": "question", "completion": ""}\n{"text": ""}'.replace(b'{"text": ""}', b"") * 2,
        "jsonl",
        "no label in 16 tokens: no token that is learnt follows another of its document",
    ),
    (b"q,1,2,3,4,A\nq,1,2,A\n", "csv", "line 2: expected 6 columns: question, A, B, C, D, answer"),
    (b"q,1,2,3,4,E\n", "csv", "line 1: the answer: expected A, B, C or D"),
    (b'q,1,2,3,4,A\n"q,1\n2', "csv", "line 3: not CSV: a quote that does not close"),
    (b'q,1,2,3,4,A\n"q,1\n', "csv", "line 2: not CSV: a quote that does not close"),
    (b'"q"x,1,2,3,4,A\n', "csv", "line 1: not CSV: expected ',' behind a quote that closes"),
    (b"q\rx,1,2,3,4,A\n", "csv", "line 1: not CSV: a carriage return in a field without quotes"),
    (
        b'"' + b"q" * 131_073 + b'",1,2,3,4,A\n',
        "csv",
        "line 1: not CSV: a field of more than 131072 characters",
    ),
    (b"q" * 131_073 + b",1,2,3,4,A\n", "csv", "line 1: not CSV: a field of more than 131072 characters"),
]


@pytest.mark.parametrize(("content", "kind", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_what_is_wrong_with_a_file_is_said(
    content: bytes, kind: str, message: str, program: Path, tmp_path: Path
) -> None:
    """And the host refuses the same files."""
    file = tmp_path / "data"
    file.write_bytes(content)
    tokenizer = None if kind == "ids" else "bytes"
    done = made_by_engine(program, file, tokenizer, kind, packing=False, sequence=8)
    assert (done.returncode, done.stderr) == (2, f"FILE: {message}\n")
    with pytest.raises(SpecError):
        load_examples(Corpus(file, Kind(kind), "", tokenizer), 256, 8)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("{}", TURN),
        (f"[{A} {B}]", TURN),
        ("[3]", TURN),
        ('[{"role": "user"}]', TURN),
        ('[{"role": "user", "content": 3}]', TURN),
        ('[{"role": "user", "role": "user", "content": ""}]', TURN),
        ('[{"role": "user", "content": "", "name": ""}]', TURN),
        ("[]", ORDER),
        (f"[{A}]", ORDER),
        (f"[{B}]", ORDER),
        (f"[{A}, {A}, {B}]", ORDER),
        (f"[{A}, {B}, {B}]", ORDER),
        (f"[{A.replace('user', 'tool')}, {B}]", ORDER),
        (f"[{A}, {A.replace('user', 'system')}, {B}]", ORDER),
    ],
)
def test_what_is_wrong_with_messages_is_said(
    messages: str, message: str, program: Path, tokenizers: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_text('{"messages": ' + messages + "}")
    tokenizer = tokenizers("qwen")
    done = made_by_engine(program, file, tokenizer, "jsonl", packing=False, sequence=8)
    assert (done.returncode, done.stderr) == (2, f"FILE: line 1: {message}\n")
    with pytest.raises(SpecError):
        load_examples(Corpus(file, Kind.JSONL, "", tokenizer), 10_000, 8)


def test_what_a_bundle_lacks_is_said(
    program: Path, tokenizers: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_text('{"messages": [' + A + ", " + B + "]}")
    done = made_by_engine(program, file, "bytes", "jsonl", packing=False, sequence=8)
    assert done.stderr == (
        "FILE: line 1: `messages` need a chat template, and this bundle has none (bundle.json says why); use "
        "`prompt` and `completion`\n"
    )
    file.write_text('{"text": "a"}')
    done = made_by_engine(program, file, None, "jsonl", packing=False, sequence=8)
    assert done.stderr == "FILE: line 1: text needs a tokenizer, and this bundle's data are ids\n"
    qwen = tokenizers("qwen")
    bare = tmp_path / "tokenizer.json"
    bare.write_bytes(qwen.read_bytes())
    done = made_by_engine(program, file, qwen, "jsonl", packing=False, sequence=8)
    words = [*done.args[:2], "-", *done.args[3:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "FILE: line 1: text needs tokenizer.dpt, and this bundle has none; bundle.json says why\n"
    )
    header = np.frombuffer(bytearray(corpus_of(seed=1)[: corpus_file.HEADER.itemsize]), corpus_file.HEADER)
    chat = header["chat"][0]
    texts_of_chat = asdict(CHAT) | {"system_prefix": None, "system_join": None}
    without = corpus_file.corpus_bytes(
        kind="jsonl", tokenizer=corpus_file.TABLES, packing=False, seed=None, sequence=8, texts=texts_of_chat
    )
    assert chat == 0
    Path(words[1]).write_bytes(without)
    file.write_text('{"messages": [' + A.replace("user", "system") + ", " + A + ", " + B + "]}")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "FILE: line 1: the chat template takes no system turn; put its text into the user's\n"
    )


def test_a_long_line_is_refused_in_little_memory(program: Path, tmp_path: Path) -> None:
    file = tmp_path / "data"
    with file.open("wb") as out:
        out.write(b'{"text": "a"}\n{"text": "' + b"a" * (17 << 20))
        out.truncate(1 << 30)
    message = "FILE: line 2: longer than 16777216 bytes; break it into documents of a line each\n"
    done = made_by_engine(program, file, "bytes", "jsonl", packing=False, sequence=4096)
    assert (done.returncode, done.stderr) == (2, message)
    limit = 16 << 20
    for size, good in ((limit, True), (limit + 1, False)):
        file.write_text('{"text": "' + "a" * (size - len('{"text": ""}\n')) + '"}\n')
        done = made_by_engine(program, file, "bytes", "jsonl", packing=False, sequence=4096)
        assert done.returncode == (0 if good else 2)


def corpus_of(**changes: Any) -> bytes:
    settings: dict[str, Any] = {"kind": "", "tokenizer": 1, "packing": False, "seed": None, "sequence": 8}
    return corpus_file.corpus_bytes(**{**settings, **changes})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("magic", b"DPCORPUT", "its first bytes to be DPCORPUS, and 80 to 65536 of them"),
        ("kind", 5, "a kind of data that this engine knows"),
        ("tokenizer", 3, "a kind of data that this engine knows"),
        ("packing", 2, "a kind of data that this engine knows"),
        ("shuffle", 2, "a kind of data that this engine knows"),
        ("chat", 32, "a kind of data that this engine knows"),
        ("zero", 1, "a kind of data that this engine knows"),
        ("reserved", 1, "a kind of data that this engine knows"),
        ("sequence", 0, "examples of 1 token or more"),
        ("user_suffix_bytes", 1, "texts as long as its header says"),
        ("file_bytes", 81, "nothing behind its texts"),
    ],
)
def test_a_corpus_that_is_wrong_is_refused(
    field: str, value: Any, expected: str, program: Path, tmp_path: Path
) -> None:
    header = np.frombuffer(bytearray(corpus_of()), corpus_file.HEADER).copy()
    header[field] = value
    (tmp_path / "corpus").write_bytes(header.tobytes())
    (tmp_path / "file.txt").write_text("notes of a day")
    words = [str(program), "corpus", "-", "file.txt", "out", "256", "4096"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        4,
        f"corpus.bin: expected {expected}; compile the bundle again\n",
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.JsonL", "jsonl"),
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.b.txt", "text"),
        (".jsonl", "text"),
        ("jsonl", "text"),
    ],
)
def test_a_file_s_suffix_tells_its_kind(name: str, kind: str, program: Path, tmp_path: Path) -> None:
    content = {"jsonl": '{"text": "notes of a day"}', "csv": "q,1,2,3,4,A\n" * 2, "text": '{"text": 3}'}[kind]
    file = tmp_path / name
    file.write_text(content)
    (tmp_path / "corpus").write_bytes(corpus_of())
    words = [str(program), "corpus", "-", str(file), "out", "256", "4096"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert kind_of(file) is Kind(kind)


def test_every_refusal_of_the_readers_is_tried() -> None:
    sources = [*sorted((NATIVE / "src").glob("raw_*.c")), NATIVE / "src" / "corpus.c"]
    said = "\n".join(message for _, _, message in REFUSALS) + "\n" + Path(__file__).read_text()
    said = re.sub(r"\\\"", '"', re.sub(r'"\s*\n\s*f?"', "", said))
    calls = [
        call
        for path in sources
        for call in re.findall(r"(?:raw_refuse|fail)\((.*?)\);", path.read_text(), re.DOTALL)
    ]
    texts = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', call)).replace('\\"', '"') for call in calls]
    parts = [re.split(r"%[\d.]*(?:ll)?[sdu]|`|: ", text) for text in texts]
    missing = [part for split in parts for part in split if part not in said]
    assert len(calls) > 30 and missing == []


def test_format_md_has_the_header() -> None:
    section = FORMAT.split("## corpus.bin")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
    dtype: Any = corpus_file.HEADER
    expected = [(str(dtype.fields[n][1]), str(dtype.fields[n][0].itemsize), n) for n in dtype.names]
    assert rows == expected


def test_texts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match="the chat template puts 70000 bytes around turns; the engine takes"):
        corpus_of(texts={**dict.fromkeys(corpus_file.TEXTS, ""), "start": "a" * 70_000})
