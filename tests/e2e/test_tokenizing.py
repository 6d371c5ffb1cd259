"""A bundle compiled from a spec with a tokenizer.json tokenizes text by itself, as the library does."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from tokenizing.cases import train

from daypack import api
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
path = "notes.txt"
tokenizer = "tokenizer.json"
"""
TEXT = "The notes of a day: 12 naïve cafés, e\u0301t\u00e9. " * 40


def test_the_engine_of_a_compiled_spec_tokenizes(tmp_path: Path) -> None:
    tokenizer = train("qwen", 400, tmp_path / "tokenizer.json")
    notes = tmp_path / "notes.txt"
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
    jsonl = parse_spec(
        SPEC.replace("[data]", '[data]\nkind = "jsonl"').replace("notes.txt", "chats"), base=tmp_path
    )
    corpus = replace(task.corpus(jsonl), tokenizer=bundle / "tokenizer.json")
    windows = load_examples(corpus, 512, 16).arrays
    beside = load_examples(task.corpus(jsonl), 512, 16).arrays
    assert windows["labels"].tolist() == beside["labels"].tolist()
    assert (windows["labels"] == -100).any()
