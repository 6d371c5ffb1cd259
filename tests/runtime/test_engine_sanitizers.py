"""The engine under gcc's sanitizers: threads and pager under stress, a stop, the same bytes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

STEPS = 12
#: What TSan ends a program with that had a race.
RACE = 66


@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
@pytest.mark.parametrize("paged", [False, True], ids=["in memory", "paged"])
def test_runs_are_clean(make_case: Callable[..., Any], example: Any, sanitizer: str, paged: bool) -> None:
    """More threads than processors, every step saved; then a stop while all of them work."""
    changes = example.paged_plan() if paged else {}
    case = make_case(variant=f"plain, {sanitizer}", **changes)
    weights = (case.bundle / "weights.bin").read_bytes()
    case.set_file("weights.bin", weights + bytes(2_000_000))  # so that there is a hash tree
    run = case.run("--steps", str(STEPS), "--threads", "5", "--profile")
    assert run.status == 0 and "Sanitizer" not in run.stderr, run
    plain = make_case(name="without", **changes)
    assert plain.run("--steps", str(STEPS)).status == 0
    assert case.state.read_bytes() == plain.state.read_bytes()
    with subprocess.Popen(
        case.command("--steps", "100000", "--threads", "5"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 6 and b"Sanitizer" not in said, (process.returncode, said)


def test_a_race_would_be_seen(make_case: Callable[..., Any], tmp_path: Any) -> None:
    """The sanitizer of this machine works: a program with a race ends as one."""
    source = tmp_path / "race.c"
    source.write_text(
        "#include <pthread.h>\nint shared;\nstatic void *add(void *x) { shared++; return x; }\n"
        "int main(void) { pthread_t t; pthread_create(&t, 0, add, 0);\n"
        "  shared++; return pthread_join(t, 0); }\n"
    )
    make_case(variant="plain, tsan")  # skips where there is no gcc
    subprocess.run(["gcc", "-fsanitize=thread", str(source), "-o", str(tmp_path / "race")], check=True)
    assert subprocess.run([tmp_path / "race"], capture_output=True, check=False).returncode == RACE
