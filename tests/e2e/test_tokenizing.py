"""A bundle compiled from a spec with a tokenizer.json tokenizes text by itself, as the library does."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizing.cases import train

from daypack import api
from daypack.errors import SpecError
from daypack.models import task
from daypack.models.data import load_examples
from daypack.models.tokenizer import FileTokenizer
from daypack.spec import parse_spec

SPEC = """
[model]
family = "gpt2"
[model.config]
n_layer = 1
n_embd = 32
n_head = 2
n_positions = 16
vocab_size = 512

[train]
method = "lora"
rank = 2
batch = 1
sequence = 16
max_steps = 1
learning_rate = 1e-3

[data]
kind = "jsonl"
tokenizer = "tokenizer.json"
"""
TEXT = "The notes of a day: 12 naïve cafés, e\u0301t\u00e9. " * 40


def test_the_engine_of_a_compiled_spec_tokenizes(tmp_path: Path) -> None:
    tokenizer = train("qwen", 400, tmp_path / "tokenizer.json")
    notes = tmp_path / "notes"
    notes.write_text(TEXT, "utf-8")
    config = {"chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    bundle = api.compile_spec(parse_spec(SPEC, base=tmp_path, where="s"), out=tmp_path / "a.bundle").bundle
    assert (bundle / "tokenizer.dpt").is_file() and " tokenizer.dpt\n" in (bundle / "MANIFEST").read_text()
    command = [str(bundle / "engine"), "--bundle", str(bundle), "--tokenize", str(notes)]
    done = subprocess.run(command, capture_output=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [number for event in events if event["event"] == "ids" for number in event["ids"]]
    assert found == FileTokenizer(tokenizer).encode(TEXT).tolist()
    chats = tmp_path / "chats"
    turns = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "It is 2."}]
    chats.write_text((json.dumps({"messages": turns}) + "\n") * 20)
    assert json.loads((bundle / "chat.json").read_text())["assistant_prefix"] == "<assistant>"
    jsonl = parse_spec(SPEC.replace("[data]", '[data]\npath = "chats"'), base=tmp_path)
    corpus = replace(task.corpus(jsonl), tokenizer=bundle / "tokenizer.json")
    windows = load_examples(corpus, 512, 16).arrays
    beside = load_examples(task.corpus(jsonl), 512, 16).arrays
    assert windows["labels"].tolist() == beside["labels"].tolist()
    assert (windows["labels"] == -100).any()
    (step,) = api.run_bundle(bundle, data=chats)  # the spec named none: the engine makes examples of them
    assert step.tokens in (windows["labels"] >= 0).sum(axis=1)
    made = np.fromfile(tmp_path / "a.bundle.state" / "tokens.bin", np.int32)[16:].reshape(-1, 2, 16)
    assert made[:, 0].tolist() == windows["ids"].tolist()
    assert made[:, 1].tolist() == windows["labels"].tolist()
    # Without the tables this machine makes them, as it does of an array.
    np.save(tmp_path / "ids.npy", windows["ids"].reshape(-1))
    with pytest.raises(SpecError, match="ids.npy: line 1: not JSON"):
        list(api.run_bundle(bundle, data=tmp_path / "ids.npy", steps=1))
    wrong = {
        ("device:/x", "local"): "device:/x is a file of a phone; use --via adb",
        ("device:x", "adb"): "expected a whole path behind device:, found 'x'",
        ("device:/x.npy", "adb"): "cannot read /x.npy: it has no tables of its tokenizer",
    }
    for (data, via), message in wrong.items():
        with pytest.raises(SpecError, match=message):
            list(api.run_bundle(bundle, data=Path(data), via=via, steps=1))


def test_a_tokenizer_that_is_not_there_is_said_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        api.compile_spec(parse_spec(SPEC, base=tmp_path, where="s"), out=tmp_path / "a.bundle")
    assert caught.value.message == f"data.tokenizer: {tmp_path / 'tokenizer.json'}: no such file"
    assert not list(tmp_path.iterdir())
