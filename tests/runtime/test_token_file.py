"""A run on raw data: its tokens are the host's data.bin, made once, its owner's alone, never half there."""

from __future__ import annotations

import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.models.data import Corpus, load_examples
from daypack.models.documents import Kind
from daypack.runtime.data_file import HEADER, Arrangement, write_data

NOTES = "Notes of a day, naïve: 12 cafés.\n".encode() * 60


@pytest.fixture
def case(make_case: Callable[..., Any], example: Any) -> Any:
    made = make_case(**example.language_plan())
    made.set_corpus()
    return made


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_bytes(NOTES)
    return path


def tokens(case: Any) -> Path:
    return case.state.with_name("tokens.bin")


def of_host(case: Any, notes: Path) -> bytes:
    """The data.bin that the host makes of the file."""
    found = load_examples(Corpus(notes, Kind.TEXT, "", "bytes"), 256, 32)
    path = notes.with_suffix(".bin")
    write_data(path, case.plan.inputs, found, Arrangement(1, 5))
    return path.read_bytes()


def run_on(case: Any, path: Path, *arguments: str) -> Any:
    run = case.run("--data", str(path), *(arguments or ("--steps", "1")))
    assert run.status == 0, run.events
    return run


def prepared(run: Any) -> Any:
    return run.events[0]


def test_the_tokens_are_the_host_s_data_file_and_train_alike(case: Any, notes: Path, tmp_path: Path) -> None:
    run = run_on(case, notes, "--steps", "3")
    made, expected = tokens(case).read_bytes(), of_host(case, notes)
    source = slice(HEADER.itemsize - 16, HEADER.itemsize)
    assert any(made[source]) and not any(expected[source])
    assert made[: source.start] + expected[source] + made[source.stop :] == expected
    state = case.state.read_bytes()
    other = case.run("--data", str(notes.with_suffix(".bin")), "--steps", "3", "--state", str(tmp_path / "s"))
    assert [step["loss"] for step in run.steps] == [step["loss"] for step in other.steps]
    assert state == (tmp_path / "s" / "state.safetensors").read_bytes()
    assert prepared(run)["event"] == "prepared" and prepared(run)["tokens"] == len(NOTES)
    assert prepared(run)["examples"] == (len(NOTES) - 1) // 32 and not prepared(run)["reused"]
    assert run.events[1]["event"] == "start"


def test_tokens_are_made_once_and_again_when_anything_changes(case: Any, notes: Path) -> None:
    assert not prepared(run_on(case, notes))["reused"]
    first = tokens(case).stat().st_mtime_ns
    again = prepared(run_on(case, notes))
    assert (again["reused"], again["tokens"]) == (True, 0)
    assert tokens(case).stat().st_mtime_ns == first
    notes.write_bytes(NOTES.replace(b"12", b"13"))
    assert not prepared(run_on(case, notes))["reused"]
    case.set_corpus(seed=6)
    assert not prepared(run_on(case, notes))["reused"]
    whole = tokens(case).read_bytes()
    tokens(case).write_bytes(whole[:-64])
    assert not prepared(run_on(case, notes))["reused"]
    for place in (HEADER.itemsize - 1, HEADER.itemsize, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        tokens(case).write_bytes(damaged)
        assert not prepared(run_on(case, notes))["reused"], place
        assert tokens(case).read_bytes() == whole
    assert prepared(run_on(case, notes))["reused"]
    renamed = notes.rename(notes.with_suffix(".jsonl"))
    assert case.run("--data", str(renamed)).status == 2
    assert prepared(run_on(case, renamed.rename(notes)))["reused"]


def test_tokens_are_their_owner_s_and_nothing_of_the_text_is_said(case: Any, notes: Path) -> None:
    run = run_on(case, notes, "--steps", "1", "--profile")
    assert stat.S_IMODE(tokens(case).stat().st_mode) == 0o600
    assert {path.name for path in case.state.parent.iterdir()} == {"state.safetensors", "tokens.bin"}
    secret = notes.with_suffix(".jsonl")
    for line in ('{"text": "SECRET"', '{"SECRET": 1}', '{"text": {"SECRET": 1}}', '{"messages": "SECRET"}'):
        secret.write_text(line)
        refused = case.run("--data", str(secret))
        assert refused.status == 2 and "SECRET" not in str(refused.events) + refused.stderr
    assert "naïve" not in str(run.events) and run.stderr == ""


def test_a_file_that_is_refused_leaves_the_tokens_of_another(case: Any, notes: Path) -> None:
    run_on(case, notes)
    before = tokens(case).read_bytes()
    bad = notes.with_suffix(".csv")
    bad.write_bytes(b"q,1,2,3,4,A\n" * 9000 + b"q")
    assert "line 9001: expected 6 columns" in case.run("--data", str(bad)).message
    assert tokens(case).read_bytes() == before
    assert {path.name for path in case.state.parent.iterdir()} == {"state.safetensors", "tokens.bin"}


def is_growing(path: Path, left_ns: int) -> bool:
    """Whether some of the tokens are in the file, which is not the one that a kill left."""
    return path.exists() and path.stat().st_mtime_ns != left_ns and path.stat().st_size > 10_000


def test_a_kill_while_tokenizing_leaves_nothing_half_written(case: Any, notes: Path) -> None:
    run_on(case, notes)
    before = tokens(case).read_bytes()
    large = notes.with_name("large.txt")
    large.write_bytes(NOTES * 10_000)
    temporary = tokens(case).with_name("tokens.bin.tmp")
    left_ns = 0
    for number, name in ((signal.SIGKILL, {"tokens.bin.tmp"}), (signal.SIGTERM, set[str]())):
        command = case.command("--data", str(large), "--steps", "1")
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            end = time.monotonic() + 30
            while not is_growing(temporary, left_ns):
                assert process.poll() is None and time.monotonic() < end
            process.send_signal(number)
            said = process.communicate(timeout=30)[0].decode()
        assert process.returncode == (6 if number == signal.SIGTERM else -number), said
        left = {path.name for path in case.state.parent.iterdir()}
        assert left == {"state.safetensors", "tokens.bin"} | name
        assert tokens(case).read_bytes() == before
        left_ns = temporary.stat().st_mtime_ns if name else 0
    assert "stopped by a signal while the data were tokenized" in said
    assert prepared(run_on(case, notes))["reused"]


def test_tokenizing_keeps_the_budget(case: Any, notes: Path) -> None:
    notes.write_bytes(NOTES * 2000)
    run = run_on(case, notes)
    assert 0 < prepared(run)["peak_rss_bytes"] <= case.plan.budget_bytes
    assert run.steps[-1]["peak_rss_bytes"] <= case.plan.budget_bytes


def test_a_bundle_without_a_corpus_takes_data_files_only(case: Any, notes: Path) -> None:
    (case.bundle / "corpus.bin").unlink()
    case.set_file("bundle.json", b"{}")
    run = case.run("--data", str(notes))
    assert (run.status, run.message) == (
        4,
        f"{notes}: expected the header of a data file, found other bytes",
    )


def test_every_example_is_in_the_order_of_the_data_file(case: Any, notes: Path) -> None:
    run_on(case, notes)
    made = np.frombuffer(tokens(case).read_bytes()[HEADER.itemsize :], np.int32).reshape(-1, 2, 32)
    assert (
        made[:, 0].tobytes()
        == np.frombuffer(NOTES, np.uint8)[: made.shape[0] * 32].astype(np.int32).tobytes()
    )
