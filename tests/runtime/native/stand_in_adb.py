"""A stand-in for `adb` and a phone: a directory is the phone's file system, its engine really runs.

Every call is appended to calls.json beside this script's phone directory; a call that the real adb would not
understand, or a path outside /data/local/tmp/daypack, ends with status 99. Settings come from settings.json:
`state`, `machine`, `emulator` (words before the engine), `fail` (calls of this kind fail), `cut` (kill the
engine's shell after this many lines, as when the cable is pulled).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HOME = Path(os.environ["STAND_IN_PHONE"])
ROOT = "/data/local/tmp/daypack/"
SETTINGS = json.loads((HOME / "settings.json").read_text())


def main(words: list[str]) -> None:
    with (HOME / "calls.json").open("a") as file:
        file.write(json.dumps(words) + "\n")
    if words[:2] == ["-s", "PHONE1"]:
        words = words[2:]
    if SETTINGS.get("fail") == words[0]:
        sys.exit("adb: error: device offline")
    match words:
        case ["get-state"]:
            print(SETTINGS["state"])
        case ["push", source, target]:
            push(source, target)
        case ["pull", source, target]:
            shutil.copy(on_phone(source), target)
        case ["shell", command]:
            shell(command)
        case _:
            strange(f"call {words}")


def push(source: str, target: str) -> None:
    place = on_phone(target)
    if source.endswith("/."):
        if not place.is_dir():
            strange(f"push into {target}, which is not there")
        shutil.copytree(source, place, dirs_exist_ok=True, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, place)


def shell(command: str) -> None:
    match shlex.split(command):
        case ["uname", "-m"]:
            print(SETTINGS["machine"])
        case ["mkdir", "-p", path]:
            on_phone(path).mkdir(parents=True, exist_ok=True)
        case ["chmod", "755", path]:
            on_phone(path).chmod(0o755)
        case ["rm", "-rf", path]:
            shutil.rmtree(on_phone(path), ignore_errors=True)
        case ["rm", "-f", path]:
            on_phone(path).unlink(missing_ok=True)
        case ["test", "-f", path]:
            sys.exit(0 if on_phone(path).is_file() else 1)
        case ["cat", path]:
            cat(path)
        case ["date", "+%z"]:
            print("+0545")
        case ["cd", path, "&&", "exec", "./bundle/engine", *arguments]:
            run_engine(on_phone(path), arguments)
        case _:
            strange(f"shell command {command!r}")


def cat(path: str) -> None:
    """Of the files of the phone's system, those that settings name."""
    text = SETTINGS.get("system", {}).get(path)
    if text is None:
        sys.exit(f"cat: {path}: No such file or directory")
    print(text)


def run_engine(directory: Path, arguments: list[str]) -> NoReturn:
    if not os.access(directory / "bundle" / "engine", os.X_OK):
        sys.exit("sh: ./bundle/engine: Permission denied")
    command = [*SETTINGS["emulator"], "./bundle/engine", *arguments]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout, start=1):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            if number == SETTINGS.get("cut"):
                process.kill()
        status = process.wait()
    sys.exit(status if status >= 0 else 128 - status)


def on_phone(path: str) -> Path:
    if not path.startswith(ROOT) or ".." in path:
        strange(f"path {path!r}")
    return HOME / "disk" / path.removeprefix(ROOT)


def strange(what: str) -> NoReturn:
    print(f"stand-in adb: unexpected {what}", file=sys.stderr)
    sys.exit(99)


main(sys.argv[1:])
