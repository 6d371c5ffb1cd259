"""`daypack simulate`, `daypack study`, and the guide: its code runs and its tables are true."""

from __future__ import annotations

import csv
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from daypack.cli.app import main
from daypack.errors import MissingTool, SpecError
from daypack.runtime import study_workers
from daypack.runtime.policies import POLICIES, Observable
from daypack.runtime.study import Case, load_workload, read_study, run_row, write_table
from daypack.runtime.study_workers import run_study
from daypack.spec import check_spec

STUDY = """
policies = ["lookahead", "mobilefinetuner"]
devices = ["pixel8"]
recordings = ["commuter:1"]
workloads = ["gpt2-lora"]
oracle = true
[job]
steps = 300
deadline_hours = 1.0
"""


TRAIN = {"method": "lora", "learning_rate": 1e-3, "max_steps": 1, "batch": 1, "sequence": 8}


def blocks(repository: Path, kind: str) -> list[str]:
    text = (repository / "docs" / "policies.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_guides_code_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in blocks(repository, "python"):
        exec(compile(code, "policies.md", "exec"), names)
    assert names["outcome"].finish_s is not None and names["outcome"].lowest_battery > 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["policy.bin"]
    assert len(blocks(repository, "python")[0].strip().splitlines()) <= 14


def test_the_guides_tables_are_true(repository: Path) -> None:
    text = (repository / "docs" / "policies.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \| [^|]+ \|$", text, re.MULTILINE) == list(POLICIES)
    named = set(re.findall(r"`([A-Z_]+)`", text))
    assert named >= {observable.name for observable in Observable}


def test_the_guides_study(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, energy = blocks(repository, "toml")
    found = check_spec({"model": {"family": "gpt2"}, "train": TRAIN, **tomllib.loads(energy)}).energy
    assert found is not None and (found.policy, found.quiet_hours) == ("lookahead", (22, 7))
    (tmp_path / "study.toml").write_text(text)
    assert main(["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(Path(record["table"]).read_text().splitlines()))
    assert record["cases"] == len(rows) == 12
    assert {row["source"] for row in rows} == {"modelled"}
    assert all(float(row["regret"]) >= -1e-6 for row in rows if row["regret"])
    page = Path(record["page"]).read_text()
    assert page.count("<svg") == 4 and "All figures are modelled." in page and "lookahead" in page


def test_the_guides_command(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repository / "docs" / "policies.md").read_text()
    command = next(line for line in text.splitlines() if line.startswith("daypack simulate"))
    assert main([*command.split()[1:], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["met_deadline"] and record["source"] == "modelled" and record["policy"] == "lookahead"
    assert record["joules"] == pytest.approx(sum(record["joules_by_cause"].values()))


def test_errors_of_simulate_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--device", "pixel8", "--recording", "none.csv", "--policy", "pace", "--json"]
    assert main(arguments) == 2
    assert "cannot read the recording none.csv" in json.loads(capsys.readouterr().out)["message"]


def test_a_table_does_not_depend_on_who_ran_it(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    cases = read_study(tmp_path / "s.toml")
    rows = [run_row(case) for case in cases]
    write_table(rows, tmp_path / "a.csv")
    write_table([run_row(case) for case in cases], tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert [row.policy for row in rows] == ["lookahead", "mobilefinetuner"]
    assert rows[0].regret is not None and rows[0].regret < 0.05


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["pixel8"]', "[]", "devices: found .*, takes a list of names, at least one"),
        ('["pixel8"]', "[3]", "devices: found .*, takes a list of names"),
        ('["pixel8"]', '["pixle8"]', "unknown device 'pixle8'"),
        ('"commuter:1"', '"nobody:1"', "unknown owner 'nobody'"),
        ('"commuter:1"', '"day.csv"', "cannot read the recording"),
        ('"gpt2-lora"', '"gpt9"', "unknown workload 'gpt9'; known: .*; or the folder of a bundle"),
        ('"lookahead"', '"best"', "unknown policy 'best'"),
        ("oracle = true", "oracle = 1", "oracle: found 1, takes true or false"),
        ("oracle = true", "orakel = true", "orakel: unknown key; takes devices, job"),
        ("steps = 300", 'steps = "many"', 'job.steps: found "many", takes such as 1000'),
        ("steps = 300", "stepz = 300", "job.stepz: unknown key; takes steps, start_hour"),
        ("[job]", "[limits]\nquiet_hours = [1]\n[job]", "limits.quiet_hours: found .*, takes a list of two"),
        ("[job]", "[limits]\nreserve = 3\n[job]", "limits.reserve: got 3, takes a number from 0 to 1"),
        ("policies", "= policies", "cannot read the study"),
        (
            '["lookahead", "mobilefinetuner"]',
            "[]",
            "policies: found .*, takes a list, at least one, of names",
        ),
        ('"lookahead"', "3", "policies: found 3, takes a list"),
        ('"lookahead"', '{ name = "pace", sets = 1 }', "policies: found .*'sets'.*, takes a list"),
        ('"lookahead"', '{ name = "pace", set = { margin = "much" } }', "policies: set: found .*'much'"),
        (
            '"lookahead"',
            '{ name = "pace", set = { speed = 1 } }',
            "policy pace: speed: unknown parameter; takes",
        ),
    ],
)
def test_a_wrong_study_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in STUDY
    (tmp_path / "s.toml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(SpecError, match=message):
        read_study(tmp_path / "s.toml")


def test_a_cluster_gives_the_same_rows(tmp_path: Path) -> None:
    cases = _cases(tmp_path)
    heard: list[int] = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        rows = run_study(cases, cluster=cluster.scheduler_address, on_done=heard.append)
    assert rows == tuple(run_row(case) for case in cases)
    assert heard == [1, 2]


def test_a_cluster_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_workers, "CONNECT_S", 0.5)
    with pytest.raises(MissingTool, match="--cluster tcp://127.0.0.1:1: no Dask scheduler answers"):
        run_study(_cases(tmp_path), cluster="tcp://127.0.0.1:1")


def test_a_cluster_without_its_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingTool, match="--cluster needs the package distributed, found none; pip install"):
        run_study(_cases(tmp_path), cluster="tcp://127.0.0.1:1")


def _cases(folder: Path) -> tuple[Case, ...]:
    (folder / "s.toml").write_text(STUDY)
    return read_study(folder / "s.toml")


def test_a_folder_that_is_no_workload_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown workload 'nowhere'"):
        load_workload("nowhere")


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    assert main(["study", str(tmp_path / "s.toml"), "--out", str(tmp_path / "s.toml")]) == 2
    assert "there is a file of that name, takes a folder" in capsys.readouterr().err
