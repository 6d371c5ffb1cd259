"""`daypack report` on a real bundle, and on what is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daypack.cli import main
from daypack.runtime.bundle import write_manifest

Report = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["report", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    return run


def test_page_and_trace_of_a_bundle(bundle: Path, tmp_path: Path, report: Report) -> None:
    page, trace = tmp_path / "r.html", tmp_path / "t.json"
    code, found = report(bundle, "--out", page, "--trace", trace)
    assert code == 0
    assert found["page"] == {"path": str(page), "size_bytes": page.stat().st_size}
    assert found["trace"] == {"path": str(trace), "size_bytes": trace.stat().st_size}
    said = json.loads((bundle / "bundle.json").read_text())["predicted"]
    assert found["planned"]["step_seconds"] == pytest.approx(said["step_seconds"])
    record = json.loads((bundle / "schedule.json").read_text())
    assert found["planned"]["peak_bytes"] == record["plan"]["peak_bytes"]
    assert found["instructions"] == len(record["plan"]["sequence"])
    html = page.read_text(encoding="utf-8")
    for name in ("adapters", "moments and counters", "gradients", "frozen weights", "activations"):
        assert f'"{name}"' in html
    assert "transformer.h.1.mlp.c_proj.weight" in html
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "t.json"]


def test_people_get_a_line_a_file(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bundle), "--out", str(tmp_path / "r.html")]) == 0
    size = (tmp_path / "r.html").stat().st_size
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}  {size / 1000:.4g} KB\n"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy.bundle"))


def test_a_bundle_without_a_record(copy: Path, tmp_path: Path, report: Report) -> None:
    (copy / "schedule.json").unlink()
    write_manifest(copy)
    code, found = report(copy, "--out", tmp_path / "r.html")
    assert (code, found["error"]) == (4, "bad-bundle")
    assert found["message"] == (
        f"{copy / 'schedule.json'}: expected the record of the plan, found none: the bundle was made by "
        "an older Daypack; compile it again"
    )
    assert not (tmp_path / "r.html").exists()


def test_a_record_that_is_changed(copy: Path, tmp_path: Path, report: Report) -> None:
    path = copy / "schedule.json"
    path.write_text(path.read_text().replace('"compute"', '"computE"', 1))
    code, found = report(copy, "--out", tmp_path / "r.html")
    assert code == 4
    assert found["message"].startswith(f"{path}: expected SHA-256")
    write_manifest(copy)
    code, found = report(copy, "--out", tmp_path / "r.html")
    assert code == 4
    assert f"{path}: " in found["message"]


def test_what_is_no_bundle(tmp_path: Path, report: Report) -> None:
    code, found = report(tmp_path / "none", "--out", tmp_path / "r.html")
    assert code == 4
    assert "expected the manifest of a bundle, found none" in found["message"]


def test_where_nothing_can_be_written(bundle: Path, tmp_path: Path, report: Report) -> None:
    cases = {
        tmp_path / "none" / "r.html": f"there is no folder {tmp_path / 'none'}; make it first",
        tmp_path: "is a folder; give a file name in it",
        bundle / "r.html": "lies in the bundle, which no file may be added to; give another place",
        Path("/proc/r.html"): "cannot be written",
    }
    for path, message in cases.items():
        for option in ("--out", "--trace"):
            code, found = report(bundle, option, path)
            assert (code, message in found["message"]) == (2, True), found
    assert list(tmp_path.iterdir()) == []
    assert not (bundle / "r.html").exists()


def test_an_older_page_survives_a_failure(copy: Path, tmp_path: Path, report: Report) -> None:
    page = tmp_path / "r.html"
    page.write_text("older")
    (copy / "schedule.json").unlink()
    assert report(copy, "--out", page)[0] == 4
    assert page.read_text() == "older"


def test_nothing_to_write_or_one_file_for_both(bundle: Path, tmp_path: Path, report: Report) -> None:
    code, found = report(bundle)
    assert (code, found["message"]) == (
        2,
        "nothing to write: give --out FILE.html, --trace FILE.json, or both",
    )
    path = tmp_path / "r"
    code, found = report(bundle, "--out", path, "--trace", path)
    assert (code, found["message"]) == (2, f"--out and --trace both name {path}; give two files")


def test_a_run_that_is_none(bundle: Path, tmp_path: Path, report: Report) -> None:
    (tmp_path / "run").write_text("no\n")
    code, found = report(bundle, "--out", tmp_path / "r.html", "--run", tmp_path / "run")
    assert code == 2
    assert found["message"].startswith(f"--run: {tmp_path / 'run'}: line 1: expected a JSON object")
    assert not (tmp_path / "r.html").exists()


def test_a_measured_run(
    bundle: Path, tmp_path: Path, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(bundle), "--steps", "2", "--state", str(tmp_path / "state"), "--json"]
    assert main(command) == 0
    (tmp_path / "run").write_text(capsys.readouterr().out)
    assert report(bundle, "--out", tmp_path / "r.html", "--run", tmp_path / "run")[0] == 0
    assert '<th scope="col">measured</th>' in (tmp_path / "r.html").read_text(encoding="utf-8")
