"""Chat templates: compiled to the text around turns, equal to what they render, or refused by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tokenizing.cases import train

from daypack.errors import SpecError
from daypack.models.chat import CHAT_FILE, chat_for_bundle, load_chat
from daypack.models.chat_template import compile_template, find_template
from daypack.models.documents import Kind, read_documents
from daypack.models.tokenizer import FileTokenizer

MARKED = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind."
    "<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
MERGED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ first if loop.first else '' }}"
    "{{ m.content | trim }}<end>\n{% endfor %}"
)
BRACKETS = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}"
    "{% else %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}"
)
TURNS = [("user", "Hello?"), ("assistant", " Good day. "), ("user", "Why"), ("assistant", "So\n")]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def made(template: object, **fields: Any) -> Path:
        tokens = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
        config = {**tokens, "chat_template": template, **fields}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return made


def compiled(folder: Path) -> Any:
    template = find_template(folder)
    assert template is not None
    return compile_template(template)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(SpecError) as caught:
        call()
    return caught.value.message


def test_turns_of_marks_with_a_default_system(folder: Any) -> None:
    chat = compiled(folder(MARKED))
    pieces = chat.pieces(TURNS)
    assert "".join(text for text, _ in pieces) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
        " Good day. <|im_end|>\n<|im_start|>user\nWhy<|im_end|>\n<|im_start|>assistant\nSo\n<|im_end|>\n"
    )
    assert [text for text, learnt in pieces if learnt] == [" Good day. <|im_end|>\n", "So\n<|im_end|>\n"]
    with_system = "".join(text for text, _ in chat.pieces([("system", "Be brief."), *TURNS[:2]]))
    assert with_system.startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>"
    )


def test_a_system_turn_within_the_users_and_trimmed_contents(folder: Any) -> None:
    chat = compiled(folder([{"name": "tools", "template": "x"}, {"name": "default", "template": MERGED}]))
    assert chat.trimmed == ("user", "assistant")
    assert "".join(text for text, _ in chat.pieces([("system", "Be brief."), *TURNS])) == (
        "<s><start>user\nBe brief.\n\nHello?<end>\n<start>model\nGood day.<end>\n<start>user\nWhy<end>\n"
        "<start>model\nSo<end>\n"
    )


def test_no_system_turn(folder: Any) -> None:
    chat = compiled(folder(BRACKETS))
    assert chat.system_prefix is None
    assert "".join(text for text, _ in chat.pieces(TURNS[:2])) == "<s>[INST] Hello? [/INST]  Good day.  </s>"


def test_a_template_in_a_file_of_its_own(folder: Any) -> None:
    path = folder(None)
    assert find_template(path) is None
    (path / "chat_template.jinja").write_text(BRACKETS)
    assert compiled(path).user_suffix == " [/INST]"


LAST = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ '</end>' if loop.last }}{% endfor %}"
CANNOT = (
    "tokenizer_config.json: chat_template: the chat template cannot be compiled to the text around its turns"
)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "chat_template: not a template ("),
        ("{{ raise_exception('not today') }}", "raised TemplateError for the roles user: not today"),
        ("{{ strftime_now('%d') }}", "raised UndefinedError for the roles user: 'strftime_now' is undefined"),
        ("{{ messages.__class__.__mro__ }}", "raised SecurityError for the roles user: access to attribute"),
        ("{{ 1 // 0 }}", "raised ZeroDivisionError for the roles user: "),
        ("nothing", f"{CANNOT}: of the roles user a content stands not once, in order; use `prompt` and"),
        (LAST, f"{CANNOT}: "),
        (MARKED.replace("m.content", "m.content.split('</think>')[-1]"), f"{CANNOT}: for [["),
        (MARKED.replace("m.content", "m.content | upper"), f"{CANNOT}: "),
    ],
)
def test_templates_that_cannot_be(template: str, message: str, folder: Any) -> None:
    path = folder(template)
    found = refusal(lambda: compiled(path))
    assert found.startswith(str(path / "tokenizer_config.json")) and message in found
    assert chat_for_bundle(path / "tokenizer.json") == (None, found)


def test_a_tokenizer_config_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text("[1")
    assert refusal(lambda: find_template(tmp_path)).startswith(f"{path}: not a JSON object (")


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_files_that_cannot_be_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    path.write_bytes(b"{{ caf\xe9 }}")
    found = refusal(lambda: find_template(tmp_path))
    assert found.startswith(f"{path}: not a ") and "can't decode byte 0xe9" in found
    assert chat_for_bundle(tmp_path / "tokenizer.json") == (None, found)

    def refuse(*_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "Permission denied" in refusal(lambda: find_template(tmp_path))


def test_a_bundle_says_why_it_has_no_chat(tmp_path: Path, trained: bytes) -> None:
    _, tokenizer = written(tmp_path, trained)
    assert "has none in tokenizer_config.json" in refusal(lambda: load_chat(tokenizer, "x"))
    (tmp_path / "bundle.json").write_text(json.dumps({"chat_template": "it counts turns"}))
    assert refusal(lambda: load_chat(tokenizer, "x: line 1")) == (
        "x: line 1: `messages` need a chat template, and this bundle has none: it counts turns"
    )
    (tmp_path / "bundle.json").write_text("[]")
    assert "has none in tokenizer_config.json" in refusal(lambda: load_chat(tokenizer, "x"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return train("qwen", 400, tmp_path_factory.mktemp("qwen") / "tokenizer.json").read_bytes()


def written(folder: Path, tokenizer: bytes, *lines: object) -> tuple[Path, FileTokenizer]:
    (folder / "tokenizer.json").write_bytes(tokenizer)
    data = folder / "chats.jsonl"
    data.write_text("".join(json.dumps({"messages": line}) + "\n" for line in lines))
    return data, FileTokenizer(folder / "tokenizer.json")


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_only_the_assistants_turns_are_learnt(folder: Any, trained: bytes) -> None:
    path = folder(MARKED)
    data, tokenizer = written(path, trained, messages(*TURNS))
    (document,) = read_documents(data, Kind.JSONL, tokenizer, 1000)
    pieces = compiled(path).pieces(TURNS)
    parts = [(tokenizer.encode(text), learnt) for text, learnt in pieces]
    assert document.ids.tolist() == np.concatenate([ids for ids, _ in parts]).tolist()
    learnt = np.concatenate([ids for ids, learnt in parts if learnt])
    assert document.ids[document.learnt].tolist() == learnt.tolist()
    (path / CHAT_FILE).write_text(compiled(path).to_json())
    (path / "tokenizer_config.json").unlink()
    (again,) = read_documents(data, Kind.JSONL, tokenizer, 1000)
    assert again.ids.tolist() == document.ids.tolist()
    (path / CHAT_FILE).write_text("{}")
    assert "chat.json: not a compiled chat format (" in refusal(lambda: load_chat(tokenizer, "x"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", 'line 2: `messages` is "hello"; expected a list of turns'),
        ([{"role": "user"}], 'line 2: turn 1 is {"role": "user"}; expected {"role": string, "content": stri'),
        ([], "line 2: the roles are none; expected one system turn or none, then user and assistant in turn"),
        (messages(("user", "a")), "line 2: the roles are user; expected one system turn or none"),
        (messages(("user", "a"), ("user", "b")), "line 2: the roles are user, user; expected one system"),
        (
            messages(("system", "a"), ("user", "b"), ("assistant", "c")),
            "line 2: the chat template takes no system turn; put its text into the user's",
        ),
    ],
)
def test_conversations_that_cannot_be(value: object, message: str, folder: Any, trained: bytes) -> None:
    data, tokenizer = written(folder(BRACKETS), trained, messages(*TURNS), value)
    assert message in refusal(lambda: read_documents(data, Kind.JSONL, tokenizer, 1000))


def test_no_template(folder: Any, trained: bytes) -> None:
    data, tokenizer = written(folder(None), trained, messages(*TURNS))
    assert "line 1: `messages` need a chat template, and " in refusal(
        lambda: read_documents(data, Kind.JSONL, tokenizer, 1000)
    )
