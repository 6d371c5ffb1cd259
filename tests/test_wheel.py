"""The built wheel holds every file of the package, and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import daypack


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_every_file_of_the_package_is_in_the_wheel(repository: Path, wheel: Path) -> None:
    command = ["git", "ls-files", "daypack"]
    tracked = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout
    assert wheel.name.startswith(f"daypack-{daypack.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    present = {name for name in tracked.splitlines() if (repository / name).is_file()}
    assert "daypack/cli/app.py" in present
    assert present - packed == set()
    assert {name.split("/")[0].split("-")[0] for name in packed} == {"daypack"}


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    script = "import daypack; from daypack.cli import main; print(daypack.__file__); main(['devices'])"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    first, *lines = done.stdout.splitlines()
    assert Path(first).is_relative_to(tmp_path / "site")
    assert any(line.startswith("snapdragon-8gen2") for line in lines)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "daypack", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{daypack.__version__}\n"
