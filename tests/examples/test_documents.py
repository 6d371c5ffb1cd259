"""The Python code of README and docs/your-own-model.md runs as it stands, and README's tables are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from daypack.cli.app import EXIT_CODES, app
from daypack.planners.infeasible import PlanInfeasible
from daypack.planners.plan import PlanOptions
from daypack.planners.registry import PlannerName


def python_of(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def ran(codes: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the code leaves, run in one namespace inside `folder`."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in codes:
        exec(compile(code, "document", "exec"), names)
    return names


def test_readmes_example(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = python_of(repository / "README.md")
    names = ran([code], tmp_path, monkeypatch)
    losses, model = names["result"].losses, names["model"]
    assert len(losses) == 100 and losses[-1] < 0.1 * losses[0]
    trained = nnx.state(model, nnx.Param)["layers"][0]["kernel"][...]
    np.testing.assert_array_equal(trained, names["result"].params["layers/0/kernel"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.bundle", "mine.bundle.state"]


def test_planning_on_files(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = repository / "docs" / "planning.md"
    (problem,) = re.findall(r"^```json\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "problem.json").write_text(problem)
    names = ran(python_of(page), tmp_path, monkeypatch)
    assert (names["plan"].peak_bytes, names["plan"].cost) == (17, 7)
    with pytest.raises(PlanInfeasible):
        names["mine"](names["problem"], 16, PlanOptions())
    planners = page.read_text().split("## The planners")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z][a-z-]*)` \|", planners, re.MULTILINE))
    assert named == {planner.value for planner in PlannerName}


def test_your_own_model(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ran(python_of(repository / "docs" / "your-own-model.md"), tmp_path, monkeypatch)
    assert names["result"].losses[-1] < 0.8 * names["result"].losses[0]
    assert names["variables"]["random"]["count"] == 20
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == ["20", "[11, 12, 13]"]


def test_readme_opens_with_the_two_commands(repository: Path) -> None:
    opening = (repository / "README.md").read_text().split("```")[1].split("\n")
    assert [line.split("#")[0].strip() for line in opening if line] == ["make demo", "make test"]


def test_readme_has_every_exit_code(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\d) \| (.*?) \|$", text, re.MULTILINE))
    assert rows == {str(code.value): meaning for code, meaning in EXIT_CODES.items()}


def test_readme_has_every_command_and_option(repository: Path) -> None:
    import typer

    text = (repository / "README.md").read_text()
    rows = dict(re.findall(r"^\| `daypack (\w+)(.*?)` \|", text, re.MULTILINE))
    group: Any = typer.main.get_command(app)
    assert sorted(rows) == sorted(group.commands)
    for name, command in group.commands.items():
        options = {o for p in command.params for o in p.opts if o.startswith("--")} - {"--help"}
        shown = set(re.findall(r"--[a-z-]+", rows[name]))
        assert shown == options, name


def test_every_file_that_the_documents_name_exists(repository: Path) -> None:
    for document in ("README.md", "docs/your-own-model.md"):
        text = (repository / document).read_text()
        named = re.findall(r"`((?:examples|docs|tools)/[\w./-]+\w)`", text)
        linked = re.findall(r"\]\(([\w./-]+)\)", text)
        missing = [path for path in (*named, *linked) if not (repository / path).exists()]
        assert missing == [], document
