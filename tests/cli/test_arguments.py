"""Help, version, usage errors, exit codes, and what a real process does."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import daypack
from daypack.cli.app import EXIT_CODES
from daypack.cli.progress import Bar
from daypack.errors import ExitCode

COMMANDS = (
    "compile",
    "run",
    "export",
    "merge",
    "inspect",
    "keygen",
    "sign",
    "verify",
    "devices",
    "doctor",
)


def test_the_version(command) -> None:
    assert command("--version").out == f"{daypack.__version__}\n"


def test_nothing_asked_is_help(command) -> None:
    outcome = command()
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_tells_the_exit_codes(command, name: str) -> None:
    out = " ".join(command(*([name] if name else []), "--help").out.split())
    for code, text in EXIT_CODES.items():
        assert f"{code.value} {text}" in out


def test_every_exit_code_is_told(repository: Path) -> None:
    assert set(EXIT_CODES) == set(ExitCode)
    readme = (repository / "README.md").read_text()
    for code, text in EXIT_CODES.items():
        assert f"| {code.value} | {text} |" in readme


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile"], "Missing argument 'SPEC'."),
        (
            ["compile", "a.toml"],
            "Missing option '--out' (or '--dump-problem' for the planning problem alone).",
        ),
        (["run", "b", "--steps", "0"], "Invalid value for '--steps': "),
        (["run", "b", "--steps", "many"], "Invalid value for '--steps': "),
        (
            ["run", "b", "--via", "usb"],
            "Invalid value for '--via': ",
        ),
        (["run", "b", "--thread", "2"], "No such option: --thread"),
        (["devices", "a", "b"], "Got unexpected extra argument"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_usage_is_exit_code_2(command, api, arguments: list[str], message: str, as_json: bool) -> None:
    outcome = command(*arguments, *(["--json"] if as_json else []))
    assert outcome.code == 2
    assert api.calls == []
    if as_json:
        assert outcome.json["error"] == "bad-input"
        assert outcome.json["message"].startswith(message)
    else:
        assert outcome.err.startswith(f"error: {message}")


def test_an_unknown_command_names_the_nearest(command) -> None:
    outcome = command("complie")
    assert outcome.code == 2
    assert outcome.err.startswith("error: No such command 'complie'.")
    assert "compile" in outcome.err


def test_the_installed_command_answers() -> None:
    command = [str(Path(sys.executable).parent / "daypack"), "devices", "nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown device 'nope'")
    assert "Traceback" not in done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from daypack.cli import main; main(['--help']);"
        "print([n for n in ('jax', 'tvm', 'numpy', 'flax', 'pydantic') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_on_a_terminal_lines_go_above_the_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with Bar(console, "run", total=2.0) as bar:
        bar.move(1, "run: [step] 1")
        bar.print("loss [bold] 5.5")
    shown = screen.getvalue()
    assert "loss [bold] 5.5" in shown
    assert "━" in shown
    assert "run: [step] 1" in shown


def test_without_a_terminal_there_are_plain_lines_only() -> None:
    screen = io.StringIO()
    with Bar(Console(file=screen), "run", total=None) as bar:
        bar.move(1)
        bar.print("loss 5.5")
    assert screen.getvalue() == "loss 5.5\n"
