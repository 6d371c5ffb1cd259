"""Files to token windows: what is cut how, in which order, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.models.data import Corpus, cut_windows, load_examples
from daypack.models.document import Document
from daypack.models.documents import Kind, builtin_documents, kind_of, read_documents
from daypack.models.tokenizer import BYTES, ByteTokenizer, FileTokenizer, load_tokenizer


def ids(*values: int) -> Document:
    return Document(np.asarray(values, np.int32), np.ones(len(values), np.bool_))


def refusal(path: Path, kind: Kind, vocabulary: int = 256, tokenizer: Any = None) -> str:
    with pytest.raises(SpecError) as caught:
        read_documents(path, kind, tokenizer or ByteTokenizer(), vocabulary)
    return caught.value.message.replace(str(path), "FILE")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_windows_are_cut_end_to_end_and_labels_are_the_next_token() -> None:
    windows = cut_windows([ids(*range(10))], sequence=3, where="x").arrays
    assert windows["ids"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert windows["labels"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert windows["ids"].dtype == windows["labels"].dtype == np.int32


def test_the_last_token_of_a_document_has_no_label() -> None:
    documents = [ids(1, 2, 3), ids(), ids(4, 5), ids(6, 7, 8)]
    windows = cut_windows(documents, sequence=7, where="x").arrays
    assert windows["ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert windows["labels"].tolist() == [[2, 3, -100, 5, -100, 7, 8]]


@pytest.mark.parametrize("count", [1, 8])
def test_text_shorter_than_one_window(count: int) -> None:
    with pytest.raises(SpecError) as caught:
        cut_windows([ids(*range(count))], sequence=8, where="notes.txt")
    assert caught.value.message == (
        f"notes.txt: {count} tokens; one window needs 9 (train.sequence is 8, and the last token needs its "
        "successor): give more text or a shorter sequence"
    )
    assert cut_windows([ids(*range(9))], sequence=8, where="notes.txt").count == 1


def test_text_jsonl_and_ids_give_the_same_tokens(tmp_path: Path) -> None:
    text, expected = "naïve café ☕", list("naïve café ☕".encode())
    (tmp_path / "a.txt").write_text(text, "utf-8")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n\n", "utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"ids": expected}), "utf-8")
    np.save(tmp_path / "a.npy", np.asarray(expected, np.uint16))
    for name in ("a.txt", "a.jsonl", "b.jsonl", "a.npy"):
        path = tmp_path / name
        (document,) = read_documents(path, kind_of(path), ByteTokenizer(), 256)
        assert document.ids.dtype == np.int32 and document.ids.tolist() == expected
    (document,) = read_documents(tmp_path / "b.jsonl", Kind.IDS, None, 256)
    assert document.ids.tolist() == expected


def test_jsonl_lines_are_documents(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"text": "ab"}\n{"text": "\\u0001\\u0002"}\n{"text": ""}\n')
    assert [document.ids.tolist() for document in read_documents(file, Kind.JSONL, ByteTokenizer(), 256)] == [
        [97, 98],
        [1, 2],
        [],
    ]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", Kind.TEXT, "FILE: the file is empty"),
        (b'{"text": "a", "text": "b"}', Kind.JSONL, "FILE: line 1: not JSON (a key that is there twice)"),
        (b'{"text": "a"}\n{"text"}', Kind.JSONL, "FILE: line 2: not JSON (Expecting ':' delimiter"),
        (
            b'\n\n{"prompt": "a"}',
            Kind.JSONL,
            'FILE: line 3: the keys `prompt`; expected {"text": string} or {',
        ),
        (b"{}", Kind.JSONL, 'FILE: line 1: the keys none; expected {"text": string} or {'),
        (
            b"[1]",
            Kind.JSONL,
            'FILE: line 1: expected {"text": string} or {"prompt": string, "completion": str',
        ),
        (b'{"text": "a", "id": 3}', Kind.JSONL, "FILE: line 1: unknown key 'id'; expected {"),
        (b'{"text": 3}', Kind.JSONL, "FILE: line 1: `text` is 3; expected a string"),
        (
            b'{"text": "a"}',
            Kind.IDS,
            "FILE: line 1: unknown key 'text'; expected {\"ids\": [whole numbers]} or",
        ),
        (
            b'{"text": "a"}\n\n{"prompt": "a", "completion": "b"}',
            Kind.JSONL,
            "FILE: line 3: its keys are `prompt` and `completion`, and those of line 1 are `text`; put",
        ),
        (
            b'{"ids": [1, 2], "mask": [1]}',
            Kind.JSONL,
            "FILE: line 1: `mask` has 1 values and `ids` 2; give one for each id",
        ),
        (b'{"ids": [1], "mask": [2]}', Kind.IDS, "FILE: line 1: position 0 of `mask` is 2; expected 0 or 1"),
        (b'{"ids": 4}', Kind.IDS, "FILE: line 1: `ids` is 4; expected a list of whole numbers"),
        (b'{"messages": []}', Kind.JSONL, "FILE: line 1: `messages` need a tokenizer.json with a chat templ"),
        (
            b"q,1,2,3,4,A\nq,1,2,A\n",
            Kind.CSV,
            "FILE: line 2: 4 columns; expected 6: question, A, B, C, D, ans",
        ),
        (b"q,1,2,3,4,E\n", Kind.CSV, "FILE: line 1: the answer is 'E'; expected A, B, C or D"),
        (b'q,1,2,3,4,A\n"q,1\n2', Kind.CSV, "FILE: line 3: not CSV (unexpected end of data)"),
        (b'{"ids": [1, 2.5]}', Kind.IDS, "FILE: line 1: position 1 of `ids` is 2.5; expected a whole number"),
        (b'{"ids": [true]}', Kind.IDS, "FILE: line 1: position 0 of `ids` is True; expected a whole number"),
        (b'{"ids": [0, 4294967296]}', Kind.IDS, "FILE: line 1: token id 4294967296 at position 1 is outside"),
        (
            b'{"ids": [3, 256]}',
            Kind.IDS,
            "FILE: line 1: token id 256 at position 1 is outside the model's vocab",
        ),
        (
            b'{"ids": [-1]}',
            Kind.IDS,
            "FILE: line 1: token id -1 at position 0 is outside the model's vocabulary",
        ),
        (b'{"ids": []}\n', Kind.IDS, "FILE: no tokens in it"),
        (b"\n \n", Kind.JSONL, "FILE: no tokens in it"),
    ],
)
def test_refusals(file: Path, content: bytes, kind: Kind, message: str) -> None:
    file.write_bytes(content)
    assert refusal(file, kind).startswith(message)


def test_what_is_no_text_becomes_the_replacement_character(file: Path) -> None:
    replaced = list("a\ufffdb".encode())
    for content, kind in ((b"a\xffb", Kind.TEXT), (b'{"text": "a\\ud83db"}', Kind.JSONL)):
        file.write_bytes(content)
        (document,) = read_documents(file, kind, ByteTokenizer(), 256)
        assert document.ids.tolist() == replaced


def test_a_line_of_a_gigabyte_is_refused_in_little_memory(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.write(b'{"text": "a"}\n{"text": "')
        sparse.truncate(1 << 30)
    for kind in (Kind.JSONL, Kind.CSV):
        message = "FILE: line 2: longer than 16777216 bytes; break it into documents of a line each"
        if kind is Kind.CSV:
            with file.open("r+b") as sparse:
                sparse.write(b"q,1,2,3,4,A  \n")
        tracemalloc.start()
        assert refusal(file, kind) == message
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
        tracemalloc.stop()


def labels_of(path: Path, kind: Kind, sequence: int) -> tuple[bytes, list[int]]:
    windows = load_examples(Corpus(path, kind, "", BYTES), 256, sequence).arrays
    return bytes(windows["ids"][0].astype(np.uint8)), windows["labels"][0].tolist()


def test_only_a_completion_is_learnt(file: Path) -> None:
    file.write_text('{"prompt": "ab", "completion": "cd"}\n{"prompt": "e", "completion": "f"}\n')
    assert labels_of(file, Kind.JSONL, 5) == (b"abcde", [-100, 99, 100, -100, 102])


def test_only_ids_of_the_mask_are_learnt(file: Path) -> None:
    file.write_text('{"ids": [1, 2, 3, 4], "mask": [1, 1, 0, 1]}')
    windows = load_examples(Corpus(file, Kind.IDS, "", None), 256, sequence=3)
    assert windows.arrays["labels"].tolist() == [[2, -100, 4]]


@pytest.mark.parametrize("header", ["", "question,A,B,C,D,answer\n"])
def test_only_the_answer_of_a_choice_is_learnt(header: str, file: Path) -> None:
    file.write_text(header + '"one, two\nor?",1,2,3,4,C\nx,5,6,7,8,A\n')
    text = b"one, two\nor?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: C"
    found, labels = labels_of(file, Kind.CSV, len(text))
    assert found == text
    assert labels == [-100] * (len(text) - 3) + [*b" C", -100]


def test_windows_without_a_label_are_left_out_and_none_is_an_error(file: Path) -> None:
    file.write_text('{"ids": [1, 2, 3, 4, 5, 6, 7], "mask": [0, 0, 0, 0, 1, 0, 0]}')
    windows = load_examples(Corpus(file, Kind.IDS, "", None), 256, sequence=2)
    assert (windows.arrays["ids"].tolist(), windows.arrays["labels"].tolist(), windows.count) == (
        [[3, 4]],
        [[-100, 5]],
        1,
    )
    file.write_text('{"ids": [1, 2, 3], "mask": [1, 0, 0]}')
    with pytest.raises(SpecError, match="no label in 1 windows of 2 tokens: no token that is learnt follows"):
        load_examples(Corpus(file, Kind.IDS, "", None), 256, sequence=2)


def test_no_such_file(file: Path) -> None:
    assert refusal(file, Kind.TEXT) == "FILE: no such file; data.path takes a text, JSONL, CSV or .npy file"


def test_text_without_a_tokenizer(file: Path) -> None:
    file.write_text("a")
    with pytest.raises(SpecError, match="text needs a tokenizer; set data.tokenizer"):
        read_documents(file, Kind.TEXT, None, 256)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), np.int32), "expected a one-dimensional array of whole numbers, found int32 [2, 2]"),
        (np.zeros(2), "expected a one-dimensional array of whole numbers, found float64 [2]"),
        (
            np.array([1, 2**40]),
            "token id 1099511627776 at position 1 is outside the model's vocabulary [0, 256)",
        ),
        (
            np.array([1, 300], np.uint16),
            "token id 300 at position 1 is outside the model's vocabulary [0, 256)",
        ),
        (np.array([{}]), "not a .npy array (Object arrays cannot be loaded"),
    ],
)
def test_npy_refusals(tmp_path: Path, array: Any, message: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    assert refusal(path, Kind.IDS).startswith(f"FILE: {message}")


def test_npy_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"not an array")
    assert refusal(path, Kind.IDS).startswith("FILE: not a .npy array (")


def test_ids_outside_the_vocabulary_from_text(file: Path) -> None:
    file.write_text("ab~")
    assert refusal(file, Kind.TEXT, vocabulary=120) == (
        "FILE: token id 126 at position 2 is outside the model's vocabulary [0, 120); "
        "use the model's own tokenizer"
    )


def test_the_builtin_text_is_english_and_always_the_same() -> None:
    (document,) = builtin_documents("pydoc", ByteTokenizer(), 256)
    assert document.ids.size > 300_000
    assert 'The "assert" statement' in bytes(document.ids.astype(np.uint8)).decode()
    windows = load_examples(Corpus(None, Kind.TEXT, "pydoc", BYTES), 256, sequence=64)
    assert windows.count == (document.ids.size - 1) // 64
    with pytest.raises(SpecError, match="data.builtin is 'poe'; the built-in texts are: pydoc"):
        builtin_documents("poe", ByteTokenizer(), 256)


def test_load_windows_of_a_file(file: Path) -> None:
    file.write_text("hello world")
    windows = load_examples(Corpus(file, Kind.TEXT, "", BYTES), 256, sequence=5)
    assert bytes(windows.arrays["ids"].astype(np.uint8)) == b"hello worl"
    file.write_text('{"ids": [1, 2, 3]}')
    assert load_examples(Corpus(file, Kind.IDS, "", None), 256, sequence=2).arrays["labels"].tolist() == [
        [2, 3]
    ]


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    library: Any = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<s>": 5}, unk_token="a"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 5)])
    library.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_tokenizer_file(tokenizer_file: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_file)
    assert isinstance(tokenizer, FileTokenizer) and tokenizer.path == tokenizer_file
    assert tokenizer.vocabulary == 6
    assert tokenizer.encode("a b b").tolist() == [0, 1, 1]


def test_a_bad_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(SpecError) as caught:
        load_tokenizer(path)
    assert caught.value.message == (
        f'{path}: no such tokenizer; data.tokenizer takes "bytes" or the path of a tokenizer.json'
    )
    path.write_text("{}")
    with pytest.raises(SpecError, match="not readable as a tokenizer.json"):
        load_tokenizer(path)
